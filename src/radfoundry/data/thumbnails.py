"""Small pictures of volumes as a radiologist expects them: patient's right on the left, head or front up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from radfoundry.runs import atomic
from radfoundry.volume import Volume, closest_axes

SIDE_PIXELS = 144
THICK_FROM = 2.0  # spacing ratio from which only the plane of the slices is worth looking at
SOFT_TISSUE_HU = (-160.0, 240.0)
COLOURS = ("red", "green", "blue")
SAMPLED = 50_000


def thumbnail(volume: Volume, *, side_pixels: int = SIDE_PIXELS) -> np.ndarray:
    """The middle slice as `(rows, columns)` or, in colour, `(rows, columns, 3)` 8-bit values.

    Images of nearly cubic voxels show axial and coronal above, sagittal below; thick slices only their own
    plane. The patient's right is on the left, front or head is up, and lengths are in proportion. Grey values
    run from the 1st to the 99th percentile, CT from -160 to 240 HU. Of several channels the first is shown.

    >>> thumbnail(Volume.of(np.random.default_rng(0).random((40, 50, 60)), np.eye(4))).shape
    (288, 216)
    """
    turned = volume.reorient("LPS")
    array = turned.array.astype(np.float32)
    colour = tuple(name.split()[-1] for name in volume.channels[:3]) == COLOURS
    values = array[:3] if colour else array[:1]
    grey = _eight_bits(values, hounsfield=volume.units == "HU")
    axes = _axes(volume)
    shown = {other for axis in axes for other in range(3) if other != axis}
    per_mm = side_pixels / max(turned.shape[other] * turned.spacing_mm[other] for other in shown)
    planes = [_plane(grey, turned.spacing_mm, axis, per_mm) for axis in axes]
    picture = planes[0] if len(planes) == 1 else _arranged(planes)
    return picture if colour else picture[..., 0]


def write_thumbnail(path: str | Path, volume: Volume) -> None:
    """A thumbnail as a PNG file, whole or not at all."""
    from PIL import Image

    with atomic(path) as partial:
        Image.fromarray(thumbnail(volume)).save(partial, format="PNG", optimize=True)


def _axes(volume: Volume) -> tuple[int, ...]:
    """Which anatomical axes to look along (2 axial, 1 coronal, 0 sagittal)."""
    spacing = np.array(volume.spacing_mm)
    across = int(spacing.argmax()) if spacing.max() >= THICK_FROM * spacing.min() else 2
    thick = spacing.max() >= THICK_FROM * spacing.min()
    if thick or min(volume.shape) < 8:
        flat = int(np.argmin(volume.shape)) if min(volume.shape) < 8 else across
        return (closest_axes(volume.affine)[flat],)
    return (2, 1, 0)


def _eight_bits(values: np.ndarray, *, hounsfield: bool) -> np.ndarray:
    sample = values.ravel()[:: max(values.size // SAMPLED, 1)]
    low, high = SOFT_TISSUE_HU if hounsfield else np.percentile(sample, (1, 99))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def _plane(grey: np.ndarray, spacing_mm: tuple[float, float, float], axis: int, per_mm: float) -> np.ndarray:
    """The middle slice across one axis of an LPS array `(C, I, J, K)`, resized, as `(rows, columns, C)`."""
    from PIL import Image

    middle = np.take(grey, grey.shape[axis + 1] // 2, axis=axis + 1)
    across, down = [other for other in range(3) if other != axis]
    picture = middle.transpose(2, 1, 0)  # rows, columns, channels
    if axis != 2:
        picture = picture[::-1]  # superior is up
    width = max(round(picture.shape[1] * spacing_mm[across] * per_mm), 1)
    height = max(round(picture.shape[0] * spacing_mm[down] * per_mm), 1)
    layers = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(picture[..., c])).resize((width, height), Image.Resampling.LANCZOS)
        )
        for c in range(picture.shape[2])
    ]
    return np.stack(layers, axis=-1)


def _arranged(planes: list[np.ndarray]) -> np.ndarray:
    """Axial and coronal above, sagittal below on the left, each in the middle of its field."""
    axial, coronal, sagittal = planes
    above, below = max(axial.shape[0], coronal.shape[0]), sagittal.shape[0]
    left, right = max(axial.shape[1], sagittal.shape[1]), coronal.shape[1]
    canvas = np.zeros((above + below, left + right, axial.shape[2]), dtype=np.uint8)
    for plane, top, height, start, width in (
        (axial, 0, above, 0, left),
        (coronal, 0, above, left, right),
        (sagittal, above, below, 0, left),
    ):
        row, column = top + (height - plane.shape[0]) // 2, start + (width - plane.shape[1]) // 2
        canvas[row : row + plane.shape[0], column : column + plane.shape[1]] = plane
    return canvas


def sides_of(placed: int, of: int) -> str:
    """Which side of a picture is the patient's right, where `placed` of so many images say it.

    >>> sides_of(1, 1)
    "The patient's right is on the left."
    """
    if placed == 0:
        return "Sides as stored: the images do not say which is which."
    return f"The patient's right is on the left{'' if placed == of else ' where the image says which it is'}."
