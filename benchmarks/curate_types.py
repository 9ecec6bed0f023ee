"""How well series types are told on real series: curate_types.py [headers] [dicom] [files] [seconds].

RADFOUNDRY_DATA names the folder of the real sets.

The classifier has seen simulated series alone. While its header simulator and rules were written, the sidecars of
ds000221 and of half the sites of spine-generic were looked at (`looked at`); everything else was not (`not looked at`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "series_types"))
import compare
import real

from radfoundry.data.header_tags import Header, read_header
from radfoundry.data.series_types import ANATOMIES, REVIEW, SEQUENCES
from radfoundry.data.type_rules import rules
from radfoundry.nets import series_typing
from radfoundry.nets.series_pixels import pixel_features
from radfoundry.nets.series_typing import bundled_judge, type_image
from radfoundry.records import Acquisition
from radfoundry.stats.comparisons import mean_difference
from radfoundry.stats.proportions import clustered_proportion, proportion
from radfoundry.train.series_bank import SeriesTable
from radfoundry.train.series_types import damaged, inputs_of, without_header

DAMAGES = (0.0, 0.3, 0.4, 0.5)
PAIRS_PER_IMAGE = 20


def looked_at(item: real.RealSeries) -> bool:
    """Whether the source was looked at while the header simulator and the rules were written."""
    site = item.cluster.split("/")[-2] if item.source.startswith("spine-generic") else ""
    return "ds000221" in item.source or (item.source.startswith("spine-generic") and sum(map(ord, site)) % 2 == 0)


def answers(
    items: Sequence[real.RealSeries], *, header: bool = True, pixels: bool = True, listed: Any = None
) -> list[Any]:
    """The package's answer on every series; `listed` are the rules, or an empty list for none."""
    judge = replace(bundled_judge(), rules=rules() if listed is None else listed)
    found = []
    known: dict[Acquisition, Any] = {}  # thousands of sidecars are alike
    for item in items:
        said = item.acquisition if header else Acquisition()
        place = (item.shape, item.spacing_mm) if header else (None, None)
        volume = item.volume if pixels else None
        if volume is None and place == (None, None) and said in known:
            found.append(known[said])
            continue
        typed = type_image(said, volume, shape=place[0], spacing_mm=place[1], judge=judge)
        one = typed[0] if len(typed) == 1 else replace(typed[0], sequence=_majority(typed))
        if volume is None and place == (None, None):
            known[said] = one
        found.append(one)
    return found


def _majority(typed: Sequence[Any]) -> str:
    """One type for a series with parts: diffusion if any part is, else the first part's."""
    kinds = [item.sequence for item in typed]
    return "DWI" if "DWI" in kinds else kinds[0]


def judged(items: Sequence[real.RealSeries], found: Sequence[Any]) -> dict[str, Any]:
    """Accuracy among the series that were not sent to review, and the share that was."""
    keep = np.array([item.sequence != REVIEW for item in found])
    right = np.array([item.sequence == truth.sequence for item, truth in zip(found, items, strict=True)])
    likely = np.array([item.likely == truth.sequence for item, truth in zip(found, items, strict=True)])
    people = np.array([item.cluster for item in items])
    told: dict[str, Any] = {"series": len(items), "patients": len(set(people))}
    told["abstained"] = clustered_proportion(~keep, people, name="abstained").to_dict() if len(items) else None
    told["accuracy"] = (
        clustered_proportion(right[keep], people[keep], name="accuracy").to_dict() if keep.any() else None
    )
    told["likeliest right"] = clustered_proportion(likely, people, name="accuracy").to_dict() if len(items) else None
    mistakes = Counter(
        f"{truth.sequence} called {item.sequence} ({truth.source})"
        for item, truth, kept, good in zip(found, items, keep, right, strict=True)
        if kept and not good
    )
    told["mistakes"] = dict(mistakes.most_common(12))
    told["reviewed"] = dict(
        Counter(f"{t.sequence} ({t.source})" for t, kept in zip(items, keep, strict=True) if not kept).most_common(12)
    )
    regions = [(f.anatomy, t.anatomy) for f, t in zip(found, items, strict=True) if t.anatomy is not None]
    kept = [(one, other) for one, other in regions if one != REVIEW]
    told["anatomy abstained"] = proportion(len(regions) - len(kept), max(len(regions), 1)).to_dict()
    told["anatomy accuracy"] = (
        proportion(sum(one == other for one, other in kept), len(kept)).to_dict() if kept else None
    )
    return told


def recalls(items: Sequence[real.RealSeries], found: Sequence[Any]) -> dict[str, list[int]]:
    """For every type: series called so (review counts as not), and all."""
    table = {}
    for name in SEQUENCES:
        rows = [item for item, truth in zip(found, items, strict=True) if truth.sequence == name]
        if rows:
            table[name] = [sum(item.sequence == name for item in rows), len(rows)]
    return table


def paired_table(
    items: Sequence[real.RealSeries], sidecars: Sequence[real.RealSeries], *, seed: int
) -> tuple[SeriesTable, np.ndarray]:
    """Real pixels of one patient beside a real header of the same type from another scan: both sides are real."""
    rng = np.random.default_rng(seed)
    by_type = {name: [s for s in sidecars if s.sequence == name] for name in SEQUENCES}
    rows: list[tuple[Header, np.ndarray, real.RealSeries]] = []
    for item in items:
        vector = series_typing.pixel_features(item.volume) if item.volume is not None else None
        matching = by_type.get(item.sequence or "", [])
        if vector is None or not matching:
            continue
        for _ in range(PAIRS_PER_IMAGE):
            side = matching[int(rng.integers(len(matching)))]
            rows.append((read_header(side.acquisition), vector, item))
    table = SeriesTable(
        numbers=np.stack([row[0].numbers for row in rows]),
        words=np.stack([row[0].words for row in rows]),
        stated=np.stack([row[0].stated for row in rows]),
        pixels=np.stack([row[1] for row in rows]),
        has_pixels=np.ones(len(rows), bool),
        sequence=np.array([SEQUENCES.index(row[2].sequence or "other") for row in rows]),
        anatomy=np.array([ANATOMIES.index(row[2].anatomy or "other") for row in rows]),
        agent=np.zeros(len(rows), int),
        make=np.full(len(rows), "paired"),
        protocol=np.full(len(rows), ""),
    )
    return table, np.array([row[2].cluster for row in rows])


def damage_curve(table: SeriesTable, people: np.ndarray, *, seed: int) -> dict[str, Any]:
    """Fused, header alone and pixels alone with more and more tags missing or wrong, and the paired differences."""
    net = bundled_judge().net
    told: dict[str, Any] = {}
    for share in DAMAGES:
        rng = np.random.default_rng([seed, int(share * 100)])
        broken = damaged(table, missing=share / 2, wrong=share / 2, rng=rng)
        ways = {
            "fused": broken,
            "header": replace(broken, has_pixels=np.zeros(len(table), bool)),
            "pixels": without_header(broken),
        }
        right = {}
        for name, way in ways.items():
            with torch.no_grad():
                chosen = net.probabilities(inputs_of(way))["sequence"].argmax(dim=1).numpy()
            right[name] = (chosen == table.sequence).astype(float)
        told[f"{share:.0%}"] = {name: clustered_proportion(hit > 0, people).to_dict() for name, hit in right.items()}
        for other in ("header", "pixels"):
            gap = mean_difference(right["fused"], right[other], patient=people)
            told[f"{share:.0%}"][f"fused minus {other}"] = gap.to_dict()
    return told


def timing(items: Sequence[real.RealSeries]) -> dict[str, Any]:
    """Seconds per series after reading, on one thread, the best of three turns: by the clock and of processor time.

    The clock feels other load. Two processes side by side give two series in that time.
    """
    judge = bundled_judge()
    some = [item for item in items if item.volume is not None][:20]
    clock: dict[str, list[tuple[float, float]]] = {"header and pixels": [], "header alone": []}
    warm = next(iter(some))
    type_image(warm.acquisition, warm.volume, judge=judge)
    for item in some:
        for name, volume in (("header and pixels", item.volume), ("header alone", None)):
            turns = []
            for _ in range(3):
                begun, busy = time.perf_counter(), time.process_time()
                type_image(item.acquisition, volume, shape=item.shape, spacing_mm=item.spacing_mm, judge=judge)
                turns.append((time.perf_counter() - begun, time.process_time() - busy))
            clock[name].append((min(turn[0] for turn in turns), min(turn[1] for turn in turns)))
    return {name: _median(values) for name, values in clock.items()}


def _median(values: Sequence[tuple[float, float]]) -> dict[str, float]:
    wall, busy = np.array(values).T
    return {
        "wall, median": float(np.median(wall)),
        "wall, shortest": float(wall.min()),
        "processor, median": float(np.median(busy)),
        "series": len(values),
    }


def hostile(root: Path) -> list[dict[str, str]]:
    """Images that must not be given a confident wrong type: CT and masks without a header, one slice, noise."""
    from radfoundry.data.nifti import read_nifti
    from radfoundry.volume import Volume

    cases: list[tuple[str, Acquisition, Volume | None]] = [("no header, no pixels", Acquisition(), None)]
    for name in (
        "totalseg_examples/example_ct.nii.gz",
        "totalseg_examples/example_seg.nii.gz",
        "totalseg_examples/example_mr_sm.nii.gz",
        "niivue_volumes/CT_pitch.nii.gz",
        "ms_lesions/cross_sectional/patient07/lesions.nii.gz",
        "spine_sct/t2/t2_seg-manual.nii.gz",
        "pyradiomics_cases/prostate_phantom_subvolume_image.nii.gz",
        "pyradiomics_cases/breast1_image.nii.gz",
    ):
        volume = read_nifti(root / name).volume if (root / name).is_file() else None
        cases += [(f"{name}, no header", Acquisition(), volume)] if volume is not None else []
    noise = np.random.default_rng(0).normal(0, 1, (64, 64, 20)).astype(np.float32)
    cases.append(("noise, no header", Acquisition(), Volume.of(noise, np.diag([3.0, 3.0, 5.0, 1.0]))))
    cases.append(("one slice, no header", Acquisition(), Volume.of(noise[:, :, :1], np.eye(4))))
    cases.append(("an empty image", Acquisition(modality="MR"), Volume.of(np.zeros((40, 40, 20)), np.eye(4))))
    rows = []
    for name, said, volume in cases:
        typed = type_image(said, volume)[0]
        rows.append(
            {
                "case": name,
                "type": typed.sequence,
                "likely": typed.likely,
                "anatomy": typed.anatomy,
                "why": typed.reasons[0],
            }
        )
    return rows


def comparators(items: Sequence[real.RealSeries], tell: Callable[[real.RealSeries], str | None]) -> dict[str, Any]:
    """A comparator's accuracy among the series it names, and how many it does not name."""
    named = [(tell(item), item) for item in items]
    kept = [(word, item) for word, item in named if word is not None]
    hits = np.array([word == item.sequence for word, item in kept])
    people = np.array([item.cluster for _, item in kept])
    return {
        "named": proportion(len(kept), max(len(items), 1)).to_dict(),
        "accuracy": clustered_proportion(hits, people).to_dict() if len(kept) else None,
    }


def headers(root: Path) -> dict[str, Any]:
    """Everything that needs headers alone."""
    sidecars = list(real.sidecars(root))
    groups = {
        "sidecars, not looked at": [item for item in sidecars if not looked_at(item)],
        "sidecars, looked at": [item for item in sidecars if looked_at(item)],
    }
    told: dict[str, Any] = {"sets": {}, "rules": {}, "held out": {}, "name rules": {}, "rules at ingest": {}}
    for name, items in groups.items():
        found, bare = answers(items), answers(items, listed=[])
        told["sets"][name] = {**judged(items, found), "recall": recalls(items, found)}
        told["rules"][name] = {
            "with": recalls(items, found),
            "without": recalls(items, bare),
            "without rules": judged(items, bare),
        }
        for make in sorted({item.make for item in items}):
            rows = [index for index, item in enumerate(items) if item.make == make]
            part = judged([items[index] for index in rows], [found[index] for index in rows])
            told["held out"].setdefault(make, {})[name] = part
        told["name rules"][name] = comparators(items, compare.by_name)
        told["rules at ingest"][name] = comparators(items, compare.at_ingest)
    return told


def _line(item: real.RealSeries, one: Any) -> str:
    said = f"{one.sequence} ({one.likely} {one.confidence:.2f}, {one.anatomy}; {one.reasons[0]})"
    return f"{item.name}: {item.sequence} -> {said}"


def of_group(items: Sequence[real.RealSeries]) -> dict[str, Any]:
    """All measures of one set, and a line for every series."""
    found = answers(items)
    each = [_line(item, one) for item, one in zip(items, found, strict=True)]
    return {**judged(items, found), "recall": recalls(items, found), "each": each}


def dicom(root: Path) -> dict[str, Any]:
    """DICOM series with header and pixels: all ways of looking, rules on and off, comparators, time."""
    items = list(real.dicom(root))
    told: dict[str, Any] = {"DICOM": of_group(items)}
    bare = answers(items, listed=[])
    told["without rules"] = {**judged(items, bare), "recall": recalls(items, bare)}
    told["header alone"] = judged(items, answers(items, pixels=False))
    told["pixels alone"] = judged(items, answers(items, header=False))
    told["name rules"] = comparators(items, compare.by_name)
    told["rules at ingest"] = comparators(items, compare.at_ingest)
    told["dcm2niix"] = compare.dcm2niix_guess(root)
    return told


def files(root: Path) -> dict[str, Any]:
    """Image files without a header, damaged headers beside real pixels, and images that must not be named."""
    found = list(real.images(root))
    pictures = [item for item in found if item.source != "msd_hippocampus"]
    told: dict[str, Any] = {"image files": of_group(pictures)}
    told["crops of 5 cm"] = of_group([item for item in found if item.source == "msd_hippocampus"])
    headers_of = [item for item in real.sidecars(root) if not looked_at(item)]
    table, people = paired_table([*real.dicom(root), *pictures], headers_of, seed=0)
    told["damage"] = {"pairs": len(table), "patients": len(set(people.tolist())), **damage_curve(table, people, seed=0)}
    told["hostile"] = hostile(root)
    return told


def seconds(root: Path) -> dict[str, Any]:
    """Time per series after reading."""
    return timing([item for item in real.dicom(root) if item.shape is not None and item.shape[0] == 1])


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pixel features computed once for every array in memory; the arrays are kept, so that addresses stay theirs."""
    known: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def look(volume: Any) -> Any:
        key = (volume.array.__array_interface__["data"][0], volume.array.shape, volume.array.strides)
        if key not in known:
            known[key] = (function(volume), volume)
        return known[key][0]

    return look


PARTS = {"headers": headers, "dicom": dicom, "files": files, "seconds": seconds}


def main(root: Path, out: Path, parts: Sequence[str]) -> None:
    """The parts asked for, each into one JSON file; what other parts found before is kept."""
    torch.set_num_threads(1)
    told: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for part in parts:
        if part != "seconds":
            series_typing.pixel_features = remembered(pixel_features)
        told[part] = {"about": compare.about(), **PARTS[part](root)}
        out.write_text(json.dumps(_short(told), indent=1) + "\n", encoding="utf-8")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    data = os.environ.get("RADFOUNDRY_DATA")
    if not data:
        sys.exit("set RADFOUNDRY_DATA to the folder with the real sets")
    place = Path(__file__).parent / "results" / "curate_types.json"
    main(Path(data), place, [word for word in sys.argv[1:] if word in PARTS] or list(PARTS))
