"""From one series to its type: header tags, pixels, the classifier, the rules, and every reason on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from radfoundry.data.header_tags import Header, laid_out, read_header, tags
from radfoundry.data.sequence_rules import plane_of
from radfoundry.data.series_types import ANATOMIES, REVIEW, SEQUENCES
from radfoundry.data.type_rules import Facts, Rule, Ruling, apply_rules, facts_of, other_modality
from radfoundry.nets import series_slices, series_types
from radfoundry.nets.series_pixels import WIDTH, pixel_features
from radfoundry.records import Acquisition, Series
from radfoundry.volume import Volume

FEWEST_TAGS = 2  # known tags below which a header says nothing of the type
NO_PIXELS = "neither header nor pixels say enough"
PIXELS_ALONE = "no header: on real images pixels alone are not sure enough"
MOST_SUB_STACKS = 8
SAMPLED_VALUES = 1 << 16
AGENT_LIKELY = 0.5
HEADER_ANATOMY = 0.975  # body part and coil are wrong together more often than the simulated headers know
B_ZERO = "b=0"
HEADER, BOTH, PIXELS = "header", "both", "pixels"  # what the sequence was judged by
TIMING_ALONE = "kind-not-stated"  # the rule that says so of headers that say something
AGENT_WORDS = {"NONE", "NO", "N", "WITHOUT", "0", "NATIVE", "NIL"}


@dataclass(frozen=True)
class Typed:
    """What a series (or a part of it) is: `sequence` one of SEQUENCES, another kind of image, or `review`.

    `likely` is the best guess where a person has to look; `confidence` calibrated, from 0 to 1. `anatomy` is
    `review` where it is not clear. `contrast` is given, none or not stated. `part` names channels typed apart.
    """

    sequence: str
    likely: str
    confidence: float
    anatomy: str
    anatomy_confidence: float
    plane: str
    contrast: str
    reasons: tuple[str, ...]
    detail: str = ""
    part: str = ""
    mode: str = "header"

    @property
    def needs_review(self) -> bool:
        """Whether a person has to look before this series is used."""
        return self.sequence == REVIEW


@dataclass(frozen=True)
class Judge:
    """The classifier with its limits and the rules it works under (an empty list: no rules)."""

    net: series_types.SeriesNet
    limits: Mapping[str, Mapping[str, float]]
    rules: Sequence[Rule] | None = None


def bundled_judge() -> Judge:
    """The classifier and the rules that ship with the package."""
    net, limits = series_types.bundled()
    return Judge(net, limits)


def type_series(series: Series, *, judge: Judge | None = None, header: bool = True, pixels: bool = True) -> list[Typed]:
    """What a series is, from its header and its pixels; parts of different kinds in one series are typed apart.

    `header` or `pixels` off leaves that side out, as if it were missing. An image that cannot be read is judged by
    its header alone.
    """
    unplaced = "no-geometry" in series.repairs  # the encoder needs voxels in mm
    volume = series.load() if pixels and not unplaced else None
    said = series.acquisition if header else Acquisition()
    stated = said if header else None
    plane = series.plane or (plane_of(volume.affine, stacked=False) if volume is not None else None)
    found = type_image(stated or Acquisition(), volume, shape=series.shape if header else None,
                       spacing_mm=series.spacing_mm if header else None, judge=judge)  # fmt: skip
    return [replace(item, plane=plane or "unknown") for item in found]


def type_image(
    acquisition: Acquisition,
    volume: Volume | None,
    *,
    shape: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | None = None,
    judge: Judge | None = None,
) -> list[Typed]:
    """What an image is, from its header, its geometry and its pixels; each may be missing.

    >>> said = Acquisition(modality="MR", manufacturer="SIEMENS", image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC"))
    >>> [(item.sequence, item.reasons[0]) for item in type_image(said, None)]
    [('ADC', 'image type says ADC')]
    """
    elsewhere = other_modality(acquisition)
    if elsewhere is not None:
        return [_not_mr(acquisition, elsewhere)]
    judge = judge or bundled_judge()
    if shape is not None and spacing_mm is not None:
        shape, spacing_mm = laid_out(shape, spacing_mm)
    header = read_header(acquisition, shape=shape, spacing_mm=spacing_mm)
    stacks = [("", volume)] if volume is None else _sub_stacks(acquisition, volume)
    found = [_typed(acquisition, header, part, stack, judge) for part, stack in stacks]
    return found if len(found) == 1 else _joined(found)


def _not_mr(acquisition: Acquisition, ruling: Ruling) -> Typed:
    return Typed(
        ruling.type,
        ruling.likely,
        ruling.confidence,
        REVIEW,
        0.0,
        "unknown",
        contrast_of(acquisition),
        ruling.reasons,
        ruling.detail,
    )


def contrast_of(acquisition: Acquisition) -> str:
    """Whether contrast agent was given, as the header says: given, none, or not stated.

    >>> contrast_of(Acquisition(contrast_agent="Gadovist")), contrast_of(Acquisition())
    ('given', 'not stated')
    """
    if acquisition.contrast_agent is None or not acquisition.contrast_agent.strip():
        return "not stated"
    return "none" if acquisition.contrast_agent.strip().upper() in AGENT_WORDS else "given"


def _sub_stacks(acquisition: Acquisition, volume: Volume) -> list[tuple[str, Volume]]:
    """The channels of a short series one by one, and b-values apart; long series (time) as one."""
    names = volume.channels
    if names and all(name.startswith("b=") or " b=" in name for name in names):
        groups: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            groups.setdefault(name.split("b=")[1].split()[0], []).append(index)
        if len(groups) > 1:
            return [(f"b={value}", _channels(volume, rows)) for value, rows in groups.items()][:MOST_SUB_STACKS]
    count = len(volume.array)
    if not 2 <= count <= MOST_SUB_STACKS or any(
        colour in name for name in names for colour in ("red", "green", "blue")
    ):
        return [("", volume)]
    return [(names[index] if names else f"volume {index + 1}", _channels(volume, [index])) for index in range(count)]


def _channels(volume: Volume, rows: Sequence[int]) -> Volume:
    return Volume(volume.array[list(rows)], volume.affine, volume.units, ())


def _joined(found: Sequence[Typed]) -> list[Typed]:
    """Parts that came out alike are one series again; parts of different kinds stay apart."""
    kinds = {(item.sequence, item.likely, item.detail) for item in found}
    if len(kinds) == 1:
        surest = max(found, key=lambda item: item.confidence)
        return [replace(surest, part="")]
    grouped: dict[tuple[str, str, str], list[Typed]] = {}
    for item in found:
        grouped.setdefault((item.sequence, item.likely, item.detail), []).append(item)
    return [replace(items[0], part=", ".join(item.part for item in items)) for items in grouped.values()]


def _typed(acquisition: Acquisition, header: Header, part: str, volume: Volume | None, judge: Judge) -> Typed:
    if part.startswith("b="):
        acquisition, header = _with_b_value(acquisition, header, float(part[2:]))
    vector = None if volume is None else pixel_features(volume)
    silent = is_silent(acquisition)
    seen = None if volume is None else series_slices.slice_answer(volume)
    said, mode = _asked(header, (vector, seen), judge, silent=silent)
    best, confidence = SEQUENCES[int(said["sequence"].argmax())], float(said["sequence"].max())
    facts = facts_of(acquisition, header, pixels=_values(volume))
    least_sure = series_slices.bundled().limit if mode == BOTH else judge.limits[mode]["sequence"]
    limit = math.inf if silent else least_sure
    ruling = apply_rules(facts, chosen=best, confidence=confidence, limit=limit, listed=judge.rules)
    if part == B_ZERO:
        ruling = Ruling("DWI", "DWI", 1.0, ("no diffusion weighting, beside volumes with it",), (), "b0")
    if silent and ruling.type == REVIEW and set(ruling.rules) <= {TIMING_ALONE}:
        ruling = replace(ruling, reasons=(NO_PIXELS if vector is None else PIXELS_ALONE,))
    ruling = _agent_unstated(ruling, contrast_of(acquisition), float(said["agent"][1]))
    anatomy, sure = ANATOMIES[int(said["anatomy"].argmax())], float(said["anatomy"].max())
    least = judge.limits["fused"]["anatomy"] if vector is not None else HEADER_ANATOMY
    if sure < least or silent:
        anatomy = REVIEW
    return Typed(
        ruling.type, ruling.likely, round(ruling.confidence, 3), anatomy, round(sure, 3), "unknown",
        contrast_of(acquisition), ruling.reasons, ruling.detail, part, mode,
    )  # fmt: skip


def _asked(
    header: Header, pixels: tuple[np.ndarray | None, np.ndarray | None], judge: Judge, *, silent: bool
) -> tuple[dict[str, np.ndarray], str]:
    """Probabilities of every head, and what the sequence was judged by.

    The sequence comes from the header and from single slices: on real images the coarse pixel features made it worse
    (docs/curate.md). Of the header it is the mean of two answers, with size and voxels known and without: images are
    resampled, and then their size says nothing, so no answer may hang on it alone. Region and agent come from header
    and pixel features.
    """
    vector, seen = pixels
    plain = header.numbers.copy()
    plain[geometry_places()] = np.nan
    features = np.zeros(WIDTH, np.float32) if vector is None else vector
    inputs = series_types.as_inputs(
        np.stack([header.numbers, plain, header.numbers]),
        np.stack([header.words] * 3),
        np.stack([header.stated] * 3),
        np.stack([features] * 3),
        np.array([False, False, vector is not None]),
    )
    with torch.no_grad():
        said = {name: value.numpy() for name, value in judge.net.probabilities(inputs).items()}
    found = {name: value[2] for name, value in said.items()}
    by_header = said["sequence"][:2].mean(axis=0)
    if seen is not None:
        return found | {"sequence": series_slices.together(by_header, seen)}, PIXELS if silent else BOTH
    if silent and vector is not None:
        return found, PIXELS
    return found | {"sequence": by_header}, HEADER


def geometry_places() -> list[int]:
    """Where the numbers that follow from the voxel grid stand among all numbers."""
    return [place for place, (kind, _, _) in enumerate(tags().numbers.values()) if kind == "geometry"]


def is_silent(acquisition: Acquisition) -> bool:
    """Whether a header says next to nothing of how the image was made: fewer than two tags besides its size and kind.

    >>> is_silent(Acquisition(modality="MR", matrix=(256, 256)))
    True
    """
    return read_header(replace(acquisition, modality=None, matrix=None, field_of_view_mm=None)).known < FEWEST_TAGS


def _agent_unstated(ruling: Ruling, contrast: str, likely: float) -> Ruling:
    """A T1 whose header does not speak of contrast agent but which looks enhanced is for a person."""
    if ruling.type != "T1" or contrast != "not stated" or likely < AGENT_LIKELY:
        return ruling
    doubt = f"agent is not stated, but likely ({likely:.2f})"
    return replace(ruling, type=REVIEW, likely="T1c", confidence=likely, reasons=(doubt, *ruling.reasons))


def _with_b_value(acquisition: Acquisition, header: Header, b_value: float) -> tuple[Acquisition, Header]:
    changed = replace(acquisition, b_value_s_per_mm2=b_value)
    return changed, read_header(changed) if header.known == 0 else _renumbered(header, b_value)


def _renumbered(header: Header, b_value: float) -> Header:
    numbers = header.numbers.copy()
    numbers[list(tags().numbers).index("b_value_s_per_mm2")] = b_value
    return Header(numbers, header.words, header.stated)


def _values(volume: Volume | None) -> dict[str, float]:
    """Plain facts of the voxels for the rules: how many different values, the lowest and the highest."""
    if volume is None:
        return {}
    flat: Any = volume.array[0].reshape(-1)
    seen = flat[:: max(1, flat.size // SAMPLED_VALUES)]
    seen = seen[np.isfinite(seen)] if seen.dtype.kind == "f" else seen
    if seen.size == 0:
        return {}
    return {
        "distinct_values": float(len(np.unique(seen))),
        "lowest_value": float(seen.min()),
        "highest_value": float(seen.max()),
    }


def facts_for(acquisition: Acquisition, volume: Volume | None, *, shape: Sequence[int] | None = None) -> Facts:
    """What the rules see of an image: for tests and for looking why a rule did not speak."""
    return facts_of(acquisition, read_header(acquisition, shape=shape), pixels=_values(volume))
