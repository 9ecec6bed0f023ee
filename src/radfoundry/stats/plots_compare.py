"""Figures that set things side by side: forest, agreement, Bland-Altman, critical difference, embedding map."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry.records import Estimate, InputError
from radfoundry.stats.plots_style import (
    GREY,
    INK,
    MARKERS,
    PALETTE,
    columns,
    estimate_of,
    label_of,
    legend,
    limits,
    new_axes,
    number,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNKNOWN = "not known"
MAP_IN = 3.05
# A white plate behind words, so that no line crosses them.
PLATE: Any = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}


def plot_forest(
    rows: Sequence[Mapping[str, Any]], *, axis: str, reference: float | None = None, axes: Axes | None = None
) -> Axes:
    """One line per model, site or subgroup: its number as a square and its interval as a bar.

    Each row: `label` and `estimate`. `axis` names the quantity with its unit; `reference` is the value of no
    effect. A row whose estimate is undefined keeps its place and says why.
    """
    if not rows:
        raise InputError("no row to draw", where="forest plot", remedy="give at least one")
    estimates = [estimate_of(row["estimate"]) for row in rows]
    with style():
        drawn = axes if axes is not None else new_axes(height_in=0.9 + 0.46 * len(rows))
        if reference is not None:
            drawn.axvline(reference, color=GREY, linestyle=(0, (4, 3)), linewidth=1.0)
        for place, (row, estimate) in enumerate(zip(rows, estimates, strict=True)):
            _draw_interval(drawn, place, estimate)
            # Name and number stand above the bar, so that long names need no margin on a narrow screen.
            across = drawn.get_yaxis_transform()
            told: Any = {"transform": across, "fontsize": 8.5, "va": "center", "bbox": PLATE}
            drawn.text(0, place - 0.36, label_of(row["label"]), **told)
            drawn.text(1, place - 0.36, str(estimate), ha="right", **told)
        drawn.set_ylim(len(rows) - 0.4, -0.75)
        spread = [[e.value, e.low, e.high] for e in estimates] + ([[reference] * 3] if reference is not None else [])
        drawn.set_xlim(*limits(np.asarray(spread, dtype=float)))
        drawn.set_yticks([])
        drawn.spines["left"].set_visible(False)
        drawn.grid(visible=False, axis="y")
        drawn.set_xlabel(axis if reference is None else f"{axis} (dashed: {number(reference)})")
    return drawn


def _draw_interval(axes: Axes, place: float, estimate: Estimate) -> None:
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        axes.plot([estimate.low, estimate.high], [place, place], color=PALETTE[0], linewidth=2.0)
        axes.plot([estimate.low, estimate.high], [place, place], color=PALETTE[0], linestyle="none", marker="|")
    if estimate.defined:
        axes.plot([estimate.value], [place], color=PALETTE[0], marker="s", markersize=6.5, linestyle="none")


def plot_agreement(
    x: Sequence[float], y: Sequence[float], *, x_label: str, y_label: str, axes: Axes | None = None
) -> Axes:
    """Predicted against true values on equal axes; the line is where both are the same."""
    first, second = columns({"x": x, "y": y}, ("x", "y"), where="agreement")
    with style():
        drawn = axes if axes is not None else new_axes(height_in=4.5)
        low, high = limits(first, second)
        drawn.plot([low, high], [low, high], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="identical")
        alpha = 0.75 if len(first) <= 300 else 0.35
        drawn.scatter(
            first, second, s=22, color=PALETTE[0], alpha=alpha, edgecolor="white", linewidth=0.5, label="case"
        )
        drawn.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel=x_label, ylabel=y_label)
        legend(drawn, own=axes is None)
    return drawn


def plot_bland_altman(
    mean: Sequence[float],
    difference: Sequence[float],
    *,
    bias: Estimate,
    agreement_limits: tuple[Estimate, Estimate],
    unit: str,
    axes: Axes | None = None,
) -> Axes:
    """The difference of two measurements against their mean, with bias and limits of agreement, all with intervals.

    Bland and Altman, Lancet 1986;327:307-310. `agreement_limits` are the lower and upper limit.
    """
    middle, gap = columns({"mean": mean, "difference": difference}, ("mean", "difference"), where="Bland-Altman")
    lines = (
        ("bias", bias, "-"),
        ("lower limit", agreement_limits[0], "--"),
        ("upper limit", agreement_limits[1], "--"),
    )
    with style():
        drawn = axes if axes is not None else new_axes(height_in=4.3)
        drawn.axhline(0, color=GREY, linewidth=0.8)
        drawn.scatter(middle, gap, s=22, color=PALETTE[0], alpha=0.75, edgecolor="white", linewidth=0.5)
        for name, item, dash in lines:
            estimate = estimate_of(item)
            colour = PALETTE[1] if name == "bias" else PALETTE[3]
            drawn.axhspan(estimate.low, estimate.high, color=colour, alpha=0.14, linewidth=0)
            drawn.axhline(estimate.value, color=colour, linestyle=dash, linewidth=1.4, label=f"{name}: {estimate}")
        spread = np.asarray([[item.low, item.value, item.high] for _, item, _ in lines])
        drawn.set_ylim(*limits(gap, spread, np.zeros(1)))
        drawn.set_xlabel(f"Mean of both measurements ({unit})")
        drawn.set_ylabel(f"Difference ({unit})")
        legend(drawn, own=axes is None)
    return drawn


def plot_critical_difference(
    names: Sequence[str],
    ranks: Sequence[Estimate],
    *,
    difference: float,
    groups: Sequence[Sequence[str]] = (),
    axes: Axes | None = None,
) -> Axes:
    """Models along the line of average ranks (1 is best); a bar joins those the data cannot tell apart.

    Demšar, J Mach Learn Res 2006;7:1-30. `ranks` come with their intervals (drawn pale), `difference` is the
    critical difference, `groups` the sets of names that do not differ.
    """
    if len(names) != len(ranks) or not names:
        raise InputError(f"{len(names)} names and {len(ranks)} ranks", where="critical difference")
    places = {name: estimate_of(rank) for name, rank in zip(names, ranks, strict=True)}
    unknown = sorted({name for group in groups for name in group} - set(places))
    if unknown:
        raise InputError(f"groups name unranked models: {', '.join(unknown)}", where="critical difference")
    ordered = sorted(places, key=lambda name: places[name].value)
    top = 1.0 + 0.55 * len(groups)
    depth = top + 0.8 * len(ordered)
    with style():
        drawn = axes if axes is not None else new_axes(height_in=0.7 + 0.26 * depth)
        spread = np.asarray([[e.low, e.value, e.high] for e in places.values()] + [[1.0, 1.0, 1.0 + difference]])
        low, high = limits(spread, margin=0.03)
        for place, name in enumerate(ordered):
            _draw_rank(drawn, label_of(name), places[name], (top + 0.8 * place, low, high))
        for place, group in enumerate(groups):
            ends = [places[name].value for name in group]
            level = 0.75 + 0.55 * place
            drawn.plot([min(ends), max(ends)], [level, level], color=INK, linewidth=4, solid_capstyle="round")
        drawn.plot([1, 1 + difference], [-1.0, -1.0], color=INK, linewidth=1.6, marker="|", markersize=8)
        drawn.text(1, -1.45, f"critical difference {number(round(difference, 2))}", fontsize=8.5, va="bottom")
        drawn.set(xlim=(low, high), ylim=(depth, -2.4), yticks=[])
        drawn.spines[["left", "bottom"]].set_visible(False)
        drawn.xaxis.set_ticks_position("bottom")
        drawn.grid(visible=False, axis="y")
        drawn.set_xlabel("Average rank (1 is best); pale bars: intervals")
    return drawn


def _draw_rank(axes: Axes, name: str, rank: Estimate, place: tuple[float, float, float]) -> None:
    """One model: a stem from the top, its interval as a pale bar, and its name on the side with more room."""
    level, low, high = place
    axes.plot([rank.value, rank.value], [0, level], color=GREY, linewidth=0.8)
    if math.isfinite(rank.low) and math.isfinite(rank.high):
        axes.plot([rank.low, rank.high], [level, level], color=PALETTE[5], linewidth=5, alpha=0.55)
    axes.plot([rank.value], [level], color=PALETTE[0], marker="o", markersize=5.5)
    right = rank.value < (low + high) / 2
    edge = max(rank.value, rank.high) if right else min(rank.value, rank.low)
    edge = edge if math.isfinite(edge) else rank.value
    text = f"  {name} {rank}" if right else f"{name} {rank}  "
    axes.text(edge, level, text, ha="left" if right else "right", va="center", fontsize=8.5, bbox=PLATE)


def plot_map(
    x: Sequence[float], y: Sequence[float], labels: Sequence[Any], *, title: str, axes: Axes | None = None
) -> Axes:
    """Every image as a point, alike ones close together, coloured by one label: do sites or patients cluster?

    Numbers get a colour scale, words a colour and marker each (the six commonest; the rest are "other").
    The axes of such a map have no unit and no direction of their own.
    """
    first, second = columns({"x": x, "y": y}, ("x", "y"), where=f"map of {title}")
    if len(labels) != len(first):
        raise InputError(f"{len(labels)} labels for {len(first)} points", where=f"map of {title}")
    with style():
        # The height follows the legend, so that every map of a row has a square of the same size.
        entries = 3.4 if _is_scale(labels) else min(len({*map(str, labels)}), len(PALETTE) + 1)
        drawn = axes if axes is not None else new_axes(width_in=MAP_IN, height_in=MAP_IN + 0.3 + 0.19 * entries)
        if _is_scale(labels):
            values = np.asarray(labels, dtype=float)
            points = drawn.scatter(first, second, c=values, cmap="cividis", s=16, linewidth=0)
            drawn.figure.colorbar(points, ax=drawn, location="bottom", label=title, shrink=0.9)
        else:
            _draw_groups(drawn, first, second, labels)
            legend(drawn, own=axes is None)
        drawn.set(xticks=[], yticks=[], title=f"by {title}")
        drawn.set_box_aspect(1)
        drawn.spines[["top", "right"]].set_visible(True)
    return drawn


def _is_scale(labels: Sequence[Any]) -> bool:
    known = [label for label in labels if label is not None]
    numeric = all(isinstance(label, (int, float)) and not isinstance(label, bool) for label in known)
    return bool(known) and numeric and len(set(known)) > len(PALETTE)


def _draw_groups(axes: Axes, x: np.ndarray, y: np.ndarray, labels: Sequence[Any]) -> None:
    words = [UNKNOWN if label is None else str(label) for label in labels]
    counts = Counter(word for word in words if word != UNKNOWN)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    named = sorted(ranked) if len(ranked) <= len(PALETTE) else sorted(ranked[: len(PALETTE) - 1])
    groups = [word if word in named or word == UNKNOWN else "other" for word in words]
    for word in dict.fromkeys([*named, "other", UNKNOWN]):
        chosen = np.asarray([group == word for group in groups])
        if not chosen.any():
            continue
        index = named.index(word) if word in named else len(PALETTE) - 1
        pale = word in ("other", UNKNOWN) and word not in named
        colour, marker = ("#b5bbc2", "h") if pale else (PALETTE[index], MARKERS[index])
        told = f"{label_of(word)} ({chosen.sum()})"
        axes.scatter(
            x[chosen], y[chosen], s=20, color=colour, marker=marker, label=told, edgecolor="white", linewidth=0.4
        )
