"""The settings of `radfoundry predict`."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from radfoundry.config import Settings

Progress = Callable[[str, int, int], None]


class Config(Settings):
    """Which model, about which scans, and what the files do not say of themselves."""

    predictor: str = Field(description="folder written by radfoundry adapt")
    scans: tuple[str, ...] = Field(min_length=1, description="files and folders of scans, or one cohort folder")
    modality: str | None = Field(None, description="modality of image files that state none")
    sequence: str | None = Field(None, description="sequence of image files that state none")
    pattern: str = Field("", description="regular expression with (?P<patient>…) for files that carry no patient")
    repair: dict[str, str | int] = Field({}, description="what may be mended in a faulty series, as in ingest")
    seed: int = Field(0, ge=0, description="not used: a fitted model draws nothing")
    to: str | None = Field(None, description="run folder to write")
