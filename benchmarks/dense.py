"""Speed of outlining: the whole image against windows, writing labels in little memory, training steps.

    python benchmarks/dense.py [inference] [export] [training] [--save]

`inference`: one image of 96 x 96 x 64 through the same network, read whole by us and in windows by MONAI
(sliding_window_inference, overlap a half, Gaussian). `export`: scores of 20 classes at 4 x coarser voxels to labels of
512 x 512 x 500 in a process of its own, whose peak memory is reported. `training`: steps a second of our U-Net and of
MONAI's with about as many weights. One thread everywhere.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radfoundry.losses.dice import dice_and_cross_entropy
from radfoundry.nets import decoders, encoder_maps
from radfoundry.nets.unet_inference import Reading, labels_on, scores_of

RESULTS = Path(__file__).parent / "results" / "dense.json"
SIZES = encoder_maps.Sizes(3, (24, 48, 96), ((2, 2, 2), (2, 2, 2)), (2, 2, 2))
IMAGE, PATCH = (96, 96, 64), (48, 48, 48)
CLASSES, FINE, COARSE = 20, (512, 512, 500), (128, 128, 125)


def best_of(what: Callable[[], Any], times: int) -> float:
    """CPU seconds of the fastest of some runs (one thread, so what a free core would take)."""
    found = []
    for _ in range(times):
        started = time.process_time()
        what()
        found.append(time.process_time() - started)
    return min(found)


def inference() -> dict[str, Any]:
    """Seconds an image, and how far the two answers agree."""
    from monai.inferers import sliding_window_inference

    model = decoders.unet(SIZES, seed=0).eval()
    image = torch.randn(1, *IMAGE, generator=torch.Generator().manual_seed(0))
    how = Reading(PATCH, 3, 24)

    def ours() -> torch.Tensor:
        return scores_of(model, image, how)

    def theirs() -> torch.Tensor:
        with torch.no_grad():
            return sliding_window_inference(image[None], PATCH, 1, model, overlap=0.5, mode="gaussian")[0]

    first, second = best_of(ours, 2), best_of(theirs, 1)
    same = float((ours().argmax(dim=0) == theirs().argmax(dim=0)).float().mean())
    return {"ours_s": round(first, 2), "monai_s": round(second, 2), "ratio": round(second / first, 2), "same": same}


def _export(pipe: Any) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    # Twenty organs: smooth blobs at random places of a coarse grid, as a network gives them.
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in COARSE], indexing="ij")
    scores = torch.empty(CLASSES, *COARSE)
    scores[0] = 0
    for label in range(1, CLASSES):
        centre = [rng.uniform(0.2, 0.8) * n for n in COARSE]
        radius = rng.uniform(8, 22)
        away = sum(((axis - c) / radius) ** 2 for axis, c in zip(axes, centre, strict=True))
        scores[label] = torch.from_numpy((3 * (1 - away)).clip(-9, 3).astype(np.float32))
    del axes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    places = [(np.arange(n) + 0.5) * have / n - 0.5 for n, have in zip(FINE, COARSE, strict=True)]
    started = time.process_time()
    labels = labels_on(scores, places)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(
        {
            "seconds": round(seconds, 1),
            "peak_gb": round(peak / 1e6, 2),
            "before_gb": round(before / 1e6, 2),
            "labelled": float((labels[::4, ::4, ::4] > 0).mean()),
            "shape": list(labels.shape),
        }
    )


def export() -> dict[str, Any]:
    """Seconds and peak memory of writing labels, measured in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_export, args=(theirs,))
    worker.start()
    found = ours.recv()
    worker.join()
    return found


def training() -> dict[str, Any]:
    """Steps a second of two patches each."""
    from monai.networks.nets import UNet

    ours = decoders.unet(SIZES, seed=0).train()
    theirs = UNet(3, 1, 3, channels=(24, 48, 96, 168), strides=(2, 2, 2), num_res_units=1, norm="instance").train()
    x = torch.randn(2, 1, *PATCH, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(2, *PATCH, dtype=torch.uint8)
    labels[:, 16:32, 16:32, 16:32] = 1

    def step(net: Any) -> None:
        net.zero_grad()
        dice_and_cross_entropy(net(x), labels).backward()

    found = {"ours_s": best_of(lambda: step(ours), 3), "monai_s": best_of(lambda: step(theirs), 3)}
    weights = {f"{n}_weights": sum(p.numel() for p in m.parameters()) for n, m in (("ours", ours), ("monai", theirs))}
    return {**{name: round(value, 3) for name, value in found.items()}, **weights}


def main() -> None:
    """Print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["inference", "export", "training"])
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in options.what:
        known[name] = {"inference": inference, "export": export, "training": training}[name]()
        print(name, known[name], flush=True)
    if options.save:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
