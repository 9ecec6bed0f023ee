"""`radfoundry benchmark`: encoders, questions and pipelines on the same patients; differences with their doubt."""

from __future__ import annotations

import importlib

from radfoundry import runs
from radfoundry.records import InputError, Run
from radfoundry.stages.benchmark.settings import Config, Progress

__all__ = ["Config", "Progress", "run"]

NESTED = ("tasks", "choices", "crossed", "repeats", "inner_folds", "draws", "workers", "tune")


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Compare; metrics `ENCODER/METRIC`, paired `ONE-minus-OTHER/METRIC`; one module per kind of comparison."""
    if config.runs or config.names:
        return importlib.import_module("radfoundry.stages.benchmark.finished").run(_paired(config), progress=progress)
    if (config.task is None) == (not config.tasks):
        raise InputError("one question or a list of them", where="task", remedy="give task= or tasks=[…]")
    return importlib.import_module(f"radfoundry.stages.benchmark.{_flow(config)}").run(config, progress=progress)


def _paired(config: Config) -> Config:
    """Settings of a pairing of finished runs; refuses what would be without effect."""
    idle = [name for name in ("task", "tasks", *NESTED, "head", "split", "test") if getattr(config, name)]
    idle = [name for name in idle if name in config.model_fields_set]
    if idle:
        raise InputError("has no effect on finished runs", where=idle[0], remedy="leave it out, or leave out runs")
    return config


def _flow(config: Config) -> str:
    """Which kind of comparison the settings ask for; refuses settings that would be without effect."""
    from radfoundry.tasks import in_words, questions

    nested = [name for name in NESTED if name in config.model_fields_set and getattr(config, name)]
    if config.task is not None and questions.named(config.task).kind == in_words.KIND:
        return "words"
    if config.test is not None or any(name in nested for name in ("tasks", "choices", "repeats")):
        idle = [name for name in ("head", "split", "test_on") if getattr(config, name) is not None]
        if idle:
            raise InputError(
                "has no effect on nested evaluation", where=idle[0], remedy="use choices.head, train_on and test"
            )
        return "nested" if config.test is None else "beyond"
    if nested:
        raise InputError("needs choices, tasks or repeats", where=nested[0], remedy="add one of them, or leave it out")
    return "one"
