"""Bar e: travelling subjects. The same simulated heads scanned in six sequences at five places each.

    python benchmarks/transfer/invariance.py --cache FOLDER [--weights FILE] [--save]

For every feature the agreement between renderings, ICC(2,1), over heads at one place; and how the variance of the
features divides into head, sequence, and the rest (two-way analysis of variance, summed over standardised features).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import methods as m
import numpy as np
import torch

from radfoundry.simulate import stream
from radfoundry.stats.icc import icc

HEADS, SEED = 20, 880_401
PLACES = ((0, -16, 6), (36, -20, 10), (-30, 30, 12), (0, -60, -30), (30, -70, 20))
PROTOCOLS = ("T1w", "MPRAGE", "T2w", "PDw", "FLAIR", "T2star")


def travelling() -> tuple[np.ndarray]:
    """Crops `(heads, places, protocols, 32, 32, 32)`; each rendering has its own noise and shading."""
    spacing = (m.SPACING_MM, m.SPACING_MM)
    plan = stream.CropPlan(size=m.SIZE, spacing_mm=spacing, views=len(PROTOCOLS), protocols=PROTOCOLS)
    heads = []
    for case in range(HEADS):
        rows = []
        for place in PLACES:
            draw = stream.draw_crop(plan, seed=SEED, case=case)
            affine = draw.affine.copy()
            affine[:3, 3] = np.array(place) - affine[:3, :3] @ np.full(3, (m.SIZE - 1) / 2)
            made = stream.batch([replace(draw, affine=affine)], plan, cases=[case])
            pictures = made.images[0].numpy()[np.argsort(made.protocol[0].numpy())]
            top = np.percentile(pictures.reshape(len(pictures), -1), 99.5, axis=1)[:, None, None, None]
            rows.append(np.clip(pictures / np.maximum(top, 1e-3), 0, 1))
        heads.append(rows)
    return (np.array(heads, dtype=np.float16),)


def agreement(rows: np.ndarray) -> dict[str, float]:
    """From `(heads, protocols, features)` the median ICC(2,1) over features, and the shares of variance."""
    n, k = rows.shape[:2]
    rows = (rows - rows.mean(axis=(0, 1))) / (rows.std(axis=(0, 1)) + 1e-9)
    of_head = k * (rows.mean(axis=1) ** 2).sum(axis=0)
    of_sequence = n * (rows.mean(axis=0) ** 2).sum(axis=0)
    total = (rows**2).sum(axis=(0, 1))
    head, sequence = of_head / (n - 1), of_sequence / (k - 1)
    rest = (total - of_head - of_sequence) / ((n - 1) * (k - 1))
    values = (head - rest) / (head + (k - 1) * rest + k * (sequence - rest) / n)
    return {
        "median_icc": float(np.nanmedian(values)),
        "features_at_least_0.9": float((values >= 0.9).mean()),
        "variance_of_head": float(of_head.sum() / total.sum()),
        "variance_of_sequence": float(of_sequence.sum() / total.sum()),
    }


def both(rows: np.ndarray) -> dict[str, dict[str, float]]:
    """From `(heads, places, protocols, features)`: agreement at one place, mean over places, and over all crops."""
    single = [agreement(rows[:, place]) for place in range(rows.shape[1])]
    together = agreement(rows.reshape(-1, *rows.shape[2:]))
    return {
        "same place, other head": {key: float(np.mean([row[key] for row in single])) for key in together},
        "other place or head": together,
    }


def measure(cache: Path, weights: Path | None) -> dict[str, Any]:
    """Agreement with 95 % intervals from leaving out one head at a time (jackknife, t with 19 degrees of freedom)."""
    (images,) = m.kept(cache / "travelling.npz", travelling)
    found: dict[str, Any] = {"heads": HEADS, "places": len(PLACES), "protocols": list(PROTOCOLS)}
    for name, method in m.methods(weights).items():
        if name.endswith("alone"):
            continue
        flat = images.reshape(-1, *images.shape[3:]).astype(np.float32)
        rows = method(flat).reshape(*images.shape[:3], -1).astype(float)
        without = [both(np.delete(rows, head, axis=0)) for head in range(HEADS)]
        found[name] = {
            kind: {key: _with_interval(value, [row[kind][key] for row in without]) for key, value in values.items()}
            for kind, values in both(rows).items()
        }
    check = rows[:, 0, :, 0]
    print("ICC of one feature here and in stats:", agreement(check[:, :, None])["median_icc"], icc(check).value)
    return found


def _with_interval(value: float, without: list[float]) -> list[float]:
    n = len(without)
    reach = 2.093 * float(np.sqrt((n - 1) / n * np.square(np.array(without) - np.mean(without)).sum()))
    return [round(value, 3), round(max(value - reach, -1.0), 3), round(min(value + reach, 1.0), 3)]


def main() -> None:
    """Print the table, and keep it with --save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(options.cache, options.weights)
    for name, row in found.items():
        print(f"{name:40s}", row)
    if options.save:
        m.save("transfer_invariance", found)


if __name__ == "__main__":
    main()
