"""Pictures of masks on the images they belong to, and the blocks of an outlining's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.data.masks_plan import SegmentPlan
from radfoundry.data.thumbnails import sides_of
from radfoundry.records import Estimate, counted
from radfoundry.runs import atomic
from radfoundry.volume import Volume, closest_axes

SIDE_PIXELS = 320
TRUTH, DRAWN, BOTH = (64, 224, 96), (255, 80, 200), (255, 240, 90)
THICK_FROM = 2.0


def overlay(volume: Volume, truth: np.ndarray | None, drawn: np.ndarray) -> np.ndarray:
    """The slice with most of the structures, (rows, columns, 3) bytes: plain on the left, outlined on the right.

    Green is the true outline, magenta the drawn one, yellow both. The patient's right is on the left.
    """
    seen = drawn > 0 if truth is None else (truth > 0) | (drawn > 0)
    axis = _across(volume)
    areas = seen.sum(axis=tuple(other for other in range(3) if other != axis))
    at = int(areas.argmax()) if areas.any() else volume.shape[axis] // 2
    grey = volume.array.mean(axis=0)
    size = [1 if other == axis else n for other, n in enumerate(volume.shape)]
    start = [at if other == axis else 0 for other in range(3)]
    layers = [grey, np.zeros_like(grey) if truth is None else truth, drawn]
    cut = [_upright(volume.with_array(layer[None].astype(np.float32)).crop(start, size)) for layer in layers]
    low, high = np.percentile(cut[0], (1, 99))
    plain = np.clip((cut[0] - low) / max(float(high - low), 1e-6), 0, 1) * 255
    factor = max(1, round(SIDE_PIXELS / max(plain.shape)))
    big = [np.kron(part, np.ones((factor, factor))) for part in (plain, cut[1], cut[2])]
    left = np.repeat(big[0][..., None], 3, axis=2).astype(np.uint8)
    right = left.copy()
    true, own = (_edge(layer) for layer in big[1:])
    for edge, colour in ((true, TRUTH), (own, DRAWN), (true & own, BOTH)):
        right[edge] = colour
    return np.concatenate([left, np.zeros((len(left), 6, 3), np.uint8), right], axis=1)


def _across(volume: Volume) -> int:
    """The array axis to look along: that of the slices where they are thick or single, else head to foot."""
    spacing = np.array(volume.spacing_mm)
    if min(volume.shape) == 1:
        return int(np.argmin(volume.shape))
    if spacing.max() >= THICK_FROM * spacing.min():
        return int(spacing.argmax())
    return closest_axes(volume.affine).index(2)


def _upright(volume: Volume) -> np.ndarray:
    """A one-slice volume as (rows, columns), in radiological convention and in proportion."""
    turned = volume.reorient("LPS")
    axis = int(np.argmin(turned.shape))
    picture = np.take(turned.array[0], 0, axis=axis).T
    if axis != 2:
        picture = picture[::-1]
    across, down = [other for other in range(3) if other != axis]
    ratio = turned.spacing_mm[down] / turned.spacing_mm[across]
    rows = np.linspace(0, len(picture) - 1, max(1, round(len(picture) * max(ratio, 1.0)))).round().astype(int)
    columns = np.linspace(0, picture.shape[1] - 1, max(1, round(picture.shape[1] * max(1 / ratio, 1.0))))
    return picture[rows][:, columns.round().astype(int)]


def _edge(layer: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another label."""
    found = np.zeros(layer.shape, bool)
    found[:-1] |= layer[:-1] != layer[1:]
    found[:, :-1] |= layer[:, :-1] != layer[:, 1:]
    return found


def write_overlay(path: Path, picture: np.ndarray) -> None:
    """The picture as PNG, whole or not at all."""
    from PIL import Image

    with atomic(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG", optimize=True)


NO_SIZE = "the images state no pixel size: lengths and areas are counted as if a pixel were 1 mm wide"


def pictures(
    folder: Path, shown: Mapping[str, tuple[Volume, np.ndarray | None, np.ndarray, str]], *, placed: bool = True
) -> dict[str, Any]:
    """A block of overlays: name -> (image, true classes, drawn classes, caption)."""
    images = []
    for name, (volume, truth, drawn, caption) in shown.items():
        place = f"overlay-{name}.png"
        write_overlay(folder / place, overlay(volume, truth, drawn))
        images.append({"png": place, "caption": caption})
    note = f"Green: the true outline. Magenta: the drawn one. Yellow: both. {sides_of(int(placed), 1)}"
    return {"kind": "thumbnails", "title": "Best, median and worst", "images": images, "note": note, "large": True}


def plan_facts(plan: SegmentPlan) -> dict[str, Any]:
    """The plan as a block of facts."""
    spacing = "as stored" if plan.spacing_mm is None else " x ".join(f"{step:.3g}" for step in plan.spacing_mm) + " mm"
    items = [
        ["structures", ", ".join(plan.labels)],
        ["voxel size", spacing],
        ["patch", " x ".join(map(str, plan.patch)) + (", the whole image" if plan.whole else "")],
        ["grey values", plan.intensity],
        ["levels", ", ".join(map(str, plan.widths)) + " channels"],
        ["learned from", _taught(plan.fingerprint)],
    ]
    return {"kind": "facts", "title": "Plan", "items": items}


def _taught(seen: Mapping[str, Any]) -> str:
    return f"{counted(seen['images'], 'image')} of {counted(seen['patients'], 'patient')}"


def summary(name: str, metrics: Mapping[str, Estimate], *, tested: int, control: bool) -> dict[str, Any]:
    """What was found, in three sentences that name the better of the two."""
    gap = metrics.get("segmenter-minus-unet/dice")
    lines = [
        f"{name} outlined {counted(tested, 'image')} of patients it had not seen with a mean Dice of {metrics['dice']}."
    ]
    if gap is not None:
        better = "better than" if gap.low > 0 else "worse than" if gap.high < 0 else "not told apart from"
        lines.append(
            f"A U-Net from scratch with the same images and as many steps reached {metrics['unet/dice']}: "
            f"ours is {better} it by {gap.text(3)}."
        )
    if control:
        lines.append("The masks were dealt out to other patients on purpose: this is a negative control.")
    return {"kind": "text", "title": "Summary", "paragraphs": lines}


def measure_blocks(limits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Bland-Altman plots of the first few measures."""
    from radfoundry.tasks.pages import limits_of_agreement

    chosen = [key for key in limits if key.startswith(("volume_ml", "area_cm2"))][:3]
    note = "Drawn minus true. Lines: bias and limits of agreement."
    return [
        limits_of_agreement(f"Bland-Altman: {key.replace('_', ' ')}", limits[key], unit=_unit(key), note=note)
        for key in chosen
        if limits[key].bias.defined
    ]


def _unit(key: str) -> str:
    return "ml" if key.startswith("volume") else "cm²"


def score_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first images with their scores, as a table."""
    columns = [
        {"key": key, "label": key.replace("_", " ")} for key in ("case", "structure", "model", "dice", "hd95_mm")
    ]
    shown = [
        {
            **{key: str(row[key]) for key in ("case", "structure", "model")},
            **{key: "undefined" if np.isnan(row[key]) else f"{row[key]:.3g}" for key in ("dice", "hd95_mm")},
        }
        for row in rows[:40]
    ]
    note = f"The first {len(shown)} of {len(rows)}; all are in scores.csv." if len(rows) > len(shown) else ""
    return {"kind": "table", "title": "Image by image", "note": note, "columns": columns, "rows": shown}
