"""Pretrain the nets that outlining begins with, on pictures of random shapes alone.

    python benchmarks/transfer/train_outline.py volumes OUT.safetensors --steps 6000 --seed 5
    python benchmarks/transfer/train_outline.py pictures OUT.safetensors --steps 2400 --seed 5
    python benchmarks/transfer/train_outline.py volumes OUT.safetensors --export

Asked for in every picture: the thing in the middle (Dice and cross-entropy) and every edge between regions. The same
seed and number of steps give the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from radfoundry.losses.dice import dice_and_cross_entropy
from radfoundry.nets import outline_start, weight_files
from radfoundry.nets.unet import UNet
from radfoundry.simulate.outline_scenes import Scene, picture, scene, slice_scene

SHAPE, SIDES = (40, 48, 40), (160, 160)
KINDS = {"volumes": outline_start.VOLUMES, "pictures": outline_start.PICTURES}
POOL, RENEWED = 250, 0.25
RATE, EDGES, LARGEST_STEP = 2e-3, 0.5, 5.0
BATCH, SHOWN = 2, 100


def drawn(kind: str, rng: np.random.Generator) -> Scene:
    """A new scene: a volume, or a slice."""
    return scene(SHAPE, rng=rng) if kind == "volumes" else slice_scene(SIDES, rng=rng)


def batch(pool: list[Scene], kind: str, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures `(B, 1, I, J, K)`, things and edges `(B, I, J, K)`, mirrored at random; now and then a new scene."""
    pictures, things, edges = [], [], []
    for _ in range(BATCH):
        seen = pool[int(rng.integers(len(pool)))]
        axes = [axis for axis in range(3) if rng.random() < 0.5]
        pictures.append(picture(seen, rng=rng).flip(axes))
        things.append(seen.thing.flip(axes))
        edges.append(seen.edges.flip(axes))
    if rng.random() < RENEWED:
        pool[int(rng.integers(len(pool)))] = drawn(kind, rng)
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


def train(kind: str, out: Path, *, steps: int, seed: int) -> None:
    """Warm up over 20 steps, hold the rate for half of the steps, then fall to zero; one line every hundred."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    net, started, lines = KINDS[kind].network(), time.perf_counter(), []
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    pool = [drawn(kind, rng) for _ in range(POOL)]
    for done in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (done + 1) / 20) * min(1.0, 2 * (1 - done / steps))
        lines.append(step(net, optimiser, batch(pool, kind, rng)))
        if (done + 1) % SHOWN == 0:
            thing, edge, dice = np.mean(lines[-SHOWN:], axis=0)
            minutes = (time.perf_counter() - started) / 60
            print(f"{done + 1} {minutes:.1f} min thing {thing:.3f} edge {edge:.3f} Dice {dice:.3f}", flush=True)
            _save(net, out)
    record = {
        "kind": kind, "steps": steps, "seed": seed, "minutes": round((time.perf_counter() - started) / 60, 1),
        "dice_of_last_steps": round(float(np.mean([line[2] for line in lines[-200:]])), 3),
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()} cores, no GPU",
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _save(net: UNet, out: Path) -> None:
    partial = out.with_name(out.name + ".partial")
    save_file(net.state_dict(), partial)
    partial.replace(out)


def export(out: Path) -> None:
    """Put trained weights into the package, in half precision, with how they were made beside them."""
    made = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    weights = {name: value.half() for name, value in load_file(out).items()}
    start = KINDS[made["kind"]]
    target = start.path
    weight_files.write(weights, target, about={"format": "1", "kind": "outline-start"})
    card = {
        "name": target.stem,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "trained_on": "pictures of random shapes alone (radfoundry.simulate.outline_scenes); no patient's image",
        "command": f"python benchmarks/transfer/train_outline.py {made['kind']} OUT.safetensors "
        f"--steps {made['steps']} --seed {made['seed']}",
        **made,
        "weights": sum(value.numel() for value in weights.values()),
        "licence": "Apache-2.0",
    }
    target.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Read the options, and train or export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--export", action="store_true")
    options = parser.parse_args()
    if options.export:
        return export(options.out)
    return train(options.kind, options.out, steps=options.steps, seed=options.seed)


if __name__ == "__main__":
    main()
