"""Teach the reader of slices: simulated slices of every type, moved and regreyed, every type counting alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from radfoundry.data.series_types import SEQUENCES
from radfoundry.nets import series_types
from radfoundry.nets.series_pixels import WIDTH
from radfoundry.nets.series_slices import ROOM, SIDE, SPACING_MM, SliceNet, scaled, together
from radfoundry.simulate.series_slices import HEAD_ALONE, TYPES, cut, draw_patient, rendered
from radfoundry.train.series_bank import PixelBank, draw_table
from radfoundry.train.series_types import inputs_of, limit_where

Rng = np.random.Generator
RENDERINGS, LEAST_BODY = 6, 0.05
WARM_UP, SMOOTHING = 50, 0.1


@dataclass(frozen=True, eq=False)
class Slices:
    """Images `(n, SIDE, SIDE)` bytes, the place of the type in SEQUENCES, and the number of the patient of each."""

    images: np.ndarray
    kind: np.ndarray
    patient: np.ndarray

    def take(self, rows: np.ndarray) -> Slices:
        """Some of them."""
        return Slices(self.images[rows], self.kind[rows], self.patient[rows])


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    steps: int = 7000
    batch: int = 40
    rate: float = 2e-3
    seed: int = 0


def draw_slices(
    patients: int, each: int, *, seed: int, first: int = 0, progress: Callable[[int, int], None] | None = None
) -> Slices:
    """`each` slices of every patient in up to six renderings, at random turned and mirrored; the same from one seed.

    >>> found = draw_slices(1, 2, seed=3)
    >>> found.images.shape[1:], len(set(found.patient.tolist()))
    ((128, 128), 1)
    """
    rng = np.random.default_rng(seed)
    names = list(TYPES)
    often = np.array([share for _, share in TYPES.values()])
    images, kinds, owners = [], [], []
    for number in range(first, first + patients):
        patient = draw_patient(rng)
        for _ in range(each):
            seen = cut(patient, SIDE, SPACING_MM, rng=rng)
            if float((seen.fractions.sum(dim=0) > 0.5).float().mean()) < LEAST_BODY:
                continue
            for kind in rng.choice(names, RENDERINGS, p=often / often.sum()).tolist():
                if patient.head or kind not in HEAD_ALONE:
                    image = rendered(seen, kind, SPACING_MM, head=patient.head, rng=rng).numpy()
                    images.append(_turned(scaled(image), rng))
                    kinds.append(SEQUENCES.index(kind))
                    owners.append(number)
        if progress is not None:
            progress(number - first + 1, len(images))
    return Slices(np.stack(images), np.array(kinds), np.array(owners))


def _turned(image: np.ndarray, rng: Rng) -> np.ndarray:
    for axis in (0, 1):
        image = np.flip(image, axis) if rng.random() < 0.5 else image
    return image.T if rng.random() < 0.5 else image


def changed(images: np.ndarray, *, rng: Rng) -> torch.Tensor:
    """A batch `(B, 1, SIDE, SIDE)` between 0 and 1: enlarged, leaning, shifted, brighter or darker, with noise."""
    count = len(images)
    x = torch.from_numpy(images)[:, None].float() / 255
    scale = np.exp(rng.normal(0, 0.12, (count, 2)))
    angle = rng.normal(0, 0.15, count)
    matrix = np.zeros((count, 2, 3))
    matrix[:, 0, 0], matrix[:, 0, 1] = scale[:, 0] * np.cos(angle), -np.sin(angle)
    matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(angle), scale[:, 1] * np.cos(angle)
    matrix[:, :, 2] = rng.normal(0, 0.06, (count, 2))
    grid = nn.functional.affine_grid(torch.from_numpy(matrix.astype(np.float32)), list(x.shape), align_corners=False)
    x = nn.functional.grid_sample(x, grid, align_corners=False) * ROOM
    curve, gain = (np.exp(rng.normal(0, width, (count, 1, 1, 1))).astype(np.float32) for width in (0.2, 0.15))
    x = x.clamp_min(0) ** torch.from_numpy(curve) * torch.from_numpy(gain)
    if rng.random() < 0.5:
        noise = rng.standard_normal(tuple(x.shape), np.float32) * np.float32(rng.uniform(0, 0.05))
        x = x + torch.from_numpy(noise)
    return x.clamp(0, ROOM) / ROOM


def fit(table: Slices, plan: Plan, *, progress: Callable[[int, float], None] | None = None) -> SliceNet:
    """Train on labelled slices; rare types are drawn more often than they are there, and weigh more."""
    rng = np.random.default_rng(plan.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        net = SliceNet().train()
        return _steps(net, table, plan, rng, progress)


def _steps(
    net: SliceNet, table: Slices, plan: Plan, rng: Rng, progress: Callable[[int, float], None] | None
) -> SliceNet:
    rows = [np.flatnonzero(table.kind == kind) for kind in range(len(SEQUENCES))]
    drawn = np.sqrt([len(found) for found in rows])
    weight = np.divide(1, drawn, out=np.zeros_like(drawn), where=drawn > 0)
    weight = torch.from_numpy((weight / weight.mean()).astype(np.float32))
    optimiser = torch.optim.AdamW(net.parameters(), lr=plan.rate, weight_decay=0.02)
    losses: list[float] = []
    for step in range(plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate * min(1.0, (step + 1) / WARM_UP) * (1 + np.cos(np.pi * step / plan.steps)) / 2
        kinds = rng.choice(len(rows), plan.batch, p=drawn / drawn.sum())
        batch = table.take(np.array([rows[kind][rng.integers(len(rows[kind]))] for kind in kinds]))
        scores = net(changed(batch.images, rng=rng))
        truth = torch.from_numpy(batch.kind)
        loss = nn.functional.cross_entropy(scores, truth, weight=weight, label_smoothing=SMOOTHING)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if progress is not None and (step + 1) % 100 == 0:
            progress(step + 1, float(np.mean(losses[-100:])))
    return net.eval()


def probabilities(net: SliceNet, images: np.ndarray) -> np.ndarray:
    """`(n, types)` answers to single slices."""
    with torch.no_grad():
        parts = np.array_split(images, max(1, len(images) // 64))
        return np.concatenate([net(torch.from_numpy(part)[:, None].float() / 255).softmax(dim=1) for part in parts])


def limit_for(net: SliceNet, table: Slices, *, accuracy: float, series: int = 3000, seed: int = 0) -> float:
    """The confidence above which simulated headers, each with one slice of its type, are right as often as wanted."""
    nothing = PixelBank(np.zeros((0, WIDTH), np.float32), np.array([], str), np.array([], str))
    headers = draw_table(series, nothing, seed=seed)
    with torch.no_grad():
        said = series_types.bundled()[0].probabilities(inputs_of(headers))["sequence"].numpy()
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(table.kind == kind) for kind in range(len(SEQUENCES))]
    chosen = np.array([rows[kind][rng.integers(len(rows[kind]))] for kind in headers.sequence])
    both = together(said, probabilities(net, table.images[chosen]))
    return limit_where(both.max(axis=1), both.argmax(axis=1) == headers.sequence, accuracy)
