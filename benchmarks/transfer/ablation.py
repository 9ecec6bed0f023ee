"""What each term of the bundled encoder's training earns: leave one out, the same steps, the same bars.

    RADFOUNDRY_DATA=FOLDER python benchmarks/transfer/ablation.py WORK --cache FOLDER [--steps 200] [--save]

Every variant is trained from the same start on the same heads and asked the same questions as the finished weights, on
part of the same real crops; differences to the whole loss are paired and drawn by patient. A variant that is finished
in WORK is not trained again. A few hundred steps say which term helps early, not what remains after thousands.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import invariance
import lesion
import methods as m
import numpy as np
import position
import sequence
import torch
import volumes as v
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import retrieval
from radfoundry.records import Predictions
from radfoundry.stats.bootstrap import bootstrap, bootstrap_difference

VARIANTS: dict[str, list[str]] = {
    "everything": [],
    **{f"without {name}": ["--without", name] for name in ("place", "centre", "tissue", "finding", "same", "apart")},
    "without style (bright, sequence)": ["--without", "bright", "sequence"],
    "physics alone, no random contrast": ["--physics", "1.0"],
    "crops of one head at other places": ["--together", "0.0"],
}
EVERY = 3
PLACES = 40


def trained(work: Path, name: str, *, steps: int) -> Path:
    """The averaged weights of a variant, trained unless they are there."""
    folder = work / name.split(" (")[0].replace(",", "").replace(" ", "-")
    done = folder / "average.safetensors"
    if not (folder / "finished").is_file():
        flags = [*VARIANTS[name], "--steps", str(steps), "--decay", str(steps // 2), "--snapshot", str(steps)]
        script = Path(__file__).with_name("train_bundled.py")
        subprocess.run([sys.executable, str(script), str(folder), *flags, "--pool", "30"], check=True)
        (folder / "finished").touch()
    return done


def structure_of(net: Any, images: np.ndarray) -> np.ndarray:
    """The anatomy half `(n, 131)` of crops."""
    with torch.no_grad():
        return np.concatenate(
            [
                net(torch.from_numpy(part.astype(np.float32))[:, None]).structure.numpy()
                for part in np.array_split(images, max(1, len(images) // 32))
            ]
        )


def place_errors(net: Any, data: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Bar a: error in mm of every crop, and whose it is."""
    parts = m.kept(cache / "position.npz", lambda: position.real_crops(data, cache))
    images, centres, patients = (part[::EVERY] for part in parts[:3])
    teach, truth = m.kept(cache / "simulated-T2w.npz", lambda: m.simulated(1200, protocols=["T2w"])[:2])
    head = make_pipeline(StandardScaler(), RidgeCV(position.ALPHAS))
    head.fit(structure_of(net, teach[:600]), truth[:600])
    return np.linalg.norm(head.predict(structure_of(net, images)) - centres, axis=1), patients


def places_found(net: Any, data: Path, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Bar b: whether each place is found among forty in another sequence of its patient, and whose it is."""
    images, places, keys = m.kept(cache / "retrieval.npz", lambda: retrieval.real_crops(data, cache))
    few = places < PLACES
    images, places, keys = images[few], places[few], keys[few]
    rows = structure_of(net, images)
    found, patients = [], []
    for one, other, patient in retrieval.pairs(data, cache):
        common = np.intersect1d(places[keys == one], places[keys == other])
        query, gallery = (rows[keys == key][np.isin(places[keys == key], common)] for key in (one, other))
        found.append(retrieval.hits(query, gallery)[0].astype(float))
        patients += [patient] * len(query)
    return np.concatenate(found), np.array(patients)


def asked(weights: Path, data: Path, cache: Path) -> dict[str, Any]:
    """Columns and numbers of one variant."""
    net = m.network(weights)
    images, _, patients, keys = (part[::EVERY] for part in m.kept(cache / "position.npz", lambda: ()))
    classes = np.array([sequence.CLASSES.index(sequence.kind(key.rsplit("-", 1)[1])) for key in keys])
    (heads,) = m.kept(cache / "travelling.npz", invariance.travelling)
    flat = structure_of(net, heads.reshape(-1, *heads.shape[3:])).reshape(*heads.shape[:3], -1).astype(float)
    crops, disease, of = m.kept(cache / "lesion.npz", lambda: lesion.scored_crops(data, cache))
    return {
        "position": place_errors(net, data, cache),
        "retrieval": places_found(net, data, cache),
        "sequence": sequence.among_patients(
            structure_of(net, images), {"key": keys, "patient": patients, "class": classes}
        ),
        "agreement": round(invariance.both(flat)["same place, other head"]["median_icc"], 3),
        "lesion": round(located(lesion.finding(net, crops), crops, disease, of), 3),
    }


def located(score: np.ndarray, crops: np.ndarray, disease: np.ndarray, keys: np.ndarray) -> float:
    """Bar f: the mean over scans of the area under the curve for sick blocks."""
    truth, inside = lesion.blocks(disease) > lesion.SICK_BLOCK, lesion.blocks(crops) > 0.05
    areas = []
    for key in np.unique(keys):
        here = inside & (keys == key)[:, None, None, None]
        if truth[here].any():
            areas.append(lesion.roc_auc_score(truth[here], score[here]))
    return float(np.mean(areas))


def table(columns: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Every variant's numbers with intervals, and paired differences to the whole loss (positive is better)."""
    found: dict[str, Any] = {}
    for name, row in columns.items():
        found[name] = {key: row[key] for key in ("sequence", "agreement", "lesion")}
        for bar, statistic, sign in (("position", np.median, -1), ("retrieval", np.mean, 1)):
            values, patients = row[bar]
            whole = columns["everything"][bar][0]
            own, reference = (Predictions.of(np.zeros(len(x)), x, patient=patients) for x in (values, whole))
            measure = lambda sample, of=statistic: of(sample.score)  # noqa: E731
            found[name][bar] = m.written(bootstrap(measure, own, draws=1000, method="percentile"))
            if name != "everything":
                pair = (own, reference) if sign > 0 else (reference, own)
                found[name][f"{bar}, against everything"] = m.written(bootstrap_difference(measure, *pair, draws=1000))
    return found


def main() -> None:
    """Train, ask, print; keep the table with --save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=list(VARIANTS))
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    data = Path(os.environ["RADFOUNDRY_DATA"])
    v.cached(data, options.cache)
    columns: dict[str, dict[str, Any]] = {}
    for name in options.only:
        columns[name] = asked(trained(options.work, name, steps=options.steps), data, options.cache)
        print(name, {key: columns[name][key] for key in ("sequence", "agreement", "lesion")}, flush=True)
    found = table(columns)
    print(json.dumps(found, indent=1))
    if options.save:
        m.save("transfer_ablation", {"steps": options.steps, **found})


if __name__ == "__main__":
    main()
