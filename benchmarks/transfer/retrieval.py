"""Bar b: find the same place in another sequence of the same patient, among 100 places spread over the brain.

    RADFOUNDRY_DATA=FOLDER python benchmarks/transfer/retrieval.py --cache FOLDER [--weights FILE] [--save]

No head is trained: the nearest crop by cosine of the features (each feature centred within the sequence) is the answer.
"""

from __future__ import annotations

import argparse
import os
from itertools import permutations
from pathlib import Path
from typing import Any

import methods as m
import numpy as np
import volumes as v

PLACES = 100


def real_crops(data: Path, cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops around the same 100 places in every scan, the number of the place, and the scan's key."""
    images, places, keys = [], [], []
    for key, (_, volume, matrix) in v.cached(data, cache).items():
        cut, _, which = v.crops(volume, matrix, v.places_mm(PLACES, seed=11))
        images.append(cut.astype(np.float16))
        places.append(which)
        keys += [key] * len(cut)
    return np.concatenate(images), np.concatenate(places), np.array(keys)


def pairs(data: Path, cache: Path) -> list[tuple[str, str, str]]:
    """Ordered pairs of scans of one patient at one time in different sequences, with the patient."""
    found = []
    for (first, a), (second, b) in permutations(((key, entry[0]) for key, entry in v.cached(data, cache).items()), 2):
        one_time = a.space.rsplit("-", 1)[0] == b.space.rsplit("-", 1)[0] if "-" in a.space else a.space == b.space
        if a.patient == b.patient and a.sequence != b.sequence and (one_time or a.space == b.space):
            found.append((first, second, a.patient))
    return found


def hits(query: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the nearest gallery row is the query's own place, and whether it is among the nearest five."""
    a, b = (rows - rows.mean(axis=0) for rows in (query, gallery))
    a /= np.linalg.norm(a, axis=1, keepdims=True) + 1e-9
    b /= np.linalg.norm(b, axis=1, keepdims=True) + 1e-9
    order = np.argsort(-(a @ b.T), axis=1)
    truth = np.arange(len(a))[:, None]
    return (order[:, :1] == truth).any(axis=1), (order[:, :5] == truth).any(axis=1)


def measure(data: Path, cache: Path, weights: Path | None) -> dict[str, Any]:
    """Recall with patient-clustered intervals."""
    images, places, keys = m.kept(cache / "retrieval.npz", lambda: real_crops(data, cache))
    compared = pairs(data, cache)
    found: dict[str, Any] = {"pairs": len(compared), "patients": len({p for *_, p in compared}), "places": PLACES}
    for name, method in m.methods(weights).items():
        if name.endswith(("style", "alone")):
            continue
        rows = method(images)
        first, five, patients, by_pair = [], [], [], {}
        for one, other, patient in compared:
            common = np.intersect1d(places[keys == one], places[keys == other])
            query = rows[keys == one][np.isin(places[keys == one], common)]
            gallery = rows[keys == other][np.isin(places[keys == other], common)]
            at_one, at_five = hits(query, gallery)
            first.append(at_one)
            five.append(at_five)
            patients += [patient] * len(at_one)
            by_pair[f"{one} to {other}"] = [round(float(at_one.mean()), 3), len(common)]
        of = np.array(patients)
        found[name] = {
            "recall_at_1": m.written(m.of_patients(np.mean, np.concatenate(first).astype(float), of)),
            "recall_at_5": m.written(m.of_patients(np.mean, np.concatenate(five).astype(float), of)),
            "pairs": by_pair,
        }
    return found


def main() -> None:
    """Print the table, and keep it with --save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    found = measure(Path(os.environ["RADFOUNDRY_DATA"]), options.cache, options.weights)
    for name, row in found.items():
        print(f"{name:40s}", {k: x for k, x in row.items() if k != "pairs"} if isinstance(row, dict) else row)
    if options.save:
        m.save("transfer_retrieval", found)


if __name__ == "__main__":
    main()
