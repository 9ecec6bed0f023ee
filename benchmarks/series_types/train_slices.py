"""Teach the reader of slices on simulated slices alone, and write it with a card.

    python benchmarks/series_types/train_slices.py draw BANK.npz SEED PATIENTS
    python benchmarks/series_types/train_slices.py train OUT.safetensors BANK.npz … --held-out BANK.npz [--steps 7000]

The held-out bank holds other patients: what the card says of single slices is measured on them.
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

from radfoundry.data.series_types import SEQUENCES
from radfoundry.nets.series_slices import SliceReader, save
from radfoundry.train.series_slices import Plan, Slices, draw_slices, fit, limit_for, probabilities

EACH, ACCURACY = 22, 0.98


def draw(out: Path, seed: int, patients: int) -> None:
    """Draw and keep the slices of so many patients."""
    told = lambda done, count: print(done, count, flush=True) if done % 10 == 0 else None  # noqa: E731
    found = draw_slices(patients, EACH, seed=seed, first=seed * 10_000, progress=told)
    np.savez(out, images=found.images, kind=found.kind, patient=found.patient)


def read(paths: list[Path]) -> Slices:
    """Slices of several banks together."""
    banks = [np.load(path) for path in paths]
    parts = (np.concatenate([bank[name] for bank in banks]) for name in ("images", "kind", "patient"))
    return Slices(*parts)


def train(out: Path, banks: list[Path], held_out: Path, steps: int) -> None:
    """Train, ask the held-out slices, write."""
    table, other, started = read(banks), read([held_out]), time.perf_counter()
    net = fit(table, Plan(steps=steps), progress=lambda step, loss: print(step, round(loss, 3), flush=True))
    minutes = (time.perf_counter() - started) / 60
    said = probabilities(net, other.images).argmax(axis=1)
    limit = limit_for(net, other, accuracy=ACCURACY)
    recall = {name: round(float((said == n)[other.kind == n].mean()), 3) for n, name in enumerate(SEQUENCES)}
    save(SliceReader(net, limit), out)
    card = {
        "name": out.stem,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "trained_on": "simulated slices alone (radfoundry.simulate.series_slices); no patient's image",
        "command": f"python benchmarks/series_types/train_slices.py train OUT.safetensors "
        f"{' '.join(path.name for path in banks)} --held-out {held_out.name} --steps {steps}",
        "banks": "python benchmarks/series_types/train_slices.py draw bank-SEED.npz SEED PATIENTS",
        "slices": len(table.kind),
        "patients": len(set(table.patient.tolist())),
        "recall_of_single_held_out_slices": recall,
        "limit_with_a_header": round(limit, 3),
        "minutes": round(minutes, 1),
        "machine": f"{platform.machine()}, one thread of {os.cpu_count()} cores, no GPU",
        "torch": torch.__version__,
        "weights": sum(value.numel() for value in net.parameters()),
        "licence": "Apache-2.0",
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    print(card)


def main() -> None:
    """Read the options, and draw or train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="what", required=True)
    drawing = parts.add_parser("draw")
    drawing.add_argument("out", type=Path)
    drawing.add_argument("seed", type=int)
    drawing.add_argument("patients", type=int)
    training = parts.add_parser("train")
    training.add_argument("out", type=Path)
    training.add_argument("banks", type=Path, nargs="+")
    training.add_argument("--held-out", type=Path, required=True)
    training.add_argument("--steps", type=int, default=Plan.steps)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "draw":
        return draw(asked.out, asked.seed, asked.patients)
    return train(asked.out, asked.banks, asked.held_out, asked.steps)


if __name__ == "__main__":
    main()
