"""Settings of `radfoundry curate`: which action, on which cohort, and what each action asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, field_validator

from radfoundry.config import Component, Settings

Progress = Callable[[str, int, int], None]
Block = dict[str, Any]


class SlotRule(Settings):
    """One input of a model and what may fill it."""

    name: str = Field(description="name of the input, for example T1c")
    sequence: list[str] = Field(description="sequences that fit")
    contrast: Literal["any", "with", "without"] = Field(default="any", description="contrast agent given")
    plane: str = Field(default="any", description="axial, coronal, sagittal, oblique or any")
    largest_spacing_mm: float | None = Field(default=None, gt=0, description="coarsest voxel side that is accepted")
    prefer: str = Field(default="resolution", description="resolution, thin-slices, many-slices or first")
    required: bool = Field(default=True, description="an exam without it is reported")


DEFAULT_SLOTS = (
    SlotRule(name="T1", sequence=["T1w"], contrast="without"),
    SlotRule(name="T1c", sequence=["T1w"], contrast="with", required=False),
    SlotRule(name="T2", sequence=["T2w"]),
    SlotRule(name="FLAIR", sequence=["FLAIR"]),
)


class Config(Settings):
    """What to curate in which cohort."""

    what: Literal["quality", "slots", "types", "types-trial", "harmonize", "duplicates", "findings"] = Field(
        default="quality",
        description="quality, slots, types, findings, harmonize, duplicates, or types-trial (on simulated series)",
    )
    cohort: str = Field(description="cohort folder made by radfoundry ingest")
    slots: list[SlotRule] = Field(
        default=list(DEFAULT_SLOTS), min_length=1, description="slots: the inputs and what may fill them"
    )
    score: str | None = Field(
        default=None, description="quality: rater that adds a learned score (a rater.safetensors of radfoundry rate)"
    )
    purpose: str | None = Field(
        default=None, description="quality: what the score is for; the rater's first if not said"
    )
    outside: str | None = Field(default=None, description="duplicates: cohort of an outside test set")
    features: str | None = Field(
        default=None, description="duplicates: run of radfoundry embed, to compare features too"
    )
    cosine: float = Field(
        default=0.999, gt=0, le=1, description="duplicates: features at least this alike are one image"
    )
    workers: int = Field(default=0, ge=0, description="quality, types: processes; 0 is one per core")
    engine: Literal["local", "ray"] = Field(
        default="local", description="quality, types: processes of this machine, or a ray cluster (extra scale)"
    )
    header: bool = Field(default=True, description="types: look at the header")
    pixels: bool = Field(default=True, description="types: look at the pixels")
    names: bool = Field(default=False, description="types: let the series description confirm or raise doubt")
    rules: str | None = Field(default=None, description="types: file of rules instead of the package's")
    damage: float = Field(default=0.4, ge=0, le=0.95, description="types-trial: share of tags missing or wrong")
    held_make: str = Field(default="philips", description="types-trial: make that is tested on and not learned from")
    bodies: int = Field(default=40, ge=4, description="types-trial: simulated bodies")
    train_series: int = Field(default=6000, ge=200, description="types-trial: series to learn from")
    steps: int = Field(default=500, ge=10, description="types-trial: steps of training")
    permute_labels: bool = Field(
        default=False, description="types-trial, harmonize: deal the types or the answers out anew (negative control)"
    )
    seed: int = Field(default=0, ge=0, description="types-trial, harmonize: seed of everything")
    method: list[Component] = Field(
        default=[Component(name="nyul")], description="harmonize: method or methods in order, or combat on features"
    )
    on: dict[str, list[str] | str] = Field(default={}, description="harmonize: which series, e.g. on.sequence=T2w")
    by: str = Field(default="site", description="harmonize: the header fact that makes a site, e.g. site or model")
    split: str | None = Field(
        default=None, description="harmonize: split whose part train is learned from; duplicates: split to look across"
    )
    encoder: Component = Field(default=Component(name="intensity"), description="harmonize: encoder of the features")
    crop_mm: float | None = Field(default=None, gt=0, description="harmonize: show the encoder the middle only")
    covariates: list[str] = Field(default=[], description="harmonize: labels ComBat has to keep, e.g. [age_years]")
    task: list[Component] = Field(default=[], description="harmonize: questions to ask of a site left out")
    folds: int = Field(default=2, ge=2, description="harmonize: folds between patients when measuring")
    measure: bool = Field(default=True, description="harmonize: compare sites and answers before and after")
    region: str = Field(default="", description="findings: body region of the reports; found from their words if empty")
    doubt: Literal["missing", "absent", "present"] = Field(
        default="missing", description="findings: what a doubted finding becomes"
    )
    unmentioned: Literal["missing", "absent"] = Field(
        default="missing", description="findings: what a finding becomes that a report does not mention"
    )
    to: str | None = Field(default=None, description="run folder to write")

    @field_validator("method", "task", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        """One name, one mapping, or a list of either."""
        items = value if isinstance(value, list) else [value]
        return [{"name": item} if isinstance(item, str) else item for item in items]
