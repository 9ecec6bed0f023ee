"""`radfoundry curate types-trial`: does looking at header and pixels together help when tags are missing or wrong?

Everything is simulated: bodies, images and headers. The classifier is trained on all makes but one and tested on the
make it has not seen, on bodies it has not seen, with a share of the tags gone or replaced by another series'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry import runs
from radfoundry.data.series_types import SEQUENCES
from radfoundry.records import Cohort, Estimate, InputError
from radfoundry.stages.curate.settings import Block, Config, Progress

if TYPE_CHECKING:
    from radfoundry.train.series_bank import PixelBank, SeriesTable

TEST_SERIES, FEWEST_TESTED, MOST_TURNS = 1500, 600, 8
HARD = ("MRA", "SSFP", "ADC", "DWI")
BATCH = 128


def run(cohort: Cohort | None, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Train on simulated series, test on a make that was held out; accuracy of each way of looking and of the rules."""
    from radfoundry.simulate.series_headers import MAKES

    if config.held_make not in MAKES:
        raise InputError(f"unknown make {config.held_make!r}", where="held_make", remedy=f"one of {', '.join(MAKES)}")
    train, test = _tables(config, progress)
    if config.permute_labels:
        order = np.random.default_rng([config.seed, 9]).permutation(len(train))
        train = replace(train, sequence=train.sequence[order])
    found = _chosen(train, test, config, progress)
    writer.metrics.update(_compared(found, test.sequence))
    writer.metrics["images"] = Estimate.exact(int(train.has_pixels.sum()))
    rows = [
        {"what": name.replace("/", ": "), "found": value.text(3), "n": str(value.n)}
        for name, value in writer.metrics.items()
    ]
    columns = [{"key": "what", "label": "measure"}, {"key": "found", "label": "found"}, {"key": "n", "label": "series"}]
    about = (
        f"Trained on {len(train)} simulated series of all makes but {config.held_make}, tested on {len(test)} of "
        f"{config.held_make} with {config.damage:.0%} of the tags missing or wrong."
    )
    return [
        {"kind": "text", "title": "Summary", "paragraphs": [about]},
        {"kind": "table", "title": "Measures", "columns": columns, "rows": rows},
    ]


def _tables(config: Config, progress: Progress | None) -> tuple[SeriesTable, SeriesTable]:
    """Series to learn from (without the held-out make) and series to test on; their bodies are different people."""
    from radfoundry.simulate.series_headers import MAKES
    from radfoundry.train.series_bank import draw_table, make_bank

    tested = max(2, config.bodies // 4)
    if progress is not None:
        progress("simulate bodies", 0, config.bodies)
    banks = [
        make_bank(config.bodies - tested, seed=2 * config.seed + 1_000_003),
        make_bank(tested, seed=2 * config.seed + 2_000_003),
    ]
    if progress is not None:
        progress("simulate bodies", config.bodies, config.bodies)
    drawn = draw_table(int(config.train_series / (1 - MAKES[config.held_make][1])), banks[0], seed=config.seed + 1)
    train = drawn.take(np.flatnonzero(drawn.make != config.held_make))
    return train, _tested(banks[1], config)


def _tested(bank: PixelBank, config: Config) -> SeriesTable:
    """Series of the held-out make with pixels; few bodies have few kinds of image, so it may take several draws."""
    from radfoundry.train.series_bank import draw_table, joined

    found: list[SeriesTable] = []
    for turn in range(MOST_TURNS):
        drawn = draw_table(TEST_SERIES, bank, seed=config.seed + 2 + 1000 * turn, make=config.held_make)
        found.append(drawn.take(np.flatnonzero(drawn.has_pixels)))
        if sum(map(len, found)) >= FEWEST_TESTED:
            break
    return joined(found)


def _chosen(train: SeriesTable, test: SeriesTable, config: Config, progress: Progress | None) -> dict[str, np.ndarray]:
    """The type chosen for every test series by header and pixels, by either alone, and with damaged tags."""
    import torch

    from radfoundry.train import series_types

    plan = series_types.Plan(steps=config.steps, batch=BATCH, rate=3e-3, width=48, depth=2, seed=config.seed)
    told = (lambda step, _loss: progress("train", step, config.steps)) if progress is not None else None
    net, _ = series_types.fit(train, plan, progress=told)
    rng = np.random.default_rng([config.seed, 5])
    broken = series_types.damaged(test, missing=config.damage / 2, wrong=config.damage / 2, rng=rng)
    no_pixels = np.zeros(len(test), bool)
    ways = {
        "fused": broken,
        "header": replace(broken, has_pixels=no_pixels),
        "pixels": series_types.without_header(broken),
        "fused-whole": test,
    }
    with torch.no_grad():
        return {
            name: net.probabilities(series_types.inputs_of(table))["sequence"].argmax(dim=1).numpy()
            for name, table in ways.items()
        }


def _compared(found: Mapping[str, np.ndarray], truth: np.ndarray) -> dict[str, Estimate]:
    """Accuracy of each way, and of fused minus each other way, series by series."""
    from radfoundry.stats.comparisons import mean_difference
    from radfoundry.stats.proportions import proportion

    right: dict[str, Any] = {name: (chosen == truth).astype(float) for name, chosen in found.items()}
    metrics = {f"{name}/accuracy": proportion(int(hit.sum()), len(hit), name="accuracy") for name, hit in right.items()}
    for other in ("header", "pixels"):
        metrics[f"fused-minus-{other}/accuracy"] = mean_difference(right["fused"], right[other])
    for name in HARD:
        rows = truth == SEQUENCES.index(name)
        if rows.any():
            metrics[f"fused/recall-{name}"] = proportion(
                int(right["fused"][rows].sum()), int(rows.sum()), name="recall"
            )
    return metrics
