"""Train and calibrate the classifier of series types on simulated series alone, and write it into the package.

python benchmarks/series_types/train.py OUT.safetensors --banks BANK.npz … --held-out BANK.npz … [--steps 800]

The held-out banks hold other bodies: temperatures and limits are set on them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from radfoundry.nets.series_types import load, save
from radfoundry.train.series_bank import draw_table, read_banks
from radfoundry.train.series_types import Plan, calibrate, fit, limits_for, recalls, three_ways
from radfoundry.train.series_types import inputs_of as as_batch

KEPT = ("loss", "steps", "series", "trained_with", "processor_seconds_of_training")


def before(path: Path) -> dict[str, Any]:
    """What the card of earlier weights says of their training."""
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    card.setdefault("trained_with", card["command"])
    card.setdefault("processor_seconds_of_training", card["processor_seconds"])
    return card


def main() -> None:
    """One training run: table, training, temperatures, limits, weights with a card."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--banks", nargs="+", required=True)
    parser.add_argument("--held-out", nargs="+", required=True)
    parser.add_argument("--calibrate", type=Path, help="weights to calibrate anew instead of training")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--series", type=int, default=14000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun, clock = time.process_time(), time.time()
    bank, others = read_banks(asked.banks), read_banks(asked.held_out)
    plan = Plan(asked.steps, asked.batch, asked.rate, asked.width, asked.depth, asked.seed)
    if asked.calibrate is None:
        table = draw_table(asked.series, bank, seed=asked.seed)
        net, told = fit(table, plan, progress=lambda step, loss: print(step, round(loss, 3), flush=True))
    else:
        net, _ = load(asked.calibrate)
        net.temperature.fill_(1.0)
        told = {name: value for name, value in before(asked.calibrate).items() if name in KEPT}
    held_out = draw_table(3000, others, seed=asked.seed + 1)
    calibrate(net, three_ways(held_out))
    fresh = draw_table(3000, others, seed=asked.seed + 2)
    limits = limits_for(net, three_ways(fresh), accuracy=0.98)
    with torch.no_grad():
        chosen = net.probabilities(as_batch(fresh))["sequence"].argmax(dim=1).numpy()
    where = sys.argv[2:]
    card = {
        "name": "radfoundry-series",
        "date": str(date.today()),
        "trained_on": "simulated headers and simulated images alone; no patient's header or image",
        "command": f"python benchmarks/series_types/train.py OUT {shlex.join(Path(word).name for word in where)}",
        "banks": "python benchmarks/series_types/make_bank.py bank-SEED.npz SEED 24, for every SEED in the names",
        "images": len(bank),
        "images_held_out": len(others),
        "classes": "data/series_types.py",
        **told,
        "accuracy_on_held_out_bodies": round(float((chosen == fresh.sequence).mean()), 4),
        "recall_on_held_out_bodies": {name: round(value, 3) for name, value in recalls(fresh.sequence, chosen).items()},
        "limits": limits,
        "weights": sum(value.numel() for value in net.parameters()),
        "processor_seconds": round(time.process_time() - begun),
        "wall_seconds": round(time.time() - clock),
        "torch": torch.__version__,
        "licence": "Apache-2.0",
    }
    save(net, asked.out, limits=limits, card=card)
    print(card)


if __name__ == "__main__":
    main()
