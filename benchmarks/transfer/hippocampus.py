"""Bar d: outlining the hippocampus from 5, 10 or 20 labelled patients: frozen and fine-tuned against from scratch.

    RADFOUNDRY_DATA=FOLDER python benchmarks/transfer/hippocampus.py [--weights FILE] [--labels 5 10] [--save]

The same network, the same light head, the same number of steps and the same augmentation for every way. Images are
1 mm crops of T1-weighted scans, read by the network as if their voxels were its own. Dice of the whole hippocampus on
patients that no training saw; differences are paired by patient.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import methods as m
import numpy as np
import torch
import volumes as v
from torch import nn

from radfoundry.nets.bundled import WIDTHS, AnatomyNet, _folded, _unfolded
from radfoundry.records import Predictions

SHAPE = (32, 48, 32)
TESTED = 30
# How fast the network itself learns; the head always learns at 0.002.
RATES = {"scratch": 1e-3, "frozen": None, "fine-tuned": 1e-3, "fine-tuned gently": 2.5e-4}
WAYS = tuple(RATES)


class Outliner(nn.Module):
    """The network's features and the image itself, mixed by a small head into one score a voxel."""

    def __init__(self, net: AnatomyNet) -> None:
        super().__init__()
        self.net = net
        width = WIDTHS[0] + WIDTHS[1] + 8
        self.norm = nn.GroupNorm(1, width)
        self.head = nn.Sequential(
            nn.Conv3d(width, 64, 1), nn.GELU(), nn.Conv3d(64, 64, 3, padding=1), nn.GELU(), nn.Conv3d(64, 8, 1)
        )

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, 1, I, J, K)` to features of half the size."""
        dense = self.net(x)
        wide = nn.functional.interpolate(dense.quarter, scale_factor=2, mode="trilinear", align_corners=False)
        image = (x - x.mean(dim=(2, 3, 4), keepdim=True)) / x.std(dim=(2, 3, 4), keepdim=True).clamp_min(1e-4)
        return torch.cat([dense.half, wide, _folded(image)], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores `(B, 1, I, J, K)`."""
        return _unfolded(self.head(self.norm(self.features(x))))


def volumes(data: Path, split: str, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images `(n, 1, 32, 48, 32)` between 0 and 1 and masks, of the first patients of a split in random order."""
    import csv

    folder = data / "msd_hippocampus"
    with (folder / "manifest.csv").open() as handle:
        rows = [
            row for row in csv.DictReader(handle) if row["split"] == split and row.get("label_file", row.get("label"))
        ]
    order = np.random.default_rng(3).permutation(len(rows))[:count]
    images, masks = [], []
    for row in (rows[int(n)] for n in order):
        image = v.read(folder / row["file"]).array[0]
        mask = v.read(folder / (row.get("label_file") or row["label"])).array[0]
        low, high = np.percentile(image, (0.5, 99.5))
        images.append(_fitted(np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)))
        masks.append(_fitted((mask > 0).astype(np.float32)))
    return torch.from_numpy(np.stack(images))[:, None].float(), torch.from_numpy(np.stack(masks))[:, None].float()


def _fitted(x: np.ndarray) -> np.ndarray:
    """Cut or filled with zeros around the centre to SHAPE."""
    for axis, wanted in enumerate(SHAPE):
        have = x.shape[axis]
        if have > wanted:
            x = np.take(x, range((have - wanted) // 2, (have - wanted) // 2 + wanted), axis=axis)
        else:
            before = (wanted - have) // 2
            x = np.pad(x, [(before, wanted - have - before) if n == axis else (0, 0) for n in range(3)])
    return x


def dice(scores: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    """Dice of every image."""
    called = (scores > 0).float()
    both = (called * masks).sum(dim=(1, 2, 3, 4))
    return (2 * both / (called.sum(dim=(1, 2, 3, 4)) + masks.sum(dim=(1, 2, 3, 4)))).numpy()


def trained(
    way: str, weights: Path | None, images: torch.Tensor, masks: torch.Tensor, *, steps: int, seed: int
) -> Outliner:
    """One model after so many steps of two images each, mirrored and brightened at random."""
    torch.manual_seed(seed)
    model = Outliner(m.network(weights, fresh=way == "scratch"))
    parts = [{"params": [*model.head.parameters(), *model.norm.parameters()], "lr": 2e-3}]
    if RATES[way] is not None:
        parts.append({"params": model.net.parameters(), "lr": RATES[way]})
    model.net.requires_grad_(RATES[way] is not None)
    optimiser = torch.optim.AdamW(parts, weight_decay=0.01)
    tops = [group["lr"] for group in optimiser.param_groups]
    rng = np.random.default_rng(seed)
    for step in range(steps):
        for group, top in zip(optimiser.param_groups, tops, strict=True):
            group["lr"] = top * min(1.0, (step + 1) / 10) * (1 - step / steps)
        chosen = rng.integers(len(images), size=2)
        x, y = images[chosen], masks[chosen]
        flips = [axis for axis in (2,) if rng.random() < 0.5]
        shift = [int(n) for n in rng.integers(-3, 4, 3)]
        x, y = (torch.roll(part.flip(flips), shift, dims=(2, 3, 4)) for part in (x, y))
        scores = model(x ** float(np.exp(rng.normal(0, 0.2))) + torch.randn_like(x) * 0.02)
        share = torch.sigmoid(scores)
        overlap = 1 - 2 * (share * y).sum() / (share.sum() + y.sum() + 1)
        loss = nn.functional.binary_cross_entropy_with_logits(scores, y) + overlap
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
    return model.eval()


def measure(data: Path, weights: Path | None, *, labels: list[int], steps: int) -> dict[str, Any]:
    """Dice of every way for every number of labelled patients, and paired differences to from-scratch."""
    from radfoundry.stats.bootstrap import bootstrap_difference

    images, masks = volumes(data, "train", max(labels))
    test_images, test_masks = volumes(data, "val", TESTED)
    found: dict[str, Any] = {
        "tested_patients": len(test_images),
        "steps": steps,
        "tested": "validation split of the set",
    }
    rows = np.arange(len(test_images)).astype(str)
    for count in labels:
        reached: dict[str, np.ndarray] = {}
        for way in WAYS:
            started = time.perf_counter()
            model = trained(way, weights, images[:count], masks[:count], steps=steps, seed=count)
            with torch.no_grad():
                scores = torch.cat([model(test_images[n : n + 4]) for n in range(0, len(test_images), 4)])
            reached[way] = dice(scores, test_masks)
            print(
                count, way, round(float(reached[way].mean()), 3), f"{time.perf_counter() - started:.0f} s", flush=True
            )
        data_of = {way: Predictions.of(np.zeros(len(rows)), value, patient=rows) for way, value in reached.items()}
        found[str(count)] = {way: m.written(m.of_patients(np.mean, value, rows)) for way, value in reached.items()}
        for way in WAYS[1:]:
            gain = bootstrap_difference(lambda sample: sample.score.mean(), data_of[way], data_of["scratch"])
            found[str(count)][f"{way} minus scratch"] = m.written(gain)
    return found


def main() -> None:
    """Print the table, and keep it with --save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--labels", type=int, nargs="*", default=[5, 10, 20])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(Path(os.environ["RADFOUNDRY_DATA"]), options.weights, labels=options.labels, steps=options.steps)
    for name, row in found.items():
        print(name, row)
    if options.save:
        known = m.RESULTS / "transfer_hippocampus.json"
        earlier = json.loads(known.read_text()) if known.is_file() else {}
        if earlier.get("steps") == found["steps"]:  # other numbers of labels, run on their own
            found = {**{key: value for key, value in earlier.items() if key.isdigit()}, **found}
        m.save("transfer_hippocampus", found)


if __name__ == "__main__":
    main()
