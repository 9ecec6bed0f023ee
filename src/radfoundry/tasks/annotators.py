"""Several outlines of one image: made into one by vote or STAPLE, and the question which way of learning is best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from radfoundry.records import InputError, Task
from radfoundry.tasks.consensus import FUSIONS
from radfoundry.tasks.segment import whole

METHODS = ("uncertain", "majority", "staple", "single")


@dataclass(frozen=True)
class Several(Task):
    """The question with what is simulated, what is compared, and how."""

    simulate: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = METHODS
    heads: str = "two"
    width: int = 16
    several: str = "staple"


def build(
    *,
    simulate: Mapping[str, float | int] | None = None,
    methods: list[str] | None = None,
    heads: str = "two",
    width: int = 16,
    reference: str = "staple",
) -> Several:
    """Which way of learning from several annotators outlines best?

    `methods` to compare: uncertain (every voxel of every mask by its doubt), majority, staple, single (one annotator
    at random each step). `heads` two, one or drop: what becomes of badly annotated images. With cohort=simulated the
    pictures are made on the way: `simulate` may give train, test, degraded (share) and accurate (true: four accurate
    annotators). On a cohort of one's own the masks of tested images are fused by `reference`, because nobody knows
    the truth; `width` is the number of channels of the first level.
    """
    chosen = tuple(methods or METHODS)
    unknown = [name for name in chosen if name not in METHODS]
    if unknown or "uncertain" not in chosen or len(chosen) < 2:
        raise InputError(
            f"methods {', '.join(chosen)}", where="task", remedy=f"uncertain and others of {', '.join(METHODS)}"
        )
    if simulate is not None and not isinstance(simulate, Mapping):
        raise InputError(f"{simulate!r} is not a mapping", where="task.simulate", remedy="write {train: 60, test: 40}")
    for name in ("train", "test"):
        whole((simulate or {}).get(name, 4), name=f"task.simulate.{name}", least=4)
    share = (simulate or {}).get("degraded", 0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"{share!r}", where="task.simulate.degraded", remedy="give a share from 0 to 1")
    strange = sorted(set(simulate or {}) - {"train", "test", "degraded", "accurate"})
    if strange:
        raise InputError(f"unknown key {strange[0]!r}", where="task.simulate", remedy="train, test, degraded, accurate")
    if heads not in ("two", "one", "drop") or reference not in FUSIONS:
        raise InputError(
            f"heads={heads} reference={reference}", where="task", remedy="two, one or drop; majority or staple"
        )
    whole(width, name="task.width", least=4)
    return Several(
        "annotators",
        "mask",
        "annotators",
        unit="image",
        metrics=("dice",),
        about="Which way of learning from several annotators outlines best?",
        simulate=dict(simulate or {}),
        methods=chosen,
        heads=heads,
        width=int(width),
        several=reference,
    )


def doubted(doubt: np.ndarray, wrong: np.ndarray) -> float:
    """The AUROC of the doubt in a mask for its voxels that are wrong; NaN where none or all are."""
    from radfoundry.records import Predictions
    from radfoundry.stats.auc import auroc

    flags = wrong.ravel().astype(int)
    if flags.min() == flags.max():
        return float("nan")
    return auroc(Predictions.of(flags, doubt.ravel())).value


def order_agrees(doubt: np.ndarray, error: np.ndarray) -> float:
    """Kendall's tau between the mean doubt in every annotator and how wrong they truly are, both (annotators,)."""
    from scipy import stats

    return float(stats.kendalltau(doubt, error).statistic)
