"""What people and tools say about one simulated patient: outlines, readers' scores, a vendor's answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radfoundry.simulate.annotators import PANEL, outline
from radfoundry.simulate.readers import Reader, Vendor, read_cases, vendor_output
from radfoundry.volume import Volume

OLD_YEARS = 65.0  # the subgroup in which a tool may fail
SUBTLE_ML = 3.0  # the volume that a tool which misses what is subtle finds in half


@dataclass(frozen=True)
class Judged:
    """What there is to judge: diseased or not, how plain it is to see (ml), the age, and the place in the list."""

    diseased: bool
    conspicuity: float
    age_years: float
    case: int


def judge(seen: Judged, *, readers: int, vendor: str, rng: np.random.Generator) -> dict[str, float | int]:
    """Columns for a table of readers and tools: scores without and with the tool's help, and the tool's answer.

    Readers' skill d' runs from 1.0 to 2.2 over the panel and grows by 0.05 with every hundred cases; half of them
    trust the tool more than themselves. The tool finds 90 % and leaves 90 % of the healthy alone; one that fails in a
    `subgroup` finds half of those of 65 years and older, one that fails on `subtle` disease finds
    `V / (V + 3 ml)` of lesions of volume V.
    """
    columns: dict[str, float | int] = {}
    answer = _answer(seen, vendor, rng) if vendor else None
    if answer is not None:
        columns["vendor"] = answer
    if readers:
        skills = np.linspace(1.0, 2.2, readers)
        grown = skills + 0.05 * seen.case / 100
        panel = tuple(
            Reader(f"reader-{number}", skill=float(skill), trust=0.3 if number % 2 else 0.7)
            for number, skill in enumerate(grown, start=1)
        )
        aid = None if answer is None else np.array([2.0 * answer - 0.25])
        reading = read_cases(np.array([seen.diseased]), panel, aid=aid, rng=rng)
        for number, reader in enumerate(panel):
            name = reader.name.replace("-", "_")
            columns[f"{name}_score"] = round(float(reading.score[number, 0]), 4)
            columns[f"{name}_says"] = int(reading.decision[number, 0])
            if aid is not None:
                columns[f"{name}_aided_score"] = round(float(reading.aided_score[number, 0]), 4)
                columns[f"{name}_aided_says"] = int(reading.aided_decision[number, 0])
    return columns


def _answer(seen: Judged, failure: str, rng: np.random.Generator) -> int:
    if failure == "subtle":
        chance = seen.conspicuity / (seen.conspicuity + SUBTLE_ML) if seen.diseased else 0.1
        return int(rng.random() < chance)
    tool = Vendor(failure=failure)
    weak = np.array([seen.age_years >= OLD_YEARS])
    return int(vendor_output(np.array([seen.diseased]), tool, rng=rng, subgroup=weak)[0])


def outlined(lesion: Volume, *, count: int, rng: np.random.Generator) -> dict[str, Volume]:
    """The outlines of the first `count` of `annotators.PANEL` around a lesion, by the name `lesion-by-ANNOTATOR`.

    What they outline is where the lesion fills half of a voxel or more.
    """
    mask = lesion.array[0] >= 0.5
    seeds = rng.integers(2**31, size=count)  # drawn at once: what comes after does not depend on what they see
    return {
        f"lesion-by-{annotator.name}": lesion.with_array(
            outline(mask, annotator, spacing_mm=lesion.spacing_mm, rng=np.random.default_rng(seed)).astype(np.uint8)
        )
        for annotator, seed in zip(PANEL[:count], seeds, strict=True)
    }
