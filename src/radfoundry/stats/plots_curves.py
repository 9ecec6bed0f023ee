"""Figures that follow one quantity along another: ROC, free-response, calibration, survival, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry.records import InputError
from radfoundry.stats.plots_style import (
    DASHES,
    GREY,
    MARKERS,
    PALETTE,
    columns,
    estimate_of,
    figure_of,
    label_of,
    legend,
    limits,
    new_axes,
    number,
    style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = Mapping[str, Any]


def _look(index: int) -> tuple[str, Any, str]:
    return PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)]


def _named(curve: Curve) -> str:
    """The curve's name with its summary number, for the legend."""
    name = label_of(curve.get("name", "curve"))
    return f"{name}: {estimate_of(curve['estimate'])}" if "estimate" in curve else name


def _refuse_empty(curves: Sequence[Any], what: str) -> None:
    if not curves:
        raise InputError("no curve to draw", where=what, remedy="give at least one")


def plot_roc(curves: Sequence[Curve], *, axes: Axes | None = None) -> Axes:
    """How many sick patients are found for how many healthy ones called sick, at every cut-off, with bands.

    Each curve: `name`, `false_positive_rate`, `sensitivity`, `low`, `high` (the band around the
    sensitivity) and `estimate` (the area with its interval). Refuses columns of unequal length.
    """
    _refuse_empty(curves, "ROC")
    with style():
        drawn = axes if axes is not None else new_axes(height_in=4.4 + 0.2 * len(curves))
        drawn.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="chance")
        for index, curve in enumerate(curves):
            colour, dash, _ = _look(index)
            names = ("false_positive_rate", "sensitivity", "low", "high")
            false_positive, sensitivity, low, high = columns(curve, names, where=f"ROC of {curve.get('name')}")
            drawn.fill_between(false_positive, low, high, color=colour, alpha=0.16, linewidth=0)
            drawn.plot(false_positive, sensitivity, color=colour, linestyle=dash, label=_named(curve), clip_on=False)
        _unit_square(drawn)
        drawn.set_xlabel("1 − specificity (false positive rate)")
        drawn.set_ylabel("Sensitivity (true positive rate)")
        legend(drawn, own=axes is None)
    return drawn


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def plot_calibration(curves: Sequence[Curve], *, axes: Axes | None = None) -> Axes:
    """Whether a predicted 30 % happens in 30 of 100: observed share against predicted probability.

    Each curve: `name`, `predicted`, `observed`, `low`, `high` (interval of the observed share) and `n`
    (cases per point; the marker's area grows with it).
    """
    _refuse_empty(curves, "calibration")
    with style():
        drawn = axes if axes is not None else new_axes(height_in=4.4 + 0.2 * len(curves))
        drawn.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="perfect calibration")
        for index, curve in enumerate(curves):
            colour, dash, marker = _look(index)
            names = ("predicted", "observed", "low", "high", "n")
            predicted, observed, low, high, n = columns(curve, names, where=f"calibration of {curve.get('name')}")
            drawn.vlines(predicted, low, high, color=colour, linewidth=1.2, clip_on=False)
            drawn.plot(predicted, observed, color=colour, linestyle=dash, linewidth=1.0)
            # Area in proportion to n, with a floor that keeps the smallest bin visible.
            area = 14 + 70 * n / max(np.nanmax(n, initial=0), 1)
            drawn.scatter(predicted, observed, s=area, color=colour, marker=marker, label=_named(curve), clip_on=False)
        _unit_square(drawn)
        drawn.set_xlabel("Predicted probability")
        drawn.set_ylabel("Observed share of cases")
        legend(drawn, own=axes is None)
    return drawn


def plot_froc(curves: Sequence[Curve], *, unit: str = "image", axes: Axes | None = None) -> Axes:
    """How many lesions are found for how many false marks per image or patient (`unit`), with bands.

    Each curve: `name`, `false_positives` (per unit), `sensitivity`, `low`, `high` and optionally
    `estimate` (its summary score).
    """
    _refuse_empty(curves, "FROC")
    with style():
        drawn = axes if axes is not None else new_axes(height_in=3.6 + 0.2 * len(curves))
        furthest = 0.0
        for index, curve in enumerate(curves):
            colour, dash, _ = _look(index)
            names = ("false_positives", "sensitivity", "low", "high")
            marks, sensitivity, low, high = columns(curve, names, where=f"FROC of {curve.get('name')}")
            furthest = max(furthest, float(np.nanmax(marks, initial=0.0)))
            drawn.fill_between(marks, low, high, color=colour, alpha=0.16, linewidth=0)
            drawn.plot(marks, sensitivity, color=colour, linestyle=dash, label=_named(curve), clip_on=False)
        drawn.set(xlim=(0, furthest or 1.0), ylim=(0, 1))
        drawn.set_xlabel(f"False marks per {unit}")
        drawn.set_ylabel("Sensitivity (share of lesions found)")
        legend(drawn, own=axes is None)
    return drawn


def plot_kaplan_meier(
    curves: Sequence[Curve], *, time_unit: str, event: str = "event", axes: Axes | None = None
) -> Axes:
    """The share of patients still free of the event as time passes, with bands, censoring and numbers at risk.

    Each curve: `name`, `time`, `survival`, `low`, `high` (steps, time ascending), optionally `censored`
    (times of patients lost from view) and `at_risk` as `{"time": [...], "n": [...]}`, which is listed below
    the figure unless the axes are given.
    """
    _refuse_empty(curves, "Kaplan-Meier")
    with style():
        drawn, table = (axes, None) if axes is not None else _axes_above_table(curves)
        latest = 0.0
        for index, curve in enumerate(curves):
            colour, dash, _ = _look(index)
            names = ("time", "survival", "low", "high")
            time, survival, low, high = columns(curve, names, where=f"Kaplan-Meier of {curve.get('name')}")
            latest = max(latest, float(np.nanmax(time, initial=0.0)))
            drawn.fill_between(time, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
            drawn.step(time, survival, where="post", color=colour, linestyle=dash, label=_named(curve), clip_on=False)
            _draw_censored(drawn, curve, (time, survival), colour)
        drawn.set(xlim=(0, latest or 1.0), ylim=(0, 1))
        drawn.set_xlabel(f"Time ({time_unit})")
        drawn.set_ylabel(f"Share free of {event}")
        if table is not None:
            table.set_xlim(drawn.get_xlim())
        legend(drawn, own=axes is None)
    return drawn


def _draw_censored(axes: Axes, curve: Curve, steps: tuple[np.ndarray, np.ndarray], colour: str) -> None:
    censored = np.asarray(curve.get("censored", ()), dtype=float)
    if len(censored) and len(steps[0]):
        at = np.clip(np.searchsorted(steps[0], censored, side="right") - 1, 0, None)
        axes.plot(censored, steps[1][at], linestyle="none", marker="|", markersize=7, color=colour, clip_on=False)


def _axes_above_table(curves: Sequence[Curve]) -> tuple[Axes, Axes | None]:
    """Axes for the curves, and below them the numbers at risk where the curves bring them."""
    rows = [curve for curve in curves if curve.get("at_risk")]
    first = new_axes(height_in=3.7 + 0.2 * len(curves) + (0.2 * (len(rows) + 1) if rows else 0))
    if not rows:
        return first, None
    figure = figure_of(first)
    first.remove()
    upper, table = figure.subplots(2, 1, height_ratios=(3.1, 0.2 * (len(rows) + 1)))
    table.set(ylim=(len(rows) + 1, 0), yticks=np.arange(len(rows)) + 1.5, xticks=[])
    table.set_yticklabels([label_of(curve.get("name", "")) for curve in rows])
    table.tick_params(axis="y", length=0, pad=14)
    table.grid(visible=False)
    table.spines[["left", "bottom"]].set_visible(False)
    table.text(0, 0.5, "Number at risk", transform=table.get_yaxis_transform(), fontsize=8.5, va="center")
    for place, curve in enumerate(rows):
        for at, count in zip(*columns(curve["at_risk"], ("time", "n"), where="numbers at risk"), strict=True):
            table.text(at, place + 1.5, f"{count:.0f}", ha="center", va="center", fontsize=8.5)
    return upper, table


def plot_learning_curve(
    curves: Sequence[Curve], *, quantity: str, target: float | None = None, axes: Axes | None = None
) -> Axes:
    """How a score grows with the number of labelled cases, each point with its interval, and what is forecast.

    Each curve: `name`, `n`, `value`, `low`, `high`, and optionally `forecast` as
    `{"n", "value", "low", "high"}`, drawn dashed with its own band. `target` is a dotted line.
    """
    _refuse_empty(curves, "learning curve")
    with style():
        drawn = axes if axes is not None else new_axes(height_in=3.7 + 0.2 * len(curves))
        sizes: list[float] = []
        for index, curve in enumerate(curves):
            colour, _, marker = _look(index)
            names = ("n", "value", "low", "high")
            n, value, low, high = columns(curve, names, where=f"learning curve of {curve.get('name')}")
            sizes.extend(n.tolist())
            drawn.vlines(n, low, high, color=colour, linewidth=1.2)
            drawn.plot(n, value, color=colour, marker=marker, markersize=5, linewidth=1.2, label=_named(curve))
            if curve.get("forecast"):
                n, value, low, high = columns(curve["forecast"], names, where=f"forecast of {curve.get('name')}")
                sizes.extend(n.tolist())
                drawn.fill_between(n, low, high, color=colour, alpha=0.14, linewidth=0)
                drawn.plot(
                    n,
                    value,
                    color=colour,
                    linestyle="--",
                    linewidth=1.4,
                    label=label_of(f"{curve.get('name', 'curve')}, forecast"),
                )
        if target is not None:
            drawn.axhline(target, color=GREY, linestyle=":", linewidth=1.4, label=f"target {number(target)}")
        _count_axis(drawn, np.asarray(sizes))
        drawn.set_xlabel("Labelled cases (logarithmic)")
        drawn.set_ylabel(quantity)
        legend(drawn, own=axes is None)
    return drawn


def _count_axis(axes: Axes, sizes: np.ndarray) -> None:
    """A logarithmic axis of counts whose ticks are plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    if len(sizes) and np.nanmin(sizes) <= 0:
        raise InputError("a number of cases is not above zero", where="learning curve", remedy="leave n = 0 out")
    axes.set_xscale("log")
    axes.set_xlim(*(10.0 ** np.asarray(limits(np.log10(sizes)))))
    steps = [float(base * 10**power) for power in range(8) for base in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
