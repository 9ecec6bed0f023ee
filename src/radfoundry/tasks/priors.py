"""Anatomy as a prior: an encoder's features from inside a region only, a mask of the exam or a ball in its middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.data import masks, prepare
from radfoundry.nets import embedding
from radfoundry.nets.embedding import Embeddings, Progress
from radfoundry.records import Case, Cohort, InputError, Series

HOW = ("places", "image")
FEWEST_VOXELS = 8


@dataclass(frozen=True)
class Prior:
    """Where to look. `labels` empty: any value of the mask; `wrong_mm`: how far off the wrong prior lies.

    `how`: `places` averages the encoder's places inside the region, `image` blackens what is outside before encoding.
    """

    name: str
    how: str = "places"
    radius_mm: float = 0.0
    margin_mm: float = 0.0
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels: tuple[int, ...] = ()
    wrong_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise registry.unknown("way", self.how, HOW, where="prior.how")
        if self.margin_mm < 0 or (self.name == "ball" and not self.radius_mm > 0):
            raise InputError(
                f"radius_mm={self.radius_mm} margin_mm={self.margin_mm}", where="prior", remedy="give sizes above 0"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def ball(
    *,
    radius_mm: float,
    how: str = "places",
    offset_mm: Sequence[float] = (0.0, 0.0, 0.0),
    wrong_mm: Sequence[float] | None = None,
) -> Prior:
    """A ball around the middle of the image, or `offset_mm` (right to left, back to front, feet to head) from it."""
    wrong = None if wrong_mm is None else _three(wrong_mm, "wrong_mm")
    return Prior("ball", how, float(radius_mm), offset_mm=_three(offset_mm, "offset_mm"), wrong_mm=wrong)


def mask(
    *,
    how: str = "places",
    labels: int | Sequence[int] = (),
    margin_mm: float = 0.0,
    wrong_mm: Sequence[float] | None = None,
) -> Prior:
    """Inside the masks of the exam (series of modality SEG), `margin_mm` wider; `labels` keeps some of their values."""
    kept = (labels,) if isinstance(labels, int) else tuple(labels)
    wrong = None if wrong_mm is None else _three(wrong_mm, "wrong_mm")
    return Prior("mask", how, margin_mm=float(margin_mm), labels=kept, wrong_mm=wrong)


def named(component: Component) -> Prior:
    """The prior that a setting names."""
    return registry.build("priors", component.name, **component.options)


def restored(values: dict[str, Any]) -> Prior:
    """The inverse of `Prior.to_dict`."""
    lists = ("offset_mm", "labels", "wrong_mm")
    kept: dict[str, Any] = dict(values)
    for key in lists:
        kept[key] = None if kept[key] is None else tuple(kept[key])
    return Prior(**kept)


def embed_inside(
    cohort: Cohort,
    encoder: Any,
    prior: Prior,
    *,
    sources: Cohort | None = None,
    shift_mm: Sequence[float] = (0.0, 0.0, 0.0),
    progress: Progress | None = None,
) -> Embeddings:
    """Features of every series from inside its region, which may be shifted; masks come from the exams in `sources`.

    Series of another kind, without a mask, or with nothing of it inside the image are listed in `refused`. Refuses
    a cohort of which nothing is left.
    """
    from radfoundry.nets import checkpoint

    plan, spec = embedding.plan_for(encoder.spec), encoder.spec
    cases = {case.key: case for case in (cohort if sources is None else sources).cases}
    kept, vectors, refused = [], [], []
    wanted = [series for series in cohort.series if not masks.is_mask(series)]
    for done, series in enumerate(wanted, start=1):
        reason = embedding.refusal(series, spec)
        if not reason:
            ready = prepare.prepared(series, plan, cache=runs_cache(cohort))
            region = region_of(cases[series.case], ready.affine, ready.shape, prior, shift_mm)
            reason = "its exam has no mask" if region is None else _too_small(region)
        if reason:
            refused.append((series.key, reason))
            continue
        image = embedding.image_of(series, plan, spec, cohort.path)
        vectors.append(_looked(encoder, image, np.asarray(region), prior.how))
        kept.append(series)
        if progress:
            progress(f"embed {spec.name} inside", done, len(wanted))
    if not kept:
        reasons = sorted({reason for _, reason in refused})
        raise InputError(f"nothing lies inside the prior: {'; '.join(reasons[:3]) or 'no series'}", where="prior")
    name = f"{plan.fingerprint}-{runs.digest([prior.to_dict(), list(shift_mm)])}"
    mark = checkpoint.fingerprint(encoder)
    return Embeddings(tuple(kept), np.stack(vectors), spec.name, mark, name, tuple(refused))


def runs_cache(cohort: Cohort) -> Any:
    """Where prepared copies of a cohort's series are kept, or nowhere."""
    from pathlib import Path

    return None if cohort.path is None else Path(cohort.path) / "cache"


def region_of(
    case: Case, affine: np.ndarray, shape: Sequence[int], prior: Prior, shift_mm: Sequence[float]
) -> np.ndarray | None:
    """(I, J, K) booleans of the region on a grid, moved by `shift_mm`; None where the exam has no mask."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places = index @ affine[:3, :3].T + affine[:3, 3] - np.asarray(shift_mm, float)
    if prior.name == "ball":
        middle = affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3] + np.asarray(prior.offset_mm)
        return (np.linalg.norm(places - middle, axis=1) <= prior.radius_mm).reshape(*shape)
    own = [series for series in case.series if masks.is_mask(series)]
    if not own:
        return None
    found = np.zeros(len(places), bool)
    for series in own:
        found |= _inside_mask(series, places, prior.labels)
    found = found.reshape(*shape)
    return _wider(found, prior.margin_mm, np.linalg.norm(affine[:3, :3], axis=0)) if prior.margin_mm else found


def _inside_mask(series: Series, places: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Whether places in mm lie inside a mask; the nearest voxel decides."""
    values = masks.mask_values(series, may_be_empty=True)
    inverse = np.linalg.inv(series.load().affine)
    index = np.rint(places @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    within = ((index >= 0) & (index < values.shape)).all(axis=1)
    found = np.zeros(len(places), bool)
    seen = values[tuple(index[within].T)]
    found[within] = np.isin(seen, labels) if labels else seen > 0
    return found


def _wider(region: np.ndarray, margin_mm: float, spacing_mm: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~region, sampling=spacing_mm) <= margin_mm if region.any() else region


def _too_small(region: np.ndarray) -> str:
    return "" if region.sum() >= FEWEST_VOXELS else "nothing of its region lies inside the image"


def _looked(encoder: Any, image: np.ndarray, region: np.ndarray, how: str) -> np.ndarray:
    """The features of one image from inside its region."""
    import torch

    if region.shape != image.shape[1:]:
        raise InputError(f"{encoder.spec.name} changes the size of images", where="prior", remedy="use a 3D encoder")
    if how == "image":
        image = np.where(region, image, image.min())
    with torch.no_grad():
        seen = encoder.encode(torch.from_numpy(np.ascontiguousarray(image, np.float32))[None])
        if how == "image":
            return seen.pooled[0].float().numpy()
        if seen.tokens is None or seen.grid is None:
            raise InputError(f"{encoder.spec.name} gives no places", where="prior", remedy="use prior.how=image")
        share = torch.from_numpy(region.astype(np.float32))[None, None]
        weight = torch.nn.functional.adaptive_avg_pool3d(share, tuple(seen.grid)).flatten()
        tokens = seen.tokens[0].float()
        mean = (weight[:, None] * tokens).sum(dim=0) / weight.sum()
        spread = ((weight[:, None] * (tokens - mean) ** 2).sum(dim=0) / weight.sum()).sqrt()
        return torch.cat([mean, spread]).numpy()


def _three(values: Sequence[float], name: str) -> tuple[float, float, float]:
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise InputError(f"{values!r} is not three numbers", where=f"prior.{name}", remedy="give millimetres, x, y, z")
    first, second, third = (float(value) for value in values)
    return first, second, third
