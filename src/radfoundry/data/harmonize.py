"""Harmonisation of images between scanners: fit on training images, apply to any one image, keep as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from radfoundry import registry, runs
from radfoundry.data.intensity import otsu_threshold, sample
from radfoundry.records import InputError
from radfoundry.volume import Volume

FORMAT = 1
FEWEST_IMAGES = 3  # of which a common scale can be learned
Arrays = Mapping[str, np.ndarray]


class Harmonizer(Protocol):
    """A fitted method: `apply` needs one image alone, `record` and `arrays` hold all that was learned.

    A class in the registry's table `harmonizers` also has `fit(images, **options)`, which may go over the images
    more than once, `restored(record, arrays)`, the inverse of the two, and `learns`: whether it needs other images.
    """

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The harmonised image: same grid, float32."""
        ...

    def record(self) -> dict[str, Any]:
        """Everything learned but arrays, as plain values."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Learned arrays by name; empty for most methods."""
        ...


@dataclass(frozen=True)
class Chain:
    """Several methods one after the other, for example `n4` then `nyul`."""

    names: tuple[str, ...]
    steps: tuple[Harmonizer, ...]

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The image after every step."""
        for step in self.steps:
            volume = step.apply(volume, mask=mask)
        return volume


@dataclass(frozen=True)
class Applied:
    """Images as they look after some steps, computed anew each time they are gone over, one at a time in memory."""

    images: Iterable[Volume]
    steps: tuple[Harmonizer, ...]

    def __iter__(self) -> Iterator[Volume]:
        for volume in self.images:
            yield Chain((), self.steps).apply(volume)


def fit(methods: Sequence[tuple[str, Mapping[str, Any]]], images: Iterable[Volume]) -> Chain:
    """Fit one or more methods, (name, options) each, on training images alone; each sees what the ones before made.

    `images` is gone over once or twice by each method and may read from disk every time. Refuses unknown names and
    options, and fewer than three images where something is learned from them.

    >>> rng = np.random.default_rng(0)
    >>> scans = [Volume.of(gain * rng.gamma(9.0, size=(16, 16, 4)), np.eye(4)) for gain in (1.0, 40.0, 900.0)]
    >>> chain = fit([("nyul", {})], scans)
    >>> medians = [round(float(np.median(chain.apply(scan).array)), 1) for scan in scans]
    >>> max(medians) - min(medians) < 0.11
    True
    """
    if not methods:
        raise InputError("no method is named", remedy="see radfoundry list harmonizers")
    steps: tuple[Harmonizer, ...] = ()
    for name, options in methods:
        kind = registry.resolve("harmonizers", name)
        registry.check_options(kind.fit, options, where=f"harmonizers.{name}")
        steps = (*steps, kind.fit(Applied(images, steps) if steps else images, **options))
    return Chain(tuple(name for name, _ in methods), steps)


def learns(methods: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    """Whether any of the methods learns from other images than the one it is applied to.

    >>> learns([("n4", {}), ("zscore", {})]), learns([("n4", {}), ("nyul", {})])
    (False, True)
    """
    return any(registry.resolve("harmonizers", name).learns for name, _ in methods)


def write(chain: Chain, path: str | Path) -> None:
    """Keep a fitted chain as one safetensors file: what was learned as JSON in it, larger arrays beside."""
    from safetensors.numpy import save_file

    steps = [{"name": name, "learned": step.record()} for name, step in zip(chain.names, chain.steps, strict=True)]
    arrays = {
        f"{place}.{name}": np.ascontiguousarray(value)
        for place, step in enumerate(chain.steps)
        for name, value in step.arrays().items()
    }
    text = json.dumps(runs.plain({"format": FORMAT, "harmonizer": steps}), sort_keys=True, allow_nan=False)
    with runs.atomic(path) as partial:
        # An empty file of tensors is not read by every version of the format's library.
        save_file(arrays or {"none": np.zeros(1, np.float32)}, partial, metadata={"radfoundry": text})


def read(path: str | Path) -> Chain:
    """A fitted chain that `write` kept; refuses anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as handle:
            about = json.loads((handle.metadata() or {})["radfoundry"])
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        if about["format"] != FORMAT:
            raise KeyError("format")
        steps = about["harmonizer"]
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError):
        raise InputError(
            "not a fitted harmoniser", where=str(path), remedy="fit it again", finding="unreadable"
        ) from None
    made = []
    for place, step in enumerate(steps):
        own = {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith(f"{place}.")}
        made.append(registry.resolve("harmonizers", step["name"]).restored(step["learned"], own))
    return Chain(tuple(step["name"] for step in steps), tuple(made))


def checked(volume: Volume, mask: np.ndarray | None) -> None:
    """Refuse calibrated values, values that are not finite, and a mask that does not fit or is empty."""
    if volume.units == "HU":
        raise InputError(
            "CT values are calibrated and are not harmonised", remedy="choose MR or projection images", finding="units"
        )
    if mask is not None and mask.shape != volume.shape:
        raise InputError(f"the mask has shape {mask.shape}, the image {volume.shape}", finding="shape")
    if mask is not None and not mask.any():
        raise InputError("the mask is empty", remedy="give a mask with at least one voxel", finding="empty-mask")
    if volume.array.dtype.kind == "f" and not np.isfinite(sample(volume.array)).all():
        raise InputError("voxels are not finite", remedy="ingest with repair.nan=zero", finding="nan-voxels")


def tissue_values(volume: Volume, mask: np.ndarray | None = None) -> np.ndarray:
    """Grey values `(n,)` of the patient: inside the mask, or brighter than Otsu's threshold; all of a flat image.

    At most about 131,000 voxels, always the same ones.
    """
    checked(volume, mask)
    if mask is not None:
        return sample(np.ascontiguousarray(volume.array[:, mask.astype(bool)])).astype(np.float64)
    seen = sample(volume.array).astype(np.float64)
    bright = seen[seen > otsu_threshold(seen)]
    return bright if bright.size else seen


def enough(count: int, method: str) -> None:
    """Refuse to learn a common scale from fewer than three images."""
    if count < FEWEST_IMAGES:
        raise InputError(
            f"{count} training images are too few for {method}",
            where="harmonize",
            remedy=f"give at least {FEWEST_IMAGES}, better 20 from every scanner",
            finding="too-few",
        )
