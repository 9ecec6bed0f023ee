"""Ways of fusing the images of one patient, on features made for it: who answers best, who bears a missing image.

Run: python benchmarks/fusion.py [--seeds 11 12 13] [--to benchmarks/results/fusion.json]

Two of three images hold half of the answer each, the third nothing, each in 60 numbers. 80 exams teach, 400 are tested;
every image is missing with a chance of one in five. Differences are paired by patient.
"""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.records import Acquisition, Case, Predictions, Series
from radfoundry.stats import auc
from radfoundry.tasks import fusion, heads
from radfoundry.tasks.examples import Examples

SEQUENCES = ("DWI", "T1w", "T2w")
NUMBERS, STRENGTH, MISSING = 60, 2.5, 0.2


def exams(patients: int, *, seed: int, directions: np.ndarray) -> Examples:
    """Exams of up to three sequences; each keeps at least one."""
    rng = np.random.default_rng(seed)
    halves = rng.normal(size=(patients, 2))
    features, series, cases, owner = [], [], {}, []
    for number in range(patients):
        key = f"case{number:03d}"
        cases[key] = Case(key, f"patient{number:03d}")
        there = [name for name in SEQUENCES if rng.random() >= MISSING] or ["T2w"]
        for name in there:
            place = SEQUENCES.index(name)
            told = STRENGTH * halves[number, place] * directions[place] if place < 2 else 0.0
            features.append(rng.normal(size=NUMBERS) + told)
            facts = Acquisition(modality="MR")
            series.append(
                Series(
                    f"series{len(series):03d}",
                    f"patient{number:03d}",
                    key,
                    facts,
                    (1, 4, 4, 4),
                    (1.0, 1.0, 1.0),
                    sequence=name,
                )
            )
            owner.append(number)
    views = SimpleNamespace(series=tuple(series), cases=cases)
    answers = (halves.sum(axis=1) > 0).astype(int)[np.array(owner)]
    names = [[getattr(one, field) for one in series] for field in ("case", "patient", "key")]
    case, patient, key = (np.array(values) for values in names)
    return Examples(
        np.array(features), answers, case, patient, np.full(len(series), "here"), np.arange(len(series)), key, views
    )


def measured(seed: int) -> dict[str, Any]:
    """Every way taught by the same exams and asked about the same others, with and without one of the two images."""
    turned = np.random.default_rng(seed).normal(size=(2, NUMBERS))
    directions = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    train, test = (exams(n, seed=seed * 10 + k, directions=directions) for k, n in enumerate((80, 400)))
    whole, less, seconds = {}, {}, {}
    for way in registry.entries("fusions"):
        learner = fusion.Fused(
            fusion.named(Component.model_validate({"name": way}), seed=seed), heads.named(None, "binary"), train.views
        )
        learner.fit(train, kind="binary", classes=2)  # once unmeasured: libraries load
        start = time.process_time()
        fitted = learner.fit(train, kind="binary", classes=2)
        seconds[way] = round(time.process_time() - start, 2)
        asked = fitted.exams(replace(test, views=test.views))
        whole[way] = Predictions.of(asked.answer, fitted.scores(asked), case=asked.case)
        taken = asked.without("DWI")
        less[way] = Predictions.of(taken.answer, fitted.scores(taken), case=taken.case)
    found: dict[str, Any] = {"seconds": seconds}
    for name, said in (("auroc", whole), ("auroc-without-DWI", less)):
        found[name] = {way: auc.auroc(rows).text(3) for way, rows in said.items()}
        pairs = [("experts", "early"), ("experts", "late"), ("attention", "late"), ("late", "early")]
        for one, other in pairs:
            found[f"{name}, {one} minus {other}"] = auc.auroc_difference(said[one], said[other]).text(3)
    return found


def main() -> None:
    """Print and keep every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13])
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "fusion.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, one thread",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": runs.versions(),
    }
    for seed in given.seeds:
        found[f"seed {seed}"] = measured(seed)
        print(seed, found[f"seed {seed}"], flush=True)
    runs.write_json(given.to, found)


if __name__ == "__main__":
    main()
