"""Pretrain the net that outlining begins with, on pictures of random shapes alone.

    python benchmarks/transfer/train_outline.py OUT --steps 6000 --seed 5

Asked for in every picture: the thing in the middle (Dice and cross-entropy) and every edge between regions. The same
seed and number of steps give the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from radfoundry.losses.dice import dice_and_cross_entropy
from radfoundry.nets.unet import UNet
from radfoundry.simulate.shapes import Scene, picture, scene

SHAPE = (40, 48, 40)
WIDTHS, FOLD = (24, 48, 96), (2, 2, 2)
POOL, RENEWED = 250, 0.25
RATE, EDGES, LARGEST_STEP = 2e-3, 0.5, 5.0
BATCH, SHOWN = 2, 100


def network() -> UNet:
    """Background, thing and edge; the sizes that a plan asks for where images are about that large."""
    return UNet(channels=1, classes=3, widths=WIDTHS, strides=((2, 2, 2),) * (len(WIDTHS) - 1), fold=FOLD)


def batch(pool: list[Scene], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures `(B, 1, I, J, K)`, things and edges `(B, I, J, K)`, mirrored at random; now and then a new scene."""
    pictures, things, edges = [], [], []
    for _ in range(BATCH):
        seen = pool[int(rng.integers(len(pool)))]
        axes = [axis for axis in range(3) if rng.random() < 0.5]
        pictures.append(picture(seen, rng=rng).flip(axes))
        things.append(seen.thing.flip(axes))
        edges.append(seen.edges.flip(axes))
    if rng.random() < RENEWED:
        pool[int(rng.integers(len(pool)))] = scene(SHAPE, rng=rng)
    return torch.stack(pictures)[:, None], torch.stack(things).long(), torch.stack(edges).float()


def step(net: UNet, optimiser: torch.optim.Optimizer, made: tuple[torch.Tensor, ...]) -> list[float]:
    """One step; the loss of the thing, that of the edges, and the thing's Dice."""
    images, things, edges = made
    scores = net(images)
    thing = dice_and_cross_entropy(scores[:, :2], things)
    edge = nn.functional.binary_cross_entropy_with_logits(scores[:, 2], edges)
    optimiser.zero_grad()
    (thing + EDGES * edge).backward()
    nn.utils.clip_grad_norm_(net.parameters(), LARGEST_STEP)
    optimiser.step()
    called = scores[:, 1] > scores[:, 0]
    dice = 2 * (called & (things > 0)).sum() / (called.sum() + (things > 0).sum()).clamp_min(1)
    return [float(thing.detach()), float(edge.detach()), float(dice)]


def train(out: Path, *, steps: int, seed: int) -> None:
    """Warm up over 20 steps, hold the rate for half of the steps, then fall to zero; one line every hundred."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    net, started, lines = network(), time.perf_counter(), []
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    pool = [scene(SHAPE, rng=rng) for _ in range(POOL)]
    for done in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (done + 1) / 20) * min(1.0, 2 * (1 - done / steps))
        lines.append(step(net, optimiser, batch(pool, rng)))
        if (done + 1) % SHOWN == 0:
            thing, edge, dice = np.mean(lines[-SHOWN:], axis=0)
            minutes = (time.perf_counter() - started) / 60
            print(f"{done + 1} {minutes:.1f} min thing {thing:.3f} edge {edge:.3f} Dice {dice:.3f}", flush=True)
            _save(net, out)
    record = {
        "steps": steps, "seed": seed, "minutes": round((time.perf_counter() - started) / 60, 1),
        "dice_of_last_steps": round(float(np.mean([line[2] for line in lines[-200:]])), 3),
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()} cores, no GPU",
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _save(net: UNet, out: Path) -> None:
    partial = out.with_name(out.name + ".partial")
    save_file(net.state_dict(), partial)
    partial.replace(out)


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    train(options.out, steps=options.steps, seed=options.seed)


if __name__ == "__main__":
    main()
