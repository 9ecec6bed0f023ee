"""Settings of `radfoundry curate`: which action, on which cohort, and what each action asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from radfoundry.config import Settings

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

    what: Literal["quality", "slots"] = Field(default="quality", description="quality, or slots")
    cohort: str = Field(description="cohort folder made by radfoundry ingest")
    slots: list[SlotRule] = Field(default=list(DEFAULT_SLOTS), description="slots: the inputs and what may fill them")
    workers: int = Field(default=0, ge=0, description="quality: processes; 0 is one per core")
    to: str | None = Field(default=None, description="run folder to write")
