"""Pictures of true and found places, and the blocks of a localiser's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.records import Estimate
from radfoundry.runs import atomic
from radfoundry.volume import Volume, points_to_voxels

SIDE_PIXELS = 240
TRUTH, FOUND = (64, 224, 96), (255, 80, 200)
ARM_PIXELS = 9


def picture(volume: Volume, found: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Slices through the place, (rows, columns, 3) bytes: axial, coronal and sagittal, or the film itself.

    found and truth: (points, 3) RAS mm. Green marks the true place and its box, magenta the found one. Slices go
    through the true place where it is known. The patient's right is on the left.
    """
    turned = volume.reorient("LPS") if min(volume.shape) > 1 else volume
    grey = turned.array.mean(axis=0)
    low, high = np.percentile(grey, (1, 99))
    grey = (np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    through = points_to_voxels(turned.affine, (found if truth is None else truth)[:1])[0]
    marks = [(points, colour) for points, colour in ((truth, TRUTH), (found, FOUND)) if points is not None]
    placed = [(points_to_voxels(turned.affine, points), colour) for points, colour in marks]
    flat = [axis for axis in range(3) if grey.shape[axis] == 1]
    views = [_view(grey, turned.spacing_mm, axis, through, placed) for axis in (flat or [2, 1, 0])]
    height = max(len(view) for view in views)
    padded = [np.pad(view, ((0, height - len(view)), (0, 6), (0, 0))) for view in views]
    return np.concatenate(padded, axis=1)[:, :-6]


def _view(
    grey: np.ndarray, spacing_mm: tuple[float, ...], axis: int, through: np.ndarray, placed: Sequence[Any]
) -> np.ndarray:
    """One slice across an axis, head up, in proportion, with crosses and boxes."""
    at = int(np.clip(round(float(through[axis])), 0, grey.shape[axis] - 1))
    across, down = [other for other in range(3) if other != axis]
    cut = np.take(grey, at, axis=axis).T
    wide, tall = (grey.shape[side] * spacing_mm[side] for side in (across, down))
    scale = SIDE_PIXELS / max(wide, tall)
    size = (max(1, round(tall * scale)), max(1, round(wide * scale)))
    rows = np.minimum((np.arange(size[0]) + 0.5) * len(cut) / size[0], len(cut) - 1).astype(int)
    columns = np.minimum((np.arange(size[1]) + 0.5) * cut.shape[1] / size[1], cut.shape[1] - 1).astype(int)
    drawn = np.repeat(cut[rows][:, columns][..., None], 3, axis=2)
    upside = axis != 2 and 1 not in grey.shape  # LPS counts up towards the head, pictures towards the feet
    if upside:
        drawn = drawn[::-1].copy()
    for points, colour in placed:
        places = (points[:, [down, across]] + 0.5) * np.array(size) / np.array([grey.shape[down], grey.shape[across]])
        if upside:
            places[:, 0] = size[0] - places[:, 0]
        _cross(drawn, places[0], colour)
        if len(places) == 3:
            _box(drawn, places[1], places[2], colour)
    return drawn


def _cross(drawn: np.ndarray, place: np.ndarray, colour: tuple[int, int, int]) -> None:
    row, column = (int(value) for value in place)
    for step in range(-ARM_PIXELS, ARM_PIXELS + 1):
        for r, c in ((row + step, column), (row, column + step)):
            if 0 <= r < drawn.shape[0] and 0 <= c < drawn.shape[1] and step != 0:
                drawn[r, c] = colour


def _box(drawn: np.ndarray, one: np.ndarray, other: np.ndarray, colour: tuple[int, int, int]) -> None:
    last = np.array(drawn.shape[:2]) - 1
    low = np.clip(np.minimum(one, other), 0, last).astype(int)
    high = np.clip(np.maximum(one, other), 0, last).astype(int)
    drawn[low[0] : high[0] + 1, [low[1], high[1]]] = colour
    drawn[[low[0], high[0]], low[1] : high[1] + 1] = colour


def pictures(folder: Path, shown: Sequence[tuple[Volume, np.ndarray, np.ndarray | None, str]], *, title: str) -> Any:
    """A block of pictures: (image, found, truth or None, caption) each."""
    from PIL import Image

    images = []
    for number, (volume, found, truth, caption) in enumerate(shown):
        place = f"pictures/place-{number:02d}.png"
        with atomic(folder / place) as partial:
            Image.fromarray(picture(volume, found, truth)).save(partial, format="PNG", optimize=True)
        images.append({"png": place, "caption": caption})
    true = "Green: the true place. " if any(truth is not None for _, _, truth, _ in shown) else ""
    note = f"{true}Magenta: the found place. The patient's right is on the left."
    return {"kind": "thumbnails", "title": title, "images": images, "note": note, "large": True}


def summary(about: str, encoder: str, metrics: Mapping[str, Estimate], *, count: int, control: bool) -> dict[str, Any]:
    """What was found, beside the answers that need no image, in sentences."""
    ours = metrics["error-mm"]
    lines = [
        f"{about} Votes of the frozen features of {encoder} were off by {ours.text(1)} mm in the median, on {count} "
        f"patients it had not seen.",
    ]
    for name, words in (
        ("mean-place", "the mean place in the scan"),
        ("scan-centre", "the middle of the scan"),
        ("untrained", "the same network untrained"),
    ):
        if f"{name}/error-mm" in metrics:
            gap = metrics[f"localiser-minus-{name}/error-mm"]
            better = "nearer than" if gap.high < 0 else "further off than" if gap.low > 0 else "not told apart from"
            lines.append(f"{better.capitalize()} {words} ({metrics[f'{name}/error-mm'].text(1)} mm).")
    if control:
        lines.append("The places were dealt out to other patients on purpose: this is a negative control.")
    return {"kind": "text", "title": "Summary", "paragraphs": lines}
