"""Fusing the outlines of real readers: is a vote or STAPLE of three nearer the fourth than a single reader is?

    RADFOUNDRY_DATA=FOLDER python benchmarks/annotators.py [--most 120] [--save]

Lung nodules outlined by four radiologists (contours only, no images, so nothing is learned). Each reader is held out
in turn; Dice of the fused masks of the other three against theirs, beside the mean Dice of the three by themselves;
averaged a nodule, intervals from drawing patients.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from radfoundry.stats.segmentation import over_cases
from radfoundry.tasks.consensus import FUSIONS, fused

RESULTS = Path(__file__).parent / "results" / "annotators.json"


def masks(table: object) -> np.ndarray:
    """(readers, I, J, K) filled outlines of one nodule on their common grid of slices; holes are cut out."""
    from PIL import Image, ImageDraw

    rows = table.to_dict("records")  # ty: ignore[unresolved-attribute]
    outlines = [np.array([line.split(",") for line in row["coords"].split("\n")], int) for row in rows]
    low = np.min([o.min(axis=0) for o in outlines], axis=0) - 2
    size = np.max([o.max(axis=0) for o in outlines], axis=0) - low + 3
    levels = sorted({row["image_z_position"] for row in rows})
    readers = sorted({row["reader_slot"] for row in rows})
    found = np.zeros((len(readers), *size, len(levels)), np.uint8)
    for row, outline in zip(rows, outlines, strict=True):
        picture = Image.new("L", (int(size[1]), int(size[0])))
        if len(outline) > 2:
            points = [(int(c), int(r)) for r, c in outline - low]
            ImageDraw.Draw(picture).polygon(points, fill=1, outline=1)
        place = (readers.index(row["reader_slot"]), slice(None), slice(None), levels.index(row["image_z_position"]))
        drawn = np.asarray(picture)
        found[place] = found[place] | drawn if row["inclusion"] else found[place] & ~drawn
    return found


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two masks that are not both empty."""
    return 2 * int((first & second).sum()) / (int(first.sum()) + int(second.sum()))


def main() -> None:
    """Print the table, and keep it with --save."""
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=120)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    folder = Path(os.environ["RADFOUNDRY_DATA"]) / "lidc_readers"
    table = pd.read_parquet(folder / "contours_4readers.parquet")
    people = pd.read_csv(folder / "annotations.csv").drop_duplicates("nodule").set_index("nodule")["patient_id"]
    scores: dict[str, list[float]] = {name: [] for name in (*FUSIONS, "single")}
    patients = []
    for nodule, group in list(table.groupby("nodule"))[: options.most]:
        drawn = masks(group)
        if len(drawn) != 4 or not drawn.any(axis=(1, 2, 3)).all():
            continue
        rows: dict[str, list[float]] = {name: [] for name in scores}
        for held in range(4):
            others = np.delete(drawn, held, axis=0)
            rows["single"].append(float(np.mean([dice(one, drawn[held]) for one in others])))
            for name in FUSIONS:
                rows[name].append(dice(fused(others, 1, by=name), drawn[held]))
        patients.append(str(people.get(nodule, nodule)))
        for name, values in rows.items():
            scores[name].append(float(np.mean(values)))
    arrays = {name: np.array(values) for name, values in scores.items()}
    found = {name: over_cases(values, patient=patients) for name, values in arrays.items()}
    for name in FUSIONS:
        found[f"{name} minus single"] = over_cases(arrays[name] - arrays["single"], patient=patients)
    found["staple minus majority"] = over_cases(arrays["staple"] - arrays["majority"], patient=patients)
    for name, value in found.items():
        print(name, value.text(3), value.n)
    if options.save:
        kept = {
            n: {"value": round(v.value, 4), "low": round(v.low, 4), "high": round(v.high, 4), "n": v.n}
            for n, v in found.items()
        }
        RESULTS.write_text(
            json.dumps({"nodules": len(patients), "patients": len(set(patients)), **kept}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
