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
    """From `(heads, protocols, features)` the median ICC over features, and the shares of variance."""
    values = [icc(rows[:, :, index]).value for index in range(rows.shape[2])]
    centred = (rows - rows.mean(axis=(0, 1))) / (rows.std(axis=(0, 1)) + 1e-9)
    total = float((centred**2).sum())
    of_head = float((centred.mean(axis=1) ** 2).sum()) * rows.shape[1]
    of_sequence = float((centred.mean(axis=0) ** 2).sum()) * rows.shape[0]
    return {
        "median_icc": float(np.nanmedian(values)),
        "features_at_least_0.9": float(np.mean(np.array(values) >= 0.9)),
        "variance_of_head": of_head / total,
        "variance_of_sequence": of_sequence / total,
    }


def measure(cache: Path, weights: Path | None) -> dict[str, Any]:
    """The mean over places of agreement at one place, and agreement over heads and places together."""
    (images,) = m.kept(cache / "travelling.npz", travelling)
    found: dict[str, Any] = {"heads": HEADS, "places": len(PLACES), "protocols": list(PROTOCOLS)}
    rng = np.random.default_rng(1)
    for name, method in m.methods(weights).items():
        rows = method(images.reshape(-1, *images.shape[3:])).reshape(*images.shape[:3], -1)
        at_place = [agreement(rows[:, place]) for place in range(len(PLACES))]
        drawn = [
            np.mean([agreement(rows[chosen, place])["median_icc"] for place in (0, 1)])
            for chosen in (rng.integers(HEADS, size=HEADS) for _ in range(12))
        ]
        together = agreement(rows.reshape(-1, len(PROTOCOLS), rows.shape[-1]))
        found[name] = {
            "same place, other head": {
                key: round(float(np.mean([row[key] for row in at_place])), 3) for key in at_place[0]
            },
            "spread of its median ICC over drawn heads": [
                round(float(np.min(drawn)), 3),
                round(float(np.max(drawn)), 3),
            ],
            "other place or head": {key: round(value, 3) for key, value in together.items()},
        }
    return found


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
