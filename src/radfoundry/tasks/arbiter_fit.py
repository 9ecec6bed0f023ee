"""Fitting any of the arbiters, calibrating it, and writing it to a file that runs no code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from radfoundry import runs
from radfoundry.records import InputError
from radfoundry.tasks import arbiter, arbiter_language
from radfoundry.tasks.arbiter import ArbitrateTask, Evidence, Stacker

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Reader:
    """A fitted transformer over votes."""

    net: Any

    def decide(self, evidence: Evidence) -> np.ndarray:
        """(n,) chances of yes."""
        import torch

        with torch.no_grad():
            said = self.net(*_tensors(evidence))
        return expit(said.numpy().astype(float))


def fit(task: ArbitrateTask, evidence: Evidence, answers: np.ndarray, patients: np.ndarray, *, seed: int) -> Any:
    """The arbiter that the task names, learned from the cases of some patients; a language model learns nothing."""
    if task.arbiter == arbiter.STACKER:
        return arbiter.fit_stacker(evidence, answers, patients, seed=seed)
    if task.arbiter == arbiter.TRANSFORMER:
        import torch

        from radfoundry.nets.arbiter import train

        logits, present = _tensors(evidence)
        return Reader(train(logits, present, torch.from_numpy(answers).float(), seed=seed))
    return arbiter_language.Client(task.address, task.target)


def _tensors(evidence: Evidence) -> tuple[Any, Any]:
    import torch

    table = np.column_stack([evidence.votes, evidence.generalist, evidence.retrieved])
    return torch.from_numpy(evidence.logits).float(), torch.from_numpy(~np.isnan(table))


def write(fitted: Any, path: Path, *, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arbiter and the arrays of the similar cases as safetensors, whole or not at all."""
    from safetensors.numpy import save_file

    about: dict[str, Any] = {"format": FORMAT}
    tensors = {f"cases/{name}": np.ascontiguousarray(value) for name, value in arrays.items()}
    if isinstance(fitted, Stacker):
        about |= {"kind": arbiter.STACKER, "intercept": fitted.intercept, "strength": fitted.strength}
        tensors |= {"weights": fitted.weights, "shares": fitted.shares, "heard": fitted.heard}
    elif isinstance(fitted, Reader):
        about |= {"kind": arbiter.TRANSFORMER}
        tensors |= {f"net/{name}": value.numpy() for name, value in fitted.net.state_dict().items()}
    else:
        about |= {"kind": arbiter.LANGUAGE, "address": fitted.address, "question": fitted.question}
    with runs.atomic(path) as partial:
        save_file(tensors, partial, metadata={"radfoundry": json.dumps(about, sort_keys=True)})


def read(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The arbiter and the arrays of the similar cases; refuses anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as handle:
            about = json.loads((handle.metadata() or {})["radfoundry"])
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        cases = {name.removeprefix("cases/"): value for name, value in arrays.items() if name.startswith("cases/")}
        return _restored(about, arrays), cases
    except (SafetensorError, OSError, KeyError, TypeError, RuntimeError, json.JSONDecodeError):
        raise InputError("not an arbiter written by radfoundry adapt", where=str(path), finding="unreadable") from None


def _restored(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Any:
    if about["kind"] == arbiter.STACKER:
        parts = (arrays["weights"], float(about["intercept"]), arrays["shares"], arrays["heard"])
        return Stacker(*parts, float(about["strength"]))
    if about["kind"] == arbiter.LANGUAGE:
        return arbiter_language.Client(about["address"], about["question"])
    import torch

    from radfoundry.nets.arbiter import VoteReader

    state = {
        name.removeprefix("net/"): torch.from_numpy(value) for name, value in arrays.items() if name.startswith("net/")
    }
    net = VoteReader(len(state["who"]))
    net.load_state_dict(state)
    return Reader(net.eval())
