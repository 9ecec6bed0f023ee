"""Outlining on real sets: the segmenter on the bundled encoder against the U-Net the cohort plans for itself.

    RADFOUNDRY_DATA=FOLDER python benchmarks/segment.py [SET] [--labels 10] [--way light:frozen:bundled]

Every way sees the same patches in the same order for the same number of steps; Dice on patients that no training saw,
differences paired by patient. A finished entry of the result file is not computed again, so that it can be continued.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radfoundry import registry
from radfoundry.data.image_files import read_image
from radfoundry.data.masks_plan import Fingerprint, SegmentPlan, plan
from radfoundry.nets.unet_inference import Reading, scores_of
from radfoundry.records import Estimate
from radfoundry.tasks import segment, segment_predictor, segment_scores
from radfoundry.tasks.segment import Ready
from radfoundry.train import dense
from radfoundry.volume import Volume

RESULTS = Path(__file__).parent / "results" / "segment.json"
SETS = {
    "hippocampus": {"folder": "msd_hippocampus", "encoder": "radfoundry-mri", "labels": {"hippocampus": (1, 2)}},
    "hippocampus-parts": {
        "folder": "msd_hippocampus",
        "encoder": "radfoundry-mri",
        "labels": {"anterior": (1,), "posterior": (2,)},
    },
    "ventricle": {"folder": "cardiac_cine_sunnybrook", "encoder": "vit2d-tiny", "labels": {"left ventricle": (255,)}},
}
TEST = "val"
MOST_TESTED = 40


def rows_of(folder: Path, split: str) -> list[dict[str, str]]:
    """The manifest's images with masks of a split, in random but fixed order of patients."""
    with (folder / "manifest.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == split and row["label_file"]]
    patients = sorted({row["subject"] for row in rows})
    order = {patients[n]: place for place, n in enumerate(np.random.default_rng(3).permutation(len(patients)))}
    return sorted(rows, key=lambda row: (order[row["subject"]], row["file"]))


def read(folder: Path, row: dict[str, str], labels: dict[str, tuple[int, ...]]) -> tuple[Volume, np.ndarray]:
    """An image and its classes."""
    image = read_image(folder / row["file"]).volume
    drawn = read_image(folder / row["label_file"]).volume.array[0]
    classes = np.zeros(image.shape, np.uint8)
    for index, values in enumerate(labels.values(), start=1):
        classes[np.isin(np.rint(drawn), values)] = index
    return image, classes


def planned(images: list[Volume], classes: list[np.ndarray], labels: dict[str, tuple[int, ...]]) -> SegmentPlan:
    """The plan of the training images."""
    turned = [item if item.shape[2] == 1 else item.reorient("RAS") for item in images]
    shapes, spacings = np.array([t.shape for t in turned]), np.array([t.spacing_mm for t in turned])
    flat = turned[0].shape[2] == 1
    seen = Fingerprint(
        len(images),
        len(images),
        ("MR",),
        2 if flat else 3,
        not flat,
        tuple(np.median(spacings, axis=0).tolist()),
        tuple(np.median(shapes, axis=0).tolist()),
        tuple(np.percentile(shapes, 95, axis=0).tolist()),
        {"low": 0.0, "high": 1.0, "mean": 0.0, "deviation": 1.0},
        {name: float(np.mean([(c == n).mean() for c in classes])) for n, name in enumerate(labels, start=1)},
    )
    return plan(seen, labels)


def rounds(folder: Path, labels: int, folds: int) -> list[tuple[list[dict[str, str]], list[dict[str, str]]]]:
    """Rows that teach and rows that are tested: the set's own parts, or all patients in so many parts, each in turn."""
    if not folds:
        parts = [(rows_of(folder, "train"), rows_of(folder, TEST))]
    else:
        rows = [*rows_of(folder, "train"), *rows_of(folder, TEST)]
        people = sorted({row["subject"] for row in rows})
        dealt = np.array_split(np.random.default_rng(3).permutation(people), folds)
        parts = [
            ([row for row in rows if row["subject"] not in part], [row for row in rows if row["subject"] in part])
            for part in dealt
        ]
    return [(_of_patients(train, labels), _of_patients(test, MOST_TESTED)) for train, test in parts]


def _of_patients(rows: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    kept = list(dict.fromkeys(row["subject"] for row in rows))[:most]
    return [row for row in rows if row["subject"] in kept]


def measure(name: str, data: Path, *, labels: int, ways: list[str], steps: int, folds: int = 0) -> dict[str, Any]:
    """Dice, HD95 and surface Dice of every way and of the U-Net, and the paired differences."""
    about: dict[str, Any] = SETS[name]
    folder = data / about["folder"]
    outlines: dict[str, list[Any]] = {way: [] for way in ["unet:scratch", *ways]}
    seconds: dict[str, list[float]] = {way: [] for way in outlines}
    parts = rounds(folder, labels, folds)
    for train_rows, test_rows in parts:
        train = [read(folder, row, about["labels"]) for row in train_rows]
        made = planned([image for image, _ in train], [drawn for _, drawn in train], about["labels"])
        ready = [segment.ready(image, made, drawn) for image, drawn in train]
        examples = [dense.Drawn(torch.from_numpy(r.array), torch.from_numpy(r.classes)) for r in ready]
        for way, found in outlines.items():
            started = time.perf_counter()
            model = taught(way, about["encoder"], made, examples, steps=steps)
            seconds[way].append(round(time.perf_counter() - started, 1))
            said = outlined(model, made, folder, test_rows, about["labels"])
            found += said
            dice = segment_scores.together(said, about["labels"]).of_image("dice").mean()
            print(name, labels, way, f"{dice:.4f}", f"{seconds[way][-1]} s", flush=True)
    result: dict[str, Any] = {
        "patients": len({row["subject"] for row in parts[0][0]}), "images": len(parts[0][0]), "rounds": len(parts),
        "tested": len({row["subject"] for _, test in parts for row in test}), "steps": steps,
        "seconds": {way: round(float(np.mean(found)), 1) for way, found in seconds.items()},
    }  # fmt: skip
    scored = {way: segment_scores.together(found, about["labels"]) for way, found in outlines.items()}
    for way, score in scored.items():
        result[way] = {key: written(value) for key, value in segment_scores.metrics(score).items()}
        if way != "unet:scratch":
            gap = segment_scores.differences(score, scored["unet:scratch"], names=(way, "unet"))
            result[f"{way} minus unet"] = {key.rpartition("/")[2]: written(value) for key, value in gap.items()}
    return result


def taught(way: str, encoder: str, made: SegmentPlan, examples: list[dense.Drawn], *, steps: int) -> Any:
    """One network after so many steps."""
    decoder, rung, *begun = way.split(":")
    seen = None if decoder == "unet" else registry.build("encoders", encoder).eval()
    how = segment_predictor.beginning(made, decoder, begun[0] if begun else None)
    model = segment_predictor.new_model(how.plan, seen, decoder=decoder, rung=rung, seed=0, start=how.start)
    dense.fit(model, examples, made.patch, dense.Fit(steps=steps))
    return model


def outlined(model: Any, made: SegmentPlan, folder: Path, rows: list[dict[str, str]], labels: Any) -> list[Any]:
    """Scores of the tested images on their own grids."""
    found = []
    for row in rows:
        image, truth = read(folder, row, labels)
        ready: Ready = segment.ready(image, made)
        scores = scores_of(model, torch.from_numpy(ready.array), Reading(made.patch, made.classes, made.widths[0]))
        drawn = segment.on_source(scores, ready)
        values = segment_scores.score(truth, drawn, labels, spacing_mm=image.spacing_mm, tolerance_mm=1.0)
        found.append((row["file"], row["subject"], values))
    return found


def written(value: Estimate) -> dict[str, Any]:
    """An estimate with four decimals."""
    return {"value": round(value.value, 4), "low": round(value.low, 4), "high": round(value.high, 4), "n": value.n}


def about() -> dict[str, str]:
    """The machine, the versions and the date of what was measured last."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores shared with other work, one thread",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Print every way and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=sorted(SETS), nargs="?", default="hippocampus")
    parser.add_argument("--labels", type=int, nargs="*", default=[10, 128])
    parser.add_argument("--way", nargs="*", default=["light:frozen"])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--folds", type=int, default=0, help="test every patient, in so many parts; 0: the set's own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for labels in options.labels:
        folds = f", {options.folds} folds" if options.folds else ""
        key = f"{options.set}, {labels} patients, {options.steps} steps{folds}, {' '.join(options.way)}"
        if key in known:
            print(key, "is there already")
            continue
        data, how = Path(os.environ["RADFOUNDRY_DATA"]), {"steps": options.steps, "folds": options.folds}
        known[key] = measure(options.set, data, labels=labels, ways=options.way, **how)
        known["about"] = about()
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
        for name, row in known[key].items():
            print(name, row)


if __name__ == "__main__":
    main()
