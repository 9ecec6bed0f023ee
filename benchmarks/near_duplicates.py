"""What near-duplicate images do to a test: a public set of 2D brain tumour slices without patient identifiers.

Give the folder of the set (images and manifest.csv with the columns file, label, split):
python benchmarks/near_duplicates.py FOLDER. Counts the near-duplicate groups, those across the published split and
those with two different labels; then measures accuracy, of a nearest neighbour and of a random forest on 32 x 32
pixels, (a) on the published split with the twins of test images in training, without them, and without as many random
other images, and (b) on random splits that part twins against splits that keep them together. Paired intervals:
bootstrap over test groups (a) and over repeats (b). Without the folder the committed result stays as it is.
"""

import csv
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

from radfoundry.data.duplicates import near_duplicate_groups
from radfoundry.volume import Volume

SIDE, REPEATS, DRAWS = 32, 12, 4000
RESULT = Path(__file__).parent / "results" / "near_duplicates.json"


def load(folder: Path) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Grey pictures, labels and the published parts; a file that the table names twice counts once."""
    named = {row["file"]: row for row in csv.DictReader((folder / "manifest.csv").open())}
    rows = [row for name, row in named.items() if (folder / name).exists()]
    pictures = [np.asarray(Image.open(folder / row["file"]).convert("L"), np.float32) for row in rows]
    return pictures, np.array([row["label"] for row in rows]), np.array([row["split"] for row in rows])


def features(pictures: list[np.ndarray]) -> np.ndarray:
    """Each picture as 32 x 32 values of mean 0 and deviation 1."""
    small = [np.asarray(Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BOX)).ravel() for p in pictures]
    table = np.stack(small)
    return (table - table.mean(axis=1, keepdims=True)) / np.maximum(table.std(axis=1, keepdims=True), 1e-6)


def models(seed: int) -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier

    return {
        "nearest neighbour": KNeighborsClassifier(1),
        "random forest": RandomForestClassifier(50, random_state=seed, n_jobs=1),
    }


def right(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Model name -> whether each test image was answered rightly."""
    return {name: model.fit(x[train], y[train]).predict(x[test]) == y[test] for name, model in models(seed).items()}


def interval(values: Any, rng: np.random.Generator, groups: np.ndarray | None = None) -> dict[str, float]:
    """Mean and 95 % percentile interval, groups drawn whole."""
    values = np.asarray(values, float)
    groups = np.arange(len(values)) if groups is None else groups
    names, place = np.unique(groups, return_inverse=True)
    total, count = np.bincount(place, values), np.bincount(place)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    means = draws @ total / (draws @ count)
    low, high = np.percentile(means, (2.5, 97.5))
    return {"value": round(values.mean(), 4), "low": round(low, 4), "high": round(high, 4), "n": len(values)}


def published(
    x: np.ndarray, y: np.ndarray, split: np.ndarray, group: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Accuracy on the published test images with and without their twins in training."""
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    twins = np.isin(group[train], group[test])
    other = rng.permutation(np.flatnonzero(~twins))[: twins.sum()]
    with_all = right(x, y, train, test)
    without = right(x, y, train[~twins], test)
    as_many = right(x, y, np.delete(train, other), test)
    has_twin = np.isin(group[test], group[train])
    found = {}
    for name in with_all:
        found[name] = {
            "all training images": interval(with_all[name], rng, group[test]),
            "without twins of test images": interval(without[name], rng, group[test]),
            "without as many other images": interval(as_many[name], rng, group[test]),
            "gain by twins": interval(with_all[name] * 1.0 - without[name], rng, group[test]),
            "gain by twins, test images with a twin": interval(
                (with_all[name] * 1.0 - without[name])[has_twin], rng, group[test][has_twin]
            ),
        }
    return {
        "training images with a twin in test": int(twins.sum()),
        "test images with a twin": int(has_twin.sum()),
        "accuracy": found,
    }


def random_splits(x: np.ndarray, y: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Accuracy of splits that part twins and of splits that keep them together, a fifth of the images tested."""
    gains, parted, kept, shares = {}, {}, {}, []
    for repeat in range(REPEATS):
        order = rng.permutation(len(x))
        test = order[: len(x) // 5]
        train = order[len(x) // 5 :]
        shares.append(np.isin(group[test], group[train]).mean())
        together = rng.permutation(np.unique(group))
        size = np.cumsum([np.sum(group == name) for name in together])
        tested = np.isin(group, together[: np.searchsorted(size, len(x) // 5) + 1])
        first = right(x, y, train, test, repeat)
        second = right(x, y, np.flatnonzero(~tested), np.flatnonzero(tested), repeat)
        for name in first:
            parted.setdefault(name, []).append(first[name].mean())
            kept.setdefault(name, []).append(second[name].mean())
            gains.setdefault(name, []).append(first[name].mean() - second[name].mean())
    return {
        "test images with a twin in training": round(float(np.mean(shares)), 4),
        "accuracy": {
            name: {
                "twins parted": interval(parted[name], rng),
                "twins together": interval(kept[name], rng),
                "gain by parting": interval(gains[name], rng),
            }
            for name in gains
        },
    }


def main() -> None:
    if len(sys.argv) < 2:
        print(f"no folder given; {RESULT.name} stays as it is")
        return
    started = time.process_time()
    pictures, labels, split = load(Path(sys.argv[1]))
    found = near_duplicate_groups(Volume.of(picture.T, np.eye(4)) for picture in pictures)
    group = np.arange(len(pictures))
    for members in found:
        group[list(members)] = members[0]
    x, rng = features(pictures), np.random.default_rng(0)
    result = {
        "images": len(pictures),
        "published split": dict(Counter(split.tolist())),
        "groups": len(found),
        "images in groups": sum(map(len, found)),
        "groups across the published split": sum(len(set(split[list(members)])) > 1 for members in found),
        "groups with two labels": sum(len(set(labels[list(members)])) > 1 for members in found),
        "published": published(x, labels, split, group, rng),
        "random": random_splits(x, labels, group, rng),
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
