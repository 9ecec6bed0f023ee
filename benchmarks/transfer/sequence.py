"""Bar c: which sequence is it? Read off the pixels by a linear probe; the anatomy features should not give it away.

    RADFOUNDRY_DATA=FOLDER python benchmarks/transfer/sequence.py --cache FOLDER [--weights FILE] [--save]

Two probes: trained on simulated crops and tested on real scans; and trained on real crops of all patients but one and
tested on that one. Contrast-enhanced T1-weighted scans count as T1-weighted.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import methods as m
import numpy as np
from position import real_crops
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from radfoundry.stats.multiclass import class_measures

TRAINING = 1000
PROTOCOLS = ("T1w", "T1w-gradient", "MPRAGE", "T2w", "PDw", "FLAIR")
CLASSES = ("T1w", "T2w", "FLAIR", "PDw")


def kind(protocol: str) -> str:
    """The class of a protocol's or a scan's name."""
    return "T1w" if protocol in ("T1w", "T1w-gradient", "MPRAGE", "T1ce") else protocol


def probe():  # noqa: ANN201
    """Standardised logistic regression that weighs all classes alike."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=400, class_weight="balanced"))


def by_scan(probabilities: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Every crop gets the class that all crops of its scan speak for together."""
    answer = np.empty(len(keys), int)
    for key in np.unique(keys):
        answer[keys == key] = probabilities[keys == key].mean(axis=0).argmax()
    return answer


def from_simulation(
    rows: np.ndarray, training: tuple[np.ndarray, np.ndarray], real: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Trained on simulated crops, tested on real scans, one vote a scan."""
    fitted = probe().fit(*training)
    columns = [list(fitted.classes_).index(n) for n in range(len(CLASSES))]
    answer = by_scan(fitted.predict_proba(rows)[:, columns], real["key"])
    _, first = np.unique(real["key"], return_index=True)
    table = class_measures(real["class"][first], answer[first], patient=real["patient"][first])
    return {
        "macro_f1": m.written(table.overall["macro_f1"]),
        "balanced_accuracy": m.written(table.overall["balanced_accuracy"]),
    }


def among_patients(rows: np.ndarray, real: dict[str, np.ndarray]) -> dict[str, Any]:
    """Trained on real crops of other patients: T1-weighted, T2-weighted or FLAIR; balanced accuracy of single crops."""
    used = real["class"] < 3
    rows, truth, patients = rows[used], real["class"][used], real["patient"][used]
    answer = np.zeros(len(rows), int)
    for train, test in GroupKFold(n_splits=len(set(patients))).split(rows, truth, patients):
        answer[test] = probe().fit(rows[train], truth[train]).predict(rows[test])
    return m.written(class_measures(truth, answer, patient=patients).overall["balanced_accuracy"])


def measure(data: Path, cache: Path, weights: Path | None) -> dict[str, Any]:
    """Macro-F1 and balanced accuracy of the probes for every kind of features."""
    images, _, patients, keys = m.kept(cache / "position.npz", lambda: real_crops(data, cache))
    images, patients, keys = images[::3], patients[::3], keys[::3]
    classes = np.array([CLASSES.index(kind(key.rsplit("-", 1)[1])) for key in keys])
    real = {"key": keys, "patient": patients, "class": classes}
    training = m.kept(
        cache / "simulated-all.npz", lambda: m.simulated(TRAINING, protocols=PROTOCOLS, seed=m.HEAD_SEED + 1)
    )
    truth = np.array([CLASSES.index(kind(name)) for name in training[2]])
    half = len(truth) // 2
    found: dict[str, Any] = {"scans": len(set(keys)), "patients": len(set(patients)), "classes": list(CLASSES)}
    for name, method in m.methods(weights).items():
        if name.endswith("alone"):
            continue
        simulated, rows = method(training[0]), method(images)
        within = probe().fit(simulated[:half], truth[:half]).predict(simulated[half:])
        found[name] = {
            "simulated to real scans": from_simulation(rows, (simulated, truth), real),
            "real crops, other patients (chance 0.33)": among_patients(rows, real),
            "simulated to simulated (chance 0.25)": m.written(
                class_measures(truth[half:], within).overall["balanced_accuracy"]
            ),
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
        print(f"{name:40s}", row)
    if options.save:
        m.save("transfer_sequence", found)


if __name__ == "__main__":
    main()
