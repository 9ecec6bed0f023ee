"""The settings of `radfoundry adapt`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from radfoundry.config import Component, Settings

Progress = Callable[[str, int, int], None]
RUNGS = ("frozen", "head", "adapter", "full")
OWN_HEADS = {"segment": "light"}  # whose heads have options of their own


class Config(Settings):
    """Which question to ask of which features, who teaches and who is tested."""

    cohort: str = Field(description="cohort folder made by radfoundry ingest")
    task: Component = Field(description="question (radfoundry list tasks), e.g. classify with task.target=LABEL")
    encoder: Component = Field(default=Component(name="vit3d-tiny"), description="encoder name or checkpoint path")
    rung: Literal["frozen", "head", "adapter", "full"] = Field(
        default="frozen", description="how much learns: a head on pooled features, on places, adapters, or everything"
    )
    head: Component | None = Field(
        default=None,
        description="radfoundry list heads; for rung=adapter lora or mona, for rung=full partial, full or scratch",
    )
    fuse: Component = Field(
        default=Component(name="average"),
        description="how several images of an exam give one answer (radfoundry list fusions); fuse.by=sequence, plane, "
        "view or laterality tells them apart",
    )
    prior: Component | None = Field(
        default=None,
        description="look inside a region only: mask (of the exam) or ball (in the middle), with prior.how=places or "
        "image; prior.wrong_mm=[x, y, z] asks beside a region so far off",
    )
    ladder: bool = Field(default=False, description="try every rung and the baselines, choose on inner folds")
    rungs: list[str] = Field(default=list(RUNGS), description="rungs that the ladder tries")
    beside: list[str] = Field(
        default=[],
        description="other rungs asked on the same folds, paired: frozen, head, lora, mona, partial, full, scratch; "
        "with -balanced or -plain behind it, batches that hold the classes equally often or not",
    )
    remember: Component | None = Field(
        default=None, description="another question, asked again through every encoder after it has learned this one"
    )
    covariates: list[str] = Field(
        default=[],
        description="age_years, sex or labels that fusion uses beside images, and the ladder's header baseline as well",
    )
    tune: dict[str, float | int | bool] = Field(
        default={}, description="steps, batch, rate, size, balanced, weighted, focal, mixup, inner_folds of upper rungs"
    )
    train_on: dict[str, list[str] | str] = Field(
        default={}, description="series that teach, e.g. train_on.sequence=T2w"
    )
    test_on: dict[str, list[str] | str] | None = Field(default=None, description="series that are tested; as train_on")
    split: str | None = Field(default=None, description="named split with parts train and test; else folds")
    folds: int = Field(default=5, ge=2, description="folds between patients when no split is named")
    held_out: Literal["patients", "sites"] = Field(
        default="patients", description="without a split: folds between patients, or every site once"
    )
    labelled: int = Field(default=0, ge=0, description="so many patients teach, of those that may; 0 for all")
    cut_off: Component = Field(
        default=Component(name="youden"),
        description="how the cut-off is chosen: youden, or sensitivity, specificity or cost with cut_off.wanted=NUMBER",
    )
    intended_use: str = Field(default="", description="one sentence for the predictor's card")
    pack: bool = Field(default=True, description="copy an encoder that came from a file into the predictor")
    called: str = Field(default="", description="a word behind every measure's name, to tell steps of a recipe apart")
    permute_labels: bool = Field(default=False, description="deal the answers out to other patients (negative control)")
    seed: int = Field(default=0, ge=0, description="seed of folds, bootstrap and permutation")
    to: str | None = Field(default=None, description="run folder to write")

    @field_validator("head", mode="before")
    @classmethod
    def _named(cls, head: Any, info: ValidationInfo) -> Any:
        """Options of a head that is not named are those of the question's own."""
        task = info.data.get("task")
        if task is not None and task.name in OWN_HEADS and isinstance(head, dict) and "name" not in head:
            return {"name": OWN_HEADS[task.name], **head}
        return head
