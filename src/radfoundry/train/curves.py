"""The course of a training run as pictures: losses, probes, and crops as the encoder saw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.records import Estimate
from radfoundry.stats import plots_style as look
from radfoundry.train.batches import Batch

PROBES = {
    "position": "place: median error, mm",
    "retrieval": "found in the other sequence",
    "sequence": "sequence named rightly",
    "lesion": "lesion, AUROC",
    "report-retrieval": "own report among 10 nearest",
    "site": "site named rightly",
    "effective-rank": "directions used",
}
Block = dict[str, Any]


def blocks(
    history: Sequence[Mapping[str, Any]], checked: Sequence[Mapping[str, Any]], batch: Batch | None, folder: Path
) -> list[Block]:
    """Picture blocks for a run page; the PNG files are written into the run's folder."""
    made: list[Block] = []
    if len(history) > 1:
        loss_curves(history, folder / "losses.png")
        made.append(_pictures("Losses", "losses.png", "Each part of the loss over the steps; lower is better."))
    if len(checked) > 1:
        probe_curves(checked, folder / "probes.png")
        caption = "Held-out simulated patients, asked while the encoder learned. Bars are 95 % intervals."
        made.append(_pictures("What can be read from the features", "probes.png", caption))
    if batch is not None:
        crops(batch, folder / "crops.png")
        caption = "Held-out crops: a row is one place in one patient, the columns are its sequences."
        made.append(_pictures("What the encoder sees", "crops.png", caption))
    return made


def speed(history: Sequence[Mapping[str, Any]], *, batch: int) -> list[Block]:
    """How fast the last steps were and how much of them was waiting."""
    if not history:
        return []
    last = history[-1]
    text = (
        f"{last['steps_per_second'] * batch:.1f} patients a second, {last['waiting_share']:.0%} of it waiting for data"
    )
    return [{"kind": "facts", "title": "Speed", "items": [["last steps", text]]}]


def _pictures(title: str, png: str, caption: str) -> Block:
    return {"kind": "thumbnails", "title": title, "images": [{"png": png, "caption": caption}]}


def loss_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One small panel for every term."""
    names = sorted({name for line in history for name in line["terms"]}, key=lambda name: (name != "loss", name))
    panels = {
        name: [(line["step"], line["terms"][name]) for line in history if line["terms"].get(name) is not None]
        for name in names
    }
    with look.style():
        axes = _grid(len(panels))
        for place, (name, points) in zip(axes, panels.items(), strict=True):
            steps, values = np.array(points, float).T
            place.plot(steps, values, color=look.PALETTE[0], linewidth=0.8, alpha=0.5)
            place.plot(steps, smoothed(values), color=look.PALETTE[0])
            place.set_title(name)
            place.set_xlabel("step")
        _save(axes[0], path)


def probe_curves(checked: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One small panel for every probe, with its interval."""
    names = [name for name in PROBES if any(isinstance(line.get(name), Estimate) for line in checked)]
    with look.style():
        axes = _grid(len(names))
        for place, name in zip(axes, names, strict=True):
            lines = [line for line in checked if isinstance(line.get(name), Estimate) and line[name].defined]
            steps = np.array([line["step"] for line in lines], float)
            values, low, high = (
                np.array([getattr(line[name], part) for line in lines], float) for part in ("value", "low", "high")
            )
            if np.isfinite(low).all():
                place.fill_between(steps, low, high, color=look.PALETTE[0], alpha=0.18, linewidth=0)
            place.plot(steps, values, color=look.PALETTE[0], marker="o", markersize=3)
            place.set_title(PROBES[name])
            place.set_xlabel("step")
        _save(axes[0], path)


def crops(batch: Batch, path: Path, *, patients: int = 4) -> None:
    """Middle axial slices of a few patients in all their views, in radiological convention."""
    images = batch.images[:patients].float().cpu().numpy()
    middle = images[..., images.shape[-1] // 2]
    with look.style():
        from matplotlib.figure import Figure

        rows, columns = middle.shape[:2]
        figure = Figure(figsize=(1.5 * columns, 1.5 * rows), layout="constrained")
        for number, image in enumerate(middle.reshape(-1, *middle.shape[2:])):
            place = figure.add_subplot(rows, columns, number + 1)
            low, high = np.percentile(image, [1, 99.5])
            # Row: front at the top; column: the patient's left at the viewer's right.
            place.imshow(
                image[::-1].T[::-1], cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest"
            )
            place.set_axis_off()
        _write(figure, path)


def smoothed(values: np.ndarray, *, window: int = 15) -> np.ndarray:
    """The mean over neighbours, fewer at the ends."""
    half = min(window, len(values) // 4) // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def _grid(count: int) -> list[Any]:
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(2.9 * columns, 2.1 * rows), layout="constrained")
    return [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def _save(axes: Any, path: Path) -> None:
    _write(look.figure_of(axes), path)


def _write(figure: Any, path: Path) -> None:
    with runs.atomic(path) as partial:
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
