"""Bar f: tumours and plaques of real patients, without any training on real images.

    RADFOUNDRY_DATA=FOLDER python benchmarks/transfer/lesion.py --cache FOLDER [--weights FILE] [--save]

Location: blocks of 6 mm inside the brain, ranked by a score; a block is sick where a quarter of it lies in the
patient's mask. Presence: crops that hold at least 2 % of disease against crops of the same patients that hold none.
Scores: what the network itself says of a finding, brightness, and frozen heads: gradient boosting that has seen
simulated blocks alone, on the features of the network, on those of the untrained one, and on brightness.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import methods as m
import numpy as np
import torch
import volumes as v
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from torch import nn

from radfoundry.data.prepare import Plan, prepare
from radfoundry.nets.bundled import both_ways
from radfoundry.simulate.pool import HeadPool
from radfoundry.stats.auc import auroc

MASKS = {
    "pat0001": "brats2015_glioma/pat0001/seg.nii.gz",
    "pat0003": "brats2015_glioma/pat0003/seg.nii.gz",
    "pat0005": "brats2015_glioma/pat0005/seg.nii.gz",
    "tcga": "tcga_glioma_multiseg/fusion/mav.nii.gz",
    "ms07": "ms_lesions/cross_sectional/patient07/lesions.nii.gz",
}
SMALLEST_SHARE = 0.02
SICK_BLOCK = 0.25
TRAINED_BATCHES = 30


def scored_crops(data: Path, cache: Path) -> tuple[np.ndarray, ...]:
    """Crops of all scans with a mask, the disease in each voxel, the scan's key."""
    images, disease, keys = [], [], []
    for key, (scan, volume, matrix) in v.cached(data, cache).items():
        if scan.patient not in MASKS:
            continue
        mask = v.read(data / MASKS[scan.patient])
        mask = mask.with_array((mask.array > 0.5).astype(np.float32))
        coarse = prepare(mask, Plan(orientation="RAS", spacing_mm=v.SPACING_MM, shape=None, intensity="none"))
        cut, _, kept = v.crops(volume, matrix, v.places_mm(40, seed=21))
        sick, _, also = v.crops(coarse, matrix, v.places_mm(40, seed=21))
        both = np.intersect1d(kept, also)
        images.append(cut[np.isin(kept, both)].astype(np.float16))
        disease.append(sick[np.isin(also, both)].astype(np.float16))
        keys += [key] * len(both)
    return np.concatenate(images), np.concatenate(disease), np.array(keys)


def blocks(x: np.ndarray) -> np.ndarray:
    """Means over blocks of 2 x 2 x 2 voxels: `(n, 16, 16, 16)`."""
    return x.astype(np.float32).reshape(len(x), 16, 2, 16, 2, 16, 2).mean(axis=(2, 4, 6))


def finding(net: Any, images: np.ndarray) -> np.ndarray:
    """The score of a finding in every block `(n, 16, 16, 16)`."""
    with torch.no_grad():
        parts = [
            both_ways(net, torch.from_numpy(part.astype(np.float32))[:, None]).shares[:, -1]
            for part in np.array_split(images, 30)
        ]
    return torch.cat(parts).numpy()


def described(net: Any | None, images: np.ndarray) -> np.ndarray:
    """Features of every block `(n, 16, 16, 16, d)`: brightness in the crop's own deviations, alone and of its
    surroundings, the crop's first-order statistics; with a net its features, tissues and style as well."""
    bright = blocks(images)
    spread = bright.std(axis=(1, 2, 3), keepdims=True) + 1e-6
    level = (bright - bright.mean(axis=(1, 2, 3), keepdims=True)) / spread
    around = np.stack([ndimage.uniform_filter(one, 3, mode="nearest") for one in level])
    whole = np.broadcast_to(m.statistics(images)[:, None, None, None], (*level.shape, 17))
    plain = np.concatenate([level[..., None], around[..., None], whole], axis=-1).astype(np.float32)
    if net is None:
        return plain
    parts = []
    with torch.no_grad():
        for part in np.array_split(images, max(1, len(images) // 16)):
            dense = both_ways(net, torch.from_numpy(part.astype(np.float32))[:, None])
            wide = nn.functional.interpolate(dense.quarter, scale_factor=2, mode="nearest")
            style = dense.style[:, :, None, None, None].expand(-1, -1, 16, 16, 16)
            parts.append(torch.cat([dense.half, wide, dense.shares, style], dim=1).permute(0, 2, 3, 4, 1).numpy())
    return np.concatenate([plain, np.concatenate(parts)], axis=-1)


def simulated_blocks() -> tuple[np.ndarray, np.ndarray]:
    """Crops of simulated heads with lesions, and the share of a finding in every block; a seed used nowhere else."""
    pool = HeadPool(heads=40, seed=m.HEAD_SEED, lesion_rate=0.8)
    images, truth = [], []
    for _ in range(TRAINED_BATCHES):
        batch = pool.batch(heads=8, crops=2, physics=1.0)
        images.append(batch.views[0].images[:, 0].numpy().astype(np.float16))
        truth.append(batch.lesion[:, 0].numpy().astype(np.float16))
    return np.concatenate(images), np.concatenate(truth)


def frozen_head(net: Any | None, images: np.ndarray, truth: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A head fitted on blocks of simulated crops: all that are sick, and some that are not; gives scores of blocks."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(0)
    rows, answers = [], []
    for part in np.array_split(np.arange(len(images)), max(1, len(images) // 40)):
        features, sick = described(net, images[part]), truth[part].astype(np.float32)
        inside = blocks(images[part]) > 0.05
        chosen = inside & ((sick > SICK_BLOCK) & (rng.random(sick.shape) < 0.4) | (rng.random(sick.shape) < 0.02))
        rows.append(features[chosen])
        answers.append(sick[chosen] > SICK_BLOCK)
    head = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, l2_regularization=1.0, random_state=0)
    head.fit(np.concatenate(rows), np.concatenate(answers))

    def scores(crops: np.ndarray) -> np.ndarray:
        found = np.full((len(crops), 16, 16, 16), -np.inf, np.float32)
        for part in np.array_split(np.arange(len(crops)), max(1, len(crops) // 20)):
            asked = blocks(crops[part]) > 0.05
            rows = np.zeros(asked.shape, np.float32) - 50
            rows[asked] = head.decision_function(described(net, crops[part])[asked])
            found[part] = rows
        return found

    return scores


def measure(data: Path, cache: Path, weights: Path | None) -> dict[str, Any]:
    """Areas under the curve for each scan, and over all with patient-clustered intervals."""
    images, disease, keys = m.kept(cache / "lesion.npz", lambda: scored_crops(data, cache))
    truth, bright = blocks(disease), blocks(images)
    patients = np.array([key.split("-")[0] for key in keys])
    trained, fresh = m.network(weights), m.network(None, fresh=True)
    taught = m.kept(cache / "lesion-simulated.npz", simulated_blocks)
    scores = {
        "radfoundry-mri": finding(trained, images),
        "untrained": finding(fresh, images),
        "brightness": bright,
        "radfoundry-mri, frozen head": frozen_head(trained, *taught)(images),
        "untrained, frozen head": frozen_head(fresh, *taught)(images),
        "brightness, head": frozen_head(None, *taught)(images),
    }
    inside = bright > 0.05
    share = disease.astype(np.float32).mean(axis=(1, 2, 3))
    clear = (share >= SMALLEST_SHARE) | (share == 0)
    found: dict[str, Any] = {"scans": len(set(keys)), "patients": len(set(patients)), "crops": len(keys)}
    for name, score in scores.items():
        rows: dict[str, Any] = {}
        for key in np.unique(keys):
            here = inside & (keys == key)[:, None, None, None]
            if not (truth[here] > SICK_BLOCK).any():
                continue  # only plaques smaller than a block
            rows[key] = round(float(roc_auc_score(truth[here] > SICK_BLOCK, score[here])), 3)
        top = np.where(inside, score, -np.inf).reshape(len(score), -1)
        highest = np.sort(top, axis=1)[:, -20:].mean(axis=1)
        presence = auroc(
            (share >= SMALLEST_SHARE)[clear], np.nan_to_num(highest[clear], neginf=-50), patient=patients[clear]
        )
        column = np.array(list(rows.values()))
        whose = np.array([key.split("-")[0] for key in rows])
        found[name] = {
            "location, mean over scans": m.written(m.of_patients(np.mean, column, whose)),
            "presence": m.written(presence),
            "location, every scan": rows,
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
    found = measure(Path(os.environ["RADFOUNDRY_DATA"]), options.cache, options.weights)
    for name, row in found.items():
        print(f"{name:20s}", row)
    if options.save:
        m.save("transfer_lesion", found)


if __name__ == "__main__":
    main()
