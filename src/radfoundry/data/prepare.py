"""From a series as it was acquired to the array an encoder asks for; computed once, then read from the cache."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radfoundry import registry
from radfoundry.data.reading import FINDINGS
from radfoundry.data.resample import fit, resample
from radfoundry.data.store import SUFFIX, content_hash, read_volume, write_volume
from radfoundry.records import InputError, Series
from radfoundry.runs import digest
from radfoundry.volume import Volume

# Raised whenever the same plan would give other numbers than before, so that no stale cache is read.
REVISION = 1


@dataclass(frozen=True)
class Plan:
    """How images are made alike before an encoder sees them.

    `orientation`: three letters, or None to keep the axes · `spacing_mm`: voxel size, or None to keep it ·
    `shape`: cut or filled to this size around the centre, or None to keep it · `intensity`: a name of
    `radfoundry list intensity-rules` with its `options` · `order`: 1 for images, 0 for label maps.

    >>> Plan(spacing_mm=(2, 2, 2), shape=(48, 48, 48)).fingerprint == Plan(spacing_mm=(1, 1, 1)).fingerprint
    False
    """

    orientation: str | None = "RAS"
    spacing_mm: tuple[float, float, float] | None = None
    shape: tuple[int, int, int] | None = None
    intensity: str = "percentile"
    options: Mapping[str, Any] = field(default_factory=dict)
    order: int = 1

    def __post_init__(self) -> None:
        rule = registry.resolve("intensity-rules", self.intensity)
        accepted = [name for name in inspect.signature(rule).parameters if name not in ("volume", "mask")]
        for option in self.options:
            if option not in accepted:
                raise registry.unknown("option", option, accepted, where=f"intensity.{self.intensity}")

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def fingerprint(self) -> str:
        """Equal plans have equal fingerprints on every machine; it names cached volumes."""
        spacing = None if self.spacing_mm is None else [float(step) for step in self.spacing_mm]
        shape = None if self.shape is None else [int(n) for n in self.shape]
        return digest([REVISION, self.orientation, spacing, shape, self.intensity, dict(self.options), self.order])


def prepare(volume: Volume, plan: Plan) -> Volume:
    """The image turned, resampled, scaled and cut as the plan says, in this order; the input is left as it was.

    Grey values are scaled before the image is filled up to its shape, so that the added border does not
    change them.

    >>> import numpy as np
    >>> head = Volume.of(np.random.default_rng(0).random((20, 20, 6)), np.diag([-1.0, 1.0, 3.0, 1.0]))
    >>> ready = prepare(head, Plan(spacing_mm=(2, 2, 2), shape=(12, 12, 12)))
    >>> ready.orientation, ready.shape, str(ready.array.dtype)
    ('RAS', (12, 12, 12), 'float32')
    """
    if plan.orientation is not None:
        volume = volume.reorient(plan.orientation)
    if plan.spacing_mm is not None:
        volume = resample(volume, plan.spacing_mm, order=plan.order)
    rule = registry.resolve("intensity-rules", plan.intensity)
    volume = rule(volume, **plan.options)
    return volume if plan.shape is None else fit(volume, plan.shape)


def prepared(series: Series, plan: Plan, *, cache: Path | None = None) -> Volume:
    """A series as the plan asks, from the cache when it is there, otherwise computed and put there.

    Cached volumes are found by the content of the series and the plan, so that a changed image or plan
    is never answered by an old file. Many processes may share a cache: files appear whole. A damaged
    file in the cache is written again. Refuses a plan in mm for an image whose pixel size is unknown.
    """
    if plan.spacing_mm is not None and "no-geometry" in series.repairs:
        raise InputError(
            "its pixel size in mm is not known",
            where=f"series {series.key}",
            remedy="use a plan without spacing_mm",
            finding="no-geometry",
        )
    if cache is None:
        return prepare(series.load(), plan)
    volume = None if series.content else series.load()
    path = cached_path(series.content if volume is None else content_hash(volume), plan, cache=cache)
    if path.is_file():
        try:
            return read_volume(path)
        except InputError as error:
            if error.finding != "damaged":
                raise
    ready = prepare(series.load() if volume is None else volume, plan)
    write_volume(path, ready)
    return ready


def cached_path(content: str, plan: Plan, *, cache: Path) -> Path:
    """Where the prepared copy of an image with this content lies."""
    if not content.replace("-", "").isalnum():
        raise InputError(f"{content!r} is not a content hash", remedy=FINDINGS["unreadable"])
    return Path(cache) / content[:2] / f"{content}-{plan.fingerprint}{SUFFIX}"
