"""Train the classifier of series types: random tags missing or wrong, pixels sometimes gone, then calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from radfoundry.data.series_types import SEQUENCES
from radfoundry.nets.series_types import HEADS, MODES, Inputs, SeriesNet, as_inputs
from radfoundry.train.series_bank import SeriesTable, joined

WEIGHT = {"sequence": 1.0, "anatomy": 0.6, "agent": 0.3}
SHARES_WRONG = (0.6, 0.3)  # share of series without any wrong tag, and the largest share of tags wrong in the others
SHARES_MISSING = (0.35, 0.75)
NO_HEADER, NO_PIXELS, WRONG_PIXELS, NO_PART = 0.12, 0.3, 0.08, 0.15
FINAL_RATE = 0.02


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; `seed` decides everything."""

    steps: int = 1500
    batch: int = 192
    rate: float = 2e-3
    width: int = 64
    depth: int = 3
    seed: int = 0


def damaged(table: SeriesTable, *, missing: float, wrong: float, rng: np.random.Generator) -> SeriesTable:
    """The same series with a share of all tags removed and a share replaced by those of another series of the table."""
    count, numbers = len(table), table.numbers.shape[1]
    tags_total = numbers + table.stated.shape[1]
    chance = rng.random((count, tags_total))
    gone, swapped = chance < missing, (chance >= missing) & (chance < missing + wrong)
    return _with_tags(table, gone, swapped, rng)


def _with_tags(table: SeriesTable, gone: np.ndarray, swapped: np.ndarray, rng: np.random.Generator) -> SeriesTable:
    count, numbers = len(table), table.numbers.shape[1]
    donor = rng.integers(0, count, gone.shape)
    columns = np.arange(numbers)
    new_numbers = np.where(swapped[:, :numbers], table.numbers[donor[:, :numbers], columns], table.numbers)
    new_numbers = np.where(gone[:, :numbers], np.nan, new_numbers).astype(np.float32)
    words, stated = table.words.copy(), table.stated.copy()
    for tag, (first, last) in enumerate(word_spans()):
        rows = swapped[:, numbers + tag]
        source = donor[rows, numbers + tag]
        words[rows, first:last], stated[rows, tag] = table.words[source, first:last], table.stated[source, tag]
        words[gone[:, numbers + tag], first:last], stated[gone[:, numbers + tag], tag] = 0.0, False
    return replace(table, numbers=new_numbers, words=words, stated=stated)


def word_spans() -> list[tuple[int, int]]:
    """First and last column of every list of words."""
    from radfoundry.data.header_tags import tags

    spans, first = [], 0
    for _, words in tags().words.values():
        spans.append((first, first + len(words) + 1))
        first += len(words) + 1
    return spans


def augmented(table: SeriesTable, spread: np.ndarray, *, rng: np.random.Generator) -> SeriesTable:
    """A training batch: tags missing or wrong at rates drawn per series, headers or pixels gone, pixels disturbed."""
    count = len(table)
    total = table.numbers.shape[1] + table.stated.shape[1]
    missing = np.where(rng.random(count) < SHARES_MISSING[0], 0.0, rng.uniform(0, SHARES_MISSING[1], count))
    missing[rng.random(count) < NO_HEADER] = 1.0
    wrong = np.where(rng.random(count) < SHARES_WRONG[0], 0.0, rng.uniform(0, SHARES_WRONG[1], count))
    chance = rng.random((count, total))
    gone = chance < missing[:, None]
    swapped = ~gone & (rng.random((count, total)) < wrong[:, None])
    table = _with_tags(table, gone, swapped, rng)
    pixels = table.pixels.copy()
    strangers = rng.random(count) < WRONG_PIXELS
    pixels[strangers] = table.pixels[rng.integers(0, count, int(strangers.sum()))]
    pixels = pixels + rng.normal(0, 1, pixels.shape) * spread * rng.uniform(0, 0.5, (count, 1))
    has = table.has_pixels & (rng.random(count) > NO_PIXELS)
    return replace(table, pixels=pixels.astype(np.float32), has_pixels=has)


def inputs_of(table: SeriesTable) -> Inputs:
    """A table as a batch of the network."""
    return as_inputs(table.numbers, table.words, table.stated, table.pixels, table.has_pixels)


def fit(
    table: SeriesTable, plan: Plan, *, progress: Callable[[int, float], None] | None = None
) -> tuple[SeriesNet, dict[str, Any]]:
    """Train on simulated (or any labelled) series; gives the network, not yet calibrated, and the last losses."""
    rng = np.random.default_rng(plan.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        net = SeriesNet(width=plan.width, depth=plan.depth)
    seen = table.pixels[table.has_pixels]
    centre, spread = (
        (seen.mean(axis=0), seen.std(axis=0) + 1e-3) if len(seen) else (0 * table.pixels[0], 1 + 0 * table.pixels[0])
    )
    net.centre.copy_(torch.from_numpy(centre))
    net.scale.copy_(torch.from_numpy(spread))
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, plan.rate, total_steps=plan.steps + 1, pct_start=0.1, final_div_factor=1 / FINAL_RATE
    )
    recent: list[float] = []
    for step in range(plan.steps):
        rows = rng.integers(0, len(table), plan.batch)
        batch = augmented(table.take(rows), spread, rng=rng)
        loss = _loss(net(inputs_of(batch)), batch)
        optimiser.zero_grad()
        loss.backward()
        nn_clip(net)
        optimiser.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if progress is not None and step % 100 == 99:
            progress(step + 1, float(np.mean(recent[-100:])))
    with torch.no_grad():  # words that no series had have learned nothing and must not speak
        net.words[torch.from_numpy(table.words.sum(axis=0) == 0)] = 0.0
    net.eval()
    return net, {"loss": round(float(np.mean(recent[-100:])), 4), "steps": plan.steps, "series": len(table)}


def nn_clip(net: SeriesNet) -> None:
    """Keep single steps small."""
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)


def _loss(scores: Mapping[str, torch.Tensor], table: SeriesTable) -> torch.Tensor:
    truth = {"sequence": table.sequence, "anatomy": table.anatomy, "agent": table.agent}
    losses = [
        WEIGHT[name]
        * torch.nn.functional.cross_entropy(scores[name], torch.from_numpy(truth[name]), label_smoothing=0.01)
        for name in HEADS
    ]
    return torch.stack(losses).sum()


def calibrate(net: SeriesNet, table: SeriesTable) -> None:
    """Set one temperature per head and mode so that the log loss on held-out series is least (Guo et al. 2017)."""
    truth = {"sequence": table.sequence, "anatomy": table.anatomy, "agent": table.agent}
    grid = torch.exp(torch.linspace(-1.0, 1.6, 53))
    with torch.no_grad():
        inputs = inputs_of(table)
        scores, modes = net(inputs), inputs.mode
        for mode in range(len(MODES)):
            rows = modes == mode
            if int(rows.sum()) < 50:
                continue
            for index, name in enumerate(HEADS):
                wanted = torch.from_numpy(truth[name])[rows]
                losses = [torch.nn.functional.cross_entropy(scores[name][rows] / heat, wanted) for heat in grid]
                net.temperature[mode, index] = grid[int(torch.stack(losses).argmin())]


def limits_for(net: SeriesNet, table: SeriesTable, *, accuracy: float = 0.985) -> dict[str, dict[str, float]]:
    """The confidence above which answers on held-out series are right as often as wanted: by mode, for type and region.

    Found from the most confident downwards; the limit is where the running accuracy last is `accuracy` or more.
    """
    with torch.no_grad():
        inputs = inputs_of(table)
        found, modes = net.probabilities(inputs), inputs.mode.numpy()
    limits: dict[str, dict[str, float]] = {}
    for mode, name in enumerate(MODES):
        rows = modes == mode
        limits[name] = {}
        for head, truth in (("sequence", table.sequence), ("anatomy", table.anatomy)):
            if not rows.any():
                limits[name][head] = 0.9
                continue
            best, chosen = (part.numpy() for part in found[head][rows].max(dim=1))
            limits[name][head] = round(limit_where(best, chosen == truth[rows], accuracy), 3)
    return limits


def limit_where(confidence: np.ndarray, right: np.ndarray, accuracy: float) -> float:
    """The confidence down to which answers are right as often as wanted; 0.999 where they never are."""
    order = np.argsort(-confidence)
    running = np.cumsum(right[order]) / (np.arange(len(order)) + 1)
    good = np.flatnonzero(running >= accuracy)
    return float(confidence[order[good[-1]]]) if len(good) else 0.999


def recalls(truth: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    """How many series of each type were called so."""
    return {
        name: float((chosen[truth == index] == index).mean())
        for index, name in enumerate(SEQUENCES)
        if (truth == index).any()
    }


def without_header(table: SeriesTable) -> SeriesTable:
    """The same series with nothing but their pixels."""
    return replace(
        table,
        numbers=np.full_like(table.numbers, np.nan),
        words=np.zeros_like(table.words),
        stated=np.zeros_like(table.stated),
    )


def three_ways(table: SeriesTable) -> SeriesTable:
    """Every series three times: with header and pixels, with its header alone, and with its pixels alone."""
    alone = replace(table, has_pixels=np.zeros(len(table), bool))
    pictures = without_header(table.take(np.flatnonzero(table.has_pixels)))
    return joined((table, alone, pictures))
