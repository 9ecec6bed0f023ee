"""Bar a: where in the head is a crop? The head is a ridge regression trained on simulated T2-weighted crops alone.

    RADFOUNDRY_DATA=FOLDER python benchmarks/transfer/position.py --cache FOLDER [--weights FILE] [--save]

Tested on 96 mm crops of real heads in other sequences; truth is the affine registration of each head to the template.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import methods as m
import numpy as np
import volumes as v
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CROPS, TRAINING = 60, 1200
ALPHAS = np.logspace(-1, 5, 13)


def real_crops(data: Path, cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All crops of all real scans, their true centres, their patient and their scan's key."""
    images, centres, patients, keys = [], [], [], []
    for key, (scan, volume, matrix) in v.cached(data, cache).items():
        if scan.space in v.UNTRUSTED:
            continue
        cut, centre, _ = v.crops(volume, matrix, v.places_mm(CROPS, seed=5))
        images.append(cut.astype(np.float16))
        centres.append(centre)
        patients += [scan.patient] * len(cut)
        keys += [key] * len(cut)
    return np.concatenate(images), np.concatenate(centres), np.array(patients), np.array(keys)


def error_mm(method: m.Method, training: tuple[np.ndarray, ...], images: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Distance in mm between where the head says each crop lies and where it lies."""
    head = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    head.fit(method(training[0]), training[1])
    return np.linalg.norm(head.predict(method(images)) - centres, axis=1)


def measure(data: Path, cache: Path, weights: Path | None) -> dict[str, Any]:
    """Median errors with patient-clustered intervals, for all scans and by sequence."""
    images, centres, patients, keys = m.kept(cache / "position.npz", lambda: real_crops(data, cache))
    sequence = np.array([key.rsplit("-", 1)[1] for key in keys])
    found: dict[str, Any] = {
        "crops": len(images),
        "patients": len(set(patients)),
        "scans": len(set(keys)),
        "median_mm": {},
    }
    for protocol in ("T2w",):
        training = m.kept(
            cache / f"simulated-{protocol}.npz", lambda p=protocol: m.simulated(TRAINING, protocols=[p])[:2]
        )
        for name, method in m.methods(weights, mirrored=True).items():
            if name.endswith("style"):
                continue
            error = error_mm(method, training, images, centres)
            row = {"all": m.written(m.of_patients(np.median, error, patients))}
            for kind in np.unique(sequence):
                row[kind] = round(float(np.median(error[sequence == kind])), 1)
            row["scans"] = {key: round(float(np.median(error[keys == key])), 1) for key in np.unique(keys)}
            found["median_mm"][f"{name}, head from simulated {protocol}"] = row
    return found


def main() -> None:
    """Print the table, and keep it with --save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    found = measure(Path(os.environ["RADFOUNDRY_DATA"]), options.cache, options.weights)
    for name, row in found["median_mm"].items():
        print(f"{name:60s}", {key: value for key, value in row.items() if key != "scans"})
    if options.save:
        m.save("transfer_position", found)


if __name__ == "__main__":
    main()
