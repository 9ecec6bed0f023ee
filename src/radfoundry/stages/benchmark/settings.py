"""The settings of `radfoundry benchmark`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from radfoundry.config import Component, Settings
from radfoundry.records import InputError

Progress = Callable[[str, int, int], None]


class Config(Settings):
    """Which encoders to compare on which questions; every one is asked about the same patients in the same folds."""

    cohort: str = Field(description="cohort folder; or simulated, for questions in words about unseen studies")
    task: Component | None = Field(
        default=None,
        description="question: lesion-present, age, or classify/regress with target=LABEL; in words: retrieve, "
        "zero-shot, point",
    )
    tasks: list[Component] = Field(default=[], description="several questions at once: nested evaluation over all")
    runs: list[str] = Field(default=[], description="instead: finished runs of adapt on the same exams, to be paired")
    names: list[str] = Field(default=[], description="runs: what to call them")
    encoders: list[Component] = Field(default=[Component(name="vit3d-tiny")], min_length=1, description="candidates")
    against: list[Component] = Field(
        default=[Component(name="intensity")], description="baselines to beat; nested also radiomics and header"
    )
    head: Component | None = Field(
        default=None, description="logistic, ridge or knn; chosen by the question if left out"
    )
    choices: dict[str, list[Any]] = Field(
        default={}, description="nested: head, scaling, selection, keep, weights, share: [base, others …]"
    )
    crossed: bool = Field(default=False, description="nested: all combinations, not one choice at a time")
    repeats: int = Field(default=1, ge=1, description="nested: how often the folds are drawn anew")
    inner_folds: int = Field(default=4, ge=2, description="nested: folds inside the training patients")
    draws: int = Field(default=1000, ge=100, description="nested: bootstrap draws of patients")
    workers: int = Field(default=1, ge=0, description="nested: processes; 0 is one per core")
    tune: dict[str, float | int | bool] = Field(default={}, description="steps, batch, rate … of rungs among heads")
    test: Component | None = Field(
        default=None, description="external (path=COHORT), later (from=YEAR or date) or sites: the gap to inside"
    )
    subgroups: list[str] = Field(default=["sex", "age", "site"], description="facts and labels to look at in groups")
    survival: dict[str, str] = Field(default={}, description="labels time= and event=: Kaplan-Meier by both labels")
    train_on: dict[str, list[str] | str] = Field(
        default={}, description="series that teach, e.g. train_on.sequence=T2w"
    )
    test_on: dict[str, list[str] | str] | None = Field(default=None, description="series that are tested; as train_on")
    split: str | None = Field(default=None, description="named split with parts train and test; else folds")
    folds: int = Field(default=5, ge=2, description="folds between patients when no split is named")
    patients: int = Field(default=200, ge=20, description="cohort=simulated: how many unseen studies")
    crops: dict[str, Any] = Field(default={}, description="cohort=simulated: size, spacing_mm … as in pretrain")
    permute_labels: bool = Field(default=False, description="deal the answers out to other patients (negative control)")
    seed: int = Field(default=0, ge=0, description="seed of folds, bootstrap and permutation")
    to: str | None = Field(default=None, description="run folder to write")


def asked(config: Config) -> Component:
    """The one question; refused where there are several or none."""
    if config.task is None:
        raise InputError("no question", where="task", remedy="give task=")
    return config.task
