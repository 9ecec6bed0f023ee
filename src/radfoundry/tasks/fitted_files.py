"""Fitted models on disk: arrays as safetensors, the rest as JSON inside; nothing that could run code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import InputError
from radfoundry.tasks import heads
from radfoundry.tasks.examples import Fitted
from radfoundry.tasks.head_answers import RAW
from radfoundry.tasks.probe import FittedPooled

FORMAT = 1
PROBE = "encoder_probe"


def write(fitted: Any, path: Path, *, probe: np.ndarray) -> None:
    """Write a fitted model and the embedding its encoder gives of the probe image; whole or not at all."""
    from safetensors.numpy import save_file

    about, arrays = _pooled_state(fitted) if isinstance(fitted, FittedPooled) else fitted.state()
    tensors = {name: np.ascontiguousarray(value) for name, value in arrays.items()} | {PROBE: probe}
    # One entry only: safetensors writes several in an order that changes from run to run.
    metadata = {"radfoundry": json.dumps({"format": FORMAT, **about}, sort_keys=True)}
    with runs.atomic(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def read(path: str | Path, *, encoder: Any = None) -> tuple[Fitted, np.ndarray]:
    """A fitted model around its encoder, and the embedding of the probe image; refuses anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as handle:
            about = json.loads((handle.metadata() or {})["radfoundry"])
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        probe = arrays.pop(PROBE)
        return RESTORED[about["rung"]](about, arrays, encoder), probe
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError, json.JSONDecodeError):
        raise InputError("not a model written by radfoundry adapt", where=str(path), finding="unreadable") from None


def _pooled_state(fitted: FittedPooled) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    head = fitted.head
    about = {"rung": "frozen", "head": {"name": head.name, "kind": head.kind, "strength": head.strength}}
    return about, dict(head.arrays)


def _pooled(about: Mapping[str, Any], arrays: dict[str, np.ndarray], _encoder: Any) -> FittedPooled:
    head = about["head"]
    if head["name"] not in (*RAW, "knn"):
        raise KeyError(head["name"])
    return FittedPooled(heads.FittedHead(head["name"], head["kind"], float(head["strength"]), arrays), None)


def _tuned(about: Mapping[str, Any], arrays: dict[str, np.ndarray], encoder: Any) -> Fitted:
    from radfoundry.tasks import tuned

    return tuned.restore(about, arrays, encoder)


def _baseline(about: Mapping[str, Any], arrays: dict[str, np.ndarray], encoder: Any) -> Fitted:
    from radfoundry.tasks import baselines

    return baselines.restore(about, arrays, encoder)


def _fused(about: Mapping[str, Any], arrays: dict[str, np.ndarray], encoder: Any) -> Fitted:
    from radfoundry.tasks import fusion

    return fusion.restore(about, arrays, encoder)


RESTORED: dict[str, Callable[[Mapping[str, Any], dict[str, np.ndarray], Any], Fitted]] = {
    "frozen": _pooled,
    "tuned": _tuned,
    "trivial": _baseline,
    "radiomics": _baseline,
    "fused": _fused,
}
