"""The question `align`: brought onto another patient by registration, do the same structures lie on one another?

Nothing is learned here: what is judged is an encoder's dense features (or `mind`) as the thing that is matched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from radfoundry import registry
from radfoundry.data import masks
from radfoundry.data.masks import Labels, Pair
from radfoundry.nets import descriptors, warp
from radfoundry.records import Estimate, InputError, counted
from radfoundry.stats.comparisons import mean_amount, mean_difference
from radfoundry.stats.segmentation import dice
from radfoundry.tasks import per_case, register
from radfoundry.volume import Volume, points_to_world

FEWEST = 4
ALL, DISPLACEMENT = "all", "displacement"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class AlignTask:
    """What to bring together and how: labels that count, how many pairs of patients, and the registration's options."""

    labels: Mapping[str, int | Sequence[int]] = field(default_factory=dict)
    pairs: int = 20
    options: register.Options = field(default_factory=register.Options)
    features: str = ALL
    simulate: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Aligned:
    """One patient onto whom another was brought: overlap of the structures before and after, and how well it holds."""

    case: str
    patient: str
    moving: str
    before: float
    after: float
    inverse_gap_mm: float
    folded_share: float
    seconds: float


def build(
    *,
    labels: Mapping[str, int | list[int]] | None = None,
    pairs: int = 20,
    how: Mapping[str, Any] | None = None,
    features: str = ALL,
    simulate: Mapping[str, Any] | None = None,
) -> AlignTask:
    """Do structures of two patients lie on one another after registration? (masks as series of modality SEG).

    Each of up to `pairs` patients is the fixed image once; the moving one is drawn from the others. `labels` names
    the values that count; `how` holds `model`, `start`, `spacing_mm`, `steps` and `smooth` of radfoundry register.
    `features` says where an encoder is compared: in all of the registration, or in the `displacement` alone,
    after a matrix found by `mind` (quicker, and the same start for every encoder).
    With cohort=simulated the exams are made on the way, as `simulate` says (name of a cohort, cases, its options).
    """
    if not isinstance(pairs, int) or isinstance(pairs, bool) or pairs < FEWEST:
        raise InputError(f"pairs {pairs!r}", where="task.pairs", remedy=f"give a whole number from {FEWEST}")
    for name, given in (("labels", labels), ("simulate", simulate), ("how", how)):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"{given!r} is no table of names", where=f"task.{name}", remedy="write {name: value}")
    told = dict(how or {})
    registry.check_options(register.Options, told, where="task.how")
    options = register.Options(**told)
    if features not in (ALL, DISPLACEMENT):
        raise registry.unknown("part", features, (ALL, DISPLACEMENT), where="task.features")
    if features == DISPLACEMENT and options.model != "deformable":
        raise InputError(f"{options.model} has no displacement", where="task.features", remedy="use model: deformable")
    return AlignTask(dict(labels or {}), pairs, options, features, dict(simulate or {}))


def partners(found: Sequence[Pair], count: int, rng: np.random.Generator) -> list[tuple[Pair, Pair, Pair]]:
    """Fixed, moving and a third patient's image, each patient fixed at most once and moving at most once.

    Refuses fewer than four patients with masks.
    """
    first = {pair.patient: pair for pair in reversed(found)}
    names = sorted(first)
    if len(names) < FEWEST:
        raise InputError(
            f"{counted(len(names), 'patient has', 'patients have')} an image with a mask",
            remedy=f"at least {FEWEST}",
            finding="too-few",
        )
    order = [names[place] for place in rng.permutation(len(names))]
    ring = [(order[n], order[n - 1], order[n - 2]) for n in range(min(count, len(order)))]
    return [(first[one], first[two], first[three]) for one, two, three in ring]


def labels_of(found: Sequence[Pair], task: AlignTask) -> Labels:
    """The labels that count: those named, else every value of the masks."""
    return masks.labels_named(task.labels) if task.labels else masks.labels_found([pair.masks[0] for pair in found])


def align(
    chosen: Sequence[tuple[Pair, Pair, Pair]],
    labels: Labels,
    *,
    encoder: Any,
    task: AlignTask,
    stranger: bool = False,
    progress: Progress | None = None,
) -> list[Aligned]:
    """Register every pair and measure the overlap; `stranger`: the mask that moves is a third patient's (control)."""
    rows = []
    for number, (fixed, moving, third) in enumerate(chosen, start=1):
        image, other = fixed.image.load(), moving.image.load()
        begun = time.process_time()
        found = _registered(other, image, encoder, task)
        seconds = time.process_time() - begun
        owner = third if stranger else moving
        drawn = Volume.of(masks.classes_of(owner.masks[0], labels), owner.image.load().affine)
        truth = masks.classes_of(fixed.masks[0], labels)
        still = register.Transform(_begun(other, image, task.options))
        overlaps = [
            _overlap(truth, transform.moved(drawn, image.geometry, order=0).array[0], labels)
            for transform in (still, found.transform)
        ]
        gap, folded = float(found.inverse_gap_mm.mean()), float(found.folded_share)
        rows.append(Aligned(fixed.case, fixed.patient, moving.patient, *overlaps, gap, folded, seconds))
        if progress is not None:
            progress("register", number, len(chosen))
    return rows


def _registered(moving: Volume, fixed: Volume, encoder: Any, task: AlignTask) -> register.Registered:
    """The whole registration on an encoder's features, or a matrix by `mind` and the displacement on features."""
    options = task.options
    if encoder is None or task.features == ALL:
        return register.register(moving, fixed, encoder=encoder, options=options)
    matrix = register.register(moving, fixed, options=replace(options, model="affine"))
    spacing = matrix.spacing_mm
    pair = register.pair_on_grid(moving, fixed, spacing, _describer(encoder), options.seed)
    return register.deformed(pair, matrix.transform.matrix, matrix.unlike_before, (options, spacing), None)


def _describer(encoder: Any) -> register.Describe:
    """An encoder's dense features on the working grid, read once and not at several shifts of the image."""

    def describe(volume: Volume, _factor: int) -> torch.Tensor:
        seen = descriptors.describe_by_encoder(volume, encoder, offsets=1)
        step = np.linalg.solve(seen.affine, volume.affine)
        places = points_to_world(step, warp.grid(volume.shape).reshape(-1, 3).numpy())
        read = warp.sample(torch.from_numpy(seen.array), torch.from_numpy(places).float())
        return read.reshape(-1, *volume.shape)

    return describe


def _begun(moving: Volume, fixed: Volume, options: register.Options) -> np.ndarray:
    """Where a registration begins: by the headers, or with both images centred."""
    start = np.eye(4)
    if options.start == "centre":
        one, other = (
            points_to_world(volume.affine, (np.array([volume.shape]) - 1) / 2)[0] for volume in (moving, fixed)
        )
        start[:3, 3] = one - other
    return start


def _overlap(truth: np.ndarray, moved: np.ndarray, labels: Labels) -> float:
    """The mean Dice of the structures that the fixed patient has."""
    there = [number for number in range(1, len(labels) + 1) if (truth == number).any()]
    return float(np.mean([dice(truth == number, moved == number).value for number in there])) if there else float("nan")


def measure(rows: Sequence[Aligned]) -> dict[str, Estimate]:
    """Overlap before and after, what registration gains (paired by the fixed patient), and how well it holds."""
    known = [row for row in rows if np.isfinite(row.after)]
    if len(known) < FEWEST:
        raise InputError(
            f"{counted(len(known), 'pair has', 'pairs have')} structures to compare", remedy=f"at least {FEWEST}"
        )
    after, before = (np.array([getattr(row, name) for row in known]) for name in ("after", "before"))
    return {
        "overlap": mean_amount(after),
        "overlap-before": mean_amount(before),
        "overlap-gain": mean_difference(after, before),
        "inverse-gap-mean-mm": mean_amount([row.inverse_gap_mm for row in known]),
        "folded-share": mean_amount([row.folded_share for row in known]),
        "seconds": mean_amount([row.seconds for row in known]),
    }


def per_exam(rows: Sequence[Aligned]) -> list[per_case.Row]:
    """Each fixed patient's overlap, to pair two runs by."""
    return [per_case.Row("overlap", row.case, row.patient, row.after) for row in rows]
