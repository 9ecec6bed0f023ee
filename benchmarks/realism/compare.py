"""Is the simulated head real enough? Tissue contrast, telling apart, and training on one to test on the other.

    RADFOUNDRY_DATA=FOLDER python benchmarks/realism/compare.py contrast apart sequence lesion [--cases 24]

Writes benchmarks/results/realism-NAME.json. The real heads are few (10 people), so every interval is a bootstrap of
people; they say how sure one can be with these people, no more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from heads import GROUPS, MASKS, Scan, brain_middle, real, simulated, table
from scipy import ndimage

RESULTS = Path(__file__).resolve().parents[1] / "results"


def resampled(array: np.ndarray, source: Scan, like: Scan) -> np.ndarray:
    """An array on the grid of another scan, by the positions in mm that both headers state."""
    matrix = np.linalg.inv(source.volume.affine) @ like.volume.affine
    return ndimage.affine_transform(array, matrix[:3, :3], matrix[:3, 3], like.volume.shape, order=1)


def classes(scan: Scan) -> tuple[np.ndarray, ...] | None:
    """Fluid, grey and white matter of a T1-weighted image: three clusters of brightness inside the brain's middle."""
    from sklearn.cluster import KMeans

    array = ndimage.gaussian_filter(
        scan.volume.array[0].astype(np.float32), [0.6 / max(s, 0.6) for s in scan.volume.spacing_mm]
    )
    brain = scan.brain if scan.brain is not None else _middle(array, scan.volume.spacing_mm)
    if scan.lesion is not None:
        brain = brain & ~ndimage.binary_dilation(scan.lesion, iterations=2)
    values = array[brain]
    values = values[(values > 0) & (values < np.percentile(values, 99.5))]
    sample = values[:: max(1, len(values) // 40000), None]
    centres = np.sort(KMeans(3, n_init=4, random_state=0).fit(sample).cluster_centers_[:, 0])
    half = (centres[1:] + centres[:-1]) / 2
    width = np.diff(centres) * 0.25
    return (
        brain & (array < half[0] - width[0]) & (array > 0),
        brain & (array > half[0] + width[0]) & (array < half[1] - width[1]),
        brain & (array > half[1] + width[1]),
    )


def _middle(array: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """A box of 90 x 110 x 50 mm around the ventricles: brain in every head, stripped or not."""
    middle = brain_middle(array, spacing)
    box = np.zeros(array.shape, bool)
    half = [45 / spacing[0], 55 / spacing[1], 25 / spacing[2]]
    box[tuple(slice(max(0, round(m - h)), round(m + h)) for m, h in zip(middle, half, strict=True))] = True
    return box & (array > 0)


def contrast(cases: int) -> dict:
    """Brightness of fluid and grey matter as shares of white matter in every sequence, tissues found on T1w alone."""
    rows = []
    sequences = ("T1w", "T2w", "FLAIR", "PDw")
    for kind, scans in (("real", list(real())), ("simulated", list(simulated(cases)))):
        for subject in dict.fromkeys(scan.subject for scan in scans):
            own = {scan.sequence: scan for scan in scans if scan.subject == subject}
            reference = own.get("T1w")
            if reference is None:
                continue
            found = classes(reference)
            for name, scan in own.items():
                if name not in sequences:
                    continue
                image = resampled(scan.volume.array[0].astype(np.float32), scan, reference)
                there = image > 0
                fluid, grey, white = (float(np.median(image[mask & there])) for mask in found)
                rows.append(
                    {"kind": kind, "subject": subject, "sequence": name, "fluid": fluid / white, "grey": grey / white}
                )
    summary = {}
    for name in sequences:
        for kind in ("real", "simulated"):
            mine = [row for row in rows if row["kind"] == kind and row["sequence"] == name]
            if mine:
                order = [_order(row) for row in mine]
                summary[f"{name} {kind}"] = {
                    "subjects": len(mine),
                    "grey_by_white": [
                        round(float(np.quantile([row["grey"] for row in mine], q)), 3) for q in (0.5, 0, 1)
                    ],
                    "fluid_by_white": [
                        round(float(np.quantile([row["fluid"] for row in mine], q)), 3) for q in (0.5, 0, 1)
                    ],
                    "orders": {o: order.count(o) for o in sorted(set(order))},
                }
    return {"summary": summary, "rows": rows}


def _order(row: dict) -> str:
    values = {"fluid": row["fluid"], "grey": row["grey"], "white": 1.0}
    return " > ".join(sorted(values, key=values.get, reverse=True))


def apart(cases: int) -> dict:
    """A classifier told which patches are simulated: AUROC on people it has not seen, all features and each group."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ours, theirs = table(_but(simulated(cases), "PDw")), table(_but(real(), "PDw"))
    x = np.concatenate([ours["features"], theirs["features"]])
    y = np.concatenate([np.zeros(len(ours["features"])), np.ones(len(theirs["features"]))])
    people = np.concatenate([ours["subject"], theirs["subject"]])
    names = list(dict.fromkeys(theirs["subject"]))
    invented = list(dict.fromkeys(ours["subject"]))
    folds = [{name, *invented[number :: len(names)]} for number, name in enumerate(names)]
    starts = np.cumsum([0, *GROUPS.values()])
    columns = {"all": np.arange(len(x[0]))}
    columns |= {name: np.arange(starts[i], starts[i + 1]) for i, name in enumerate(GROUPS)}
    # The simulated heads are built on 2 mm: finer waves give them away whatever they show.
    coarse = columns["spectrum"][:9]
    columns["spectrum, waves over 5 mm"] = coarse
    columns["brightness, profile, waves over 5 mm"] = np.concatenate(
        [columns["brightness"], columns["profile"], coarse]
    )
    found = {}
    for group, chosen in columns.items():
        score = np.zeros(len(y))
        for held in folds:
            out = np.isin(people, list(held))
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
            score[out] = model.fit(x[~out][:, chosen], y[~out]).decision_function(x[out][:, chosen])
        found[group] = _interval(lambda rows, s=score: roc_auc_score(y[rows], s[rows]), y, people)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced")).fit(x, y)
    labels = [f"{name} {number}" for name, count in GROUPS.items() for number in range(count)]
    weights = model[-1].coef_[0]
    top = np.argsort(-np.abs(weights))[:8]
    return {
        "auroc": found,
        "patches": {"real": int(y.sum()), "simulated": int((1 - y).sum())},
        "people": {"real": len(names), "simulated": len(invented)},
        "largest_weights": {labels[i]: round(float(weights[i]), 2) for i in top},
    }


def _but(scans: Iterable[Scan], sequence: str) -> list[Scan]:
    return [scan for scan in scans if scan.sequence != sequence and not scan.subject.startswith("BRATS")]


def _interval(
    statistic: Callable[[np.ndarray], float], y: np.ndarray, people: np.ndarray, draws: int = 400
) -> list[float]:
    """Value with the 95 % percentile interval of a bootstrap of people, real and simulated apart."""
    rng = np.random.default_rng(0)
    rows = {name: np.flatnonzero(people == name) for name in dict.fromkeys(people)}
    kinds = [
        [name for name in rows if y[rows[name][0]] == kind] for kind in np.unique([y[r[0]] for r in rows.values()])
    ]
    values = []
    for _ in range(draws):
        chosen = np.concatenate([rows[name] for kind in kinds for name in rng.choice(kind, len(kind))])
        values.append(statistic(chosen))
    every = np.arange(len(y))
    return [round(float(v), 3) for v in (statistic(every), *np.nanquantile(values, [0.025, 0.975]))]


def sequence(cases: int) -> dict:
    """Which sequence: T1 (with or without agent), T2w or FLAIR; trained on simulated heads, or on other real people."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = slice(0, GROUPS["brightness"] + GROUPS["profile"])
    ours, theirs = table(_but(simulated(cases), "PDw")), table(_but(real(), "PDw"))
    for part in (ours, theirs):
        part["class"] = np.char.replace(np.char.replace(part["sequence"], "T1c", "T1"), "T1w", "T1")

    def fitted(x: np.ndarray, target: np.ndarray):  # noqa: ANN202
        return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=3000, class_weight="balanced")).fit(
            x[:, chosen], target
        )

    said = {"simulated": fitted(ours["features"], ours["class"]).predict_proba(theirs["features"][:, chosen])}
    names = sorted(set(ours["class"]))
    from_real = np.zeros((len(theirs["class"]), len(names)))
    for person in dict.fromkeys(theirs["subject"]):
        out = theirs["subject"] == person
        model = fitted(theirs["features"][~out], theirs["class"][~out])
        from_real[np.ix_(out, [names.index(c) for c in model.classes_])] = model.predict_proba(
            theirs["features"][out][:, chosen]
        )
    said["real"] = from_real
    volumes = list(dict.fromkeys(theirs["volume"]))
    truth = np.array([theirs["class"][theirs["volume"] == v][0] for v in volumes])
    owner = np.array([theirs["subject"][theirs["volume"] == v][0] for v in volumes])
    found = {"volumes": {c: int((truth == c).sum()) for c in names}, "people": len(set(owner))}
    for trained, probability in said.items():
        voted = np.array([names[int(probability[theirs["volume"] == v].mean(axis=0).argmax())] for v in volumes])
        right = voted == truth
        found[f"trained on {trained}"] = {
            "accuracy": _interval(lambda rows, r=right: r[rows].mean(), np.zeros(len(volumes)), owner),
            "right": int(right.sum()),
            "of": len(volumes),
            "wrong": [f"{o} {t} called {w}" for o, t, w in zip(owner, truth, voted, strict=True) if t != w],
        }
    return found


def lesion(cases: int) -> dict:
    """Lesions on FLAIR, voxel by voxel at 2 mm: trained on simulated heads, or on the other real people."""
    ours = [_voxels(scan) for scan in simulated(cases, lesions=True)]
    theirs = {s.subject: _voxels(s) for s in real() if s.sequence == "FLAIR" and s.subject in MASKS}
    rows = []
    model = _forest(ours)
    for person, (x, y) in theirs.items():
        others = [pair for name, pair in theirs.items() if name != person]
        rows.append(
            {
                "subject": person,
                "trained_on_simulated": _dice(model, x, y),
                "trained_on_real": _dice(_forest(others), x, y),
                "lesion_ml": round(float(y.sum()) * 8 / 1000, 1),
            }
        )
    means = {
        name: [round(float(v), 3) for v in (np.mean(values), min(values), max(values))]
        for name in ("trained_on_simulated", "trained_on_real")
        for values in [[row[name] for row in rows]]
    }
    return {"dice": rows, "mean_lowest_highest": means, "simulated_heads": len(ours)}


def _voxels(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Features of every brain voxel at 2 mm, and whether it is lesion."""
    zoom = [s / 2.0 for s in scan.volume.spacing_mm]
    image = ndimage.zoom(scan.volume.array[0].astype(np.float32), zoom, order=1)
    mask = ndimage.zoom(scan.lesion.astype(np.float32), zoom, order=1) > 0.5
    if scan.brain is None:  # the real ones here have been stripped: what is zero is outside
        brain = ndimage.binary_fill_holes(
            ndimage.zoom((scan.volume.array[0] != 0).astype(np.float32), zoom, order=1) > 0.5
        )
    else:
        brain = ndimage.zoom(scan.brain.astype(np.float32), zoom, order=1) > 0.5
    usual = np.median(image[brain])
    spread = 1.4826 * np.median(np.abs(image[brain] - usual))
    z = np.where(brain, (image - usual) / spread, 0).clip(-6, 8)
    depth = ndimage.distance_transform_edt(brain)
    share = [ndimage.gaussian_filter(brain.astype(np.float32), s) + 1e-3 for s in (1, 2, 4)]
    smooth = [ndimage.gaussian_filter(z, s) / w for s, w in zip((1, 2, 4), share, strict=True)]
    stack = [z, *smooth, smooth[0] - smooth[2], z - z[::-1], smooth[1] - smooth[1][::-1], np.minimum(depth, 12)]
    return np.stack([item[brain] for item in stack], axis=1), mask[brain]


def _forest(pairs: list[tuple[np.ndarray, np.ndarray]]):  # noqa: ANN202
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    xs, ys = [], []
    for x, y in pairs:
        chosen = rng.choice(len(y), min(6000, len(y)), replace=False)
        ill = np.flatnonzero(y)
        chosen = np.concatenate([chosen, rng.choice(ill, min(1500, len(ill)), replace=False)]) if len(ill) else chosen
        xs.append(x[chosen])
        ys.append(y[chosen])
    return HistGradientBoostingClassifier(max_iter=120, random_state=0).fit(np.concatenate(xs), np.concatenate(ys))


def _dice(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    said = model.predict_proba(x)[:, 1] > 0.5
    return round(float(2 * (said & y).sum() / max(said.sum() + y.sum(), 1)), 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="+", choices=("contrast", "apart", "sequence", "lesion"))
    parser.add_argument("--cases", type=int, default=24)
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for what in chosen.what:
        made = {"contrast": contrast, "apart": apart, "sequence": sequence, "lesion": lesion}[what](chosen.cases)
        found = {"simulated_cases": chosen.cases, **made}
        path = RESULTS / f"realism-{what}.json"
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(what, json.dumps({key: value for key, value in found.items() if key != "rows"}), flush=True)


if __name__ == "__main__":
    main()
