"""Pictures and tables of a detector's run page: films with true and marked boxes, curves, and what was paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.records import Estimate
from radfoundry.runs import atomic
from radfoundry.stats.froc import Froc
from radfoundry.tasks.detect import Example
from radfoundry.tasks.detect_fit import Marked
from radfoundry.volume import Volume

TRUE, SAID = (60, 200, 90), (235, 70, 200)
SIDE = 288
SHOWN = 6


def picture(volume: Volume, true: np.ndarray, marked: Marked, *, cut: float) -> np.ndarray:
    """A slice with true boxes in green and marks at or above the cut in magenta, `(rows, columns, 3)` 8-bit.

    Of a volume the slice through the middle of the first true box, else of the surest mark, is shown. Columns run
    along the image's first axis and rows along its second, turned so that the patient's right is on the left where
    the header says so.
    """
    from PIL import Image

    boxes = marked.boxes[marked.ratings >= cut]
    some = true if len(true) else marked.boxes[:1]
    level = int((some[0, 2] + some[0, 5]) / 2) if len(some) else volume.shape[2] // 2
    level = min(max(level, 0), volume.shape[2] - 1)
    values = volume.array[0, :, :, level].astype(np.float32)
    low, high = np.percentile(values, [1, 99])
    grey = np.clip((values - low) / max(float(high - low), 1e-9), 0, 1)
    extent = np.array(values.shape) * np.array(volume.spacing_mm[:2])
    size = np.maximum(1, np.rint(extent * SIDE / extent.max())).astype(int)
    scale = np.tile([*(size / np.array(values.shape)), 1.0], 2)
    image = Image.fromarray((grey.T * 255).astype(np.uint8)).resize(
        (int(size[0]), int(size[1])), Image.Resampling.BILINEAR
    )
    canvas = np.stack([np.asarray(image)] * 3, axis=-1)
    for found, colour in ((true, TRUE), (boxes, SAID)):
        for box in found:
            if box[2] - 0.5 <= level <= box[5] + 0.5:
                _frame(canvas, box * scale, colour)
    return _hung(canvas, volume)


def _hung(canvas: np.ndarray, volume: Volume) -> np.ndarray:
    """Turned so that the patient's right is on the left and the head or the front is up, where axes allow it."""
    first, second = volume.orientation[0], volume.orientation[1]
    if first == "R":
        canvas = canvas[:, ::-1]
    if second in ("S", "A"):
        canvas = canvas[::-1]
    return np.ascontiguousarray(canvas)


def _frame(canvas: np.ndarray, box: np.ndarray, colour: tuple[int, int, int]) -> None:
    height, width = canvas.shape[:2]
    x0, x1 = (int(np.clip(value, 0, width - 1)) for value in (box[0], box[3]))
    y0, y1 = (int(np.clip(value, 0, height - 1)) for value in (box[1], box[4]))
    for thick in (0, 1):
        canvas[min(y0 + thick, y1), x0 : x1 + 1] = colour
        canvas[max(y1 - thick, y0), x0 : x1 + 1] = colour
        canvas[y0 : y1 + 1, min(x0 + thick, x1)] = colour
        canvas[y0 : y1 + 1, max(x1 - thick, x0)] = colour


def pictures(
    folder: Path, examples: Sequence[Example], said: Sequence[Marked], *, cut: float, title: str = "Marks"
) -> dict[str, Any]:
    """Films of the tested: found, missed, and false marks, a few of each; written as PNG below the folder."""
    from PIL import Image

    images = []
    for place in _chosen(examples, said):
        example, marked = examples[place], said[place]
        name = f"pictures/{place:04d}.png"
        with atomic(folder / name) as partial:
            drawn = picture(example.series.load(), example.boxes, marked, cut=cut)
            Image.fromarray(drawn).save(partial, format="PNG", optimize=True)
        images.append({"png": name, "caption": f"score {marked.score:.2f}, {len(example.boxes)} true"})
    note = f"Green: the true box. Magenta: marks of at least {cut:.2f}, where half of the lesions or more are marked."
    return {"kind": "thumbnails", "title": title, "note": note, "images": images, "large": True}


def _chosen(examples: Sequence[Example], said: Sequence[Marked]) -> list[int]:
    """Images with findings of high, middle and low score, and the normal ones of highest score."""
    scores = np.array([marked.score for marked in said])
    ill = [place for place in np.argsort(-scores) if examples[place].present]
    well = [place for place in np.argsort(-scores) if not examples[place].present]
    spread = [ill[round(share * (len(ill) - 1))] for share in (0.0, 0.33, 0.67, 1.0)] if ill else []
    return list(dict.fromkeys([*spread, *well[: SHOWN - 4]]))


def cut_of(said: Sequence[Marked], examples: Sequence[Example]) -> float:
    """The rating that the surest mark of half of the images with findings reaches."""
    best = [
        float(marked.ratings.max())
        for marked, one in zip(said, examples, strict=True)
        if one.present and len(marked.ratings)
    ]
    return float(np.median(best)) if best else 0.5


def curves(named: Mapping[str, Froc]) -> dict[str, Any]:
    """Free-response curves as one block."""
    drawn = [
        {
            "name": name,
            "false_positives": curve.grid.tolist(),
            "sensitivity": curve.middle.tolist(),
            "low": curve.low.tolist(),
            "high": curve.high.tolist(),
            "estimate": curve.mean.to_dict(),
        }
        for name, curve in named.items()
        if len(curve.grid)
    ]
    return {"kind": "froc", "title": "Found lesions against false marks", "curves": drawn}


def budget(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What each way of spending the same sum gave."""
    columns = [
        ("boxed", "images with boxes"),
        ("labelled", "images with a label only"),
        ("auroc", "AUROC"),
        ("jafroc", "JAFROC"),
    ]
    shown = [
        {key: value.to_dict() if isinstance(value, Estimate) else str(value) for key, value in row.items()}
        for row in rows
    ]
    note = "Every row costs the same. The surest way may differ elsewhere: boxes cost more where findings are many."
    listed = [{"key": key, "label": name} for key, name in columns]
    return {"kind": "table", "title": "Boxes or labels for one sum", "note": note, "columns": listed, "rows": shown}
