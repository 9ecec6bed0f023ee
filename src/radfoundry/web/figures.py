"""Blocks that are drawn: each becomes SVG text with an alternative in words, a caption on how to read it, and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radfoundry.records import Estimate, InputError
from radfoundry.stats import plots
from radfoundry.web.numbers import ABSENT, estimate_text

Block = Mapping[str, Any]
MOST_DATA_ROWS = 12
LIMITS = {"bias": "Bias", "lower_limit": "Lower limit of agreement", "upper_limit": "Upper limit of agreement"}

READING = {
    "roc": "The further a curve bends to the upper left, the better sick and healthy are told apart; the dashed "
    "diagonal is guessing. The band is where the curve could lie with other patients of the same kind.",
    "calibration": "Points on the dashed line mean that predicted probabilities can be taken at their word: of cases "
    "given 30 %, 30 of 100 have the finding. Below the line the model claims too much. Larger points hold more cases.",
    "forest": "Squares are the measured values, bars their intervals.",
    "agreement": "Each point is one case; on the dashed line prediction and truth are the same.",
    "bland-altman": "Each point is one case: how far the two measurements lie apart, over their mean. About 95 of 100 "
    "further cases fall between the dashed limits; the tinted bands are the doubt about bias and limits. A slope in "
    "the cloud means that the difference grows with size.",
    "kaplan-meier": "A curve falls by a step at each event; small strokes are patients lost from view without it. The "
    "bands are pointwise intervals, wide where few are left: read no further than the numbers at risk allow.",
    "froc": "The further a curve bends to the upper left, the more lesions are found for few false marks. The band is "
    "where the curve could lie with other patients of the same kind.",
    "critical-difference": "Better models stand further left. A thick bar joins models whose average ranks lie closer "
    "together than the critical difference: these data cannot tell them apart.",
    "learning-curve": "Points are measured scores with their intervals; the dashed line goes on from the last of them, "
    "its band is where the curve may lead. The wider the band, the less can be said before more cases are labelled.",
    "map": "Each point is one image, alike images lie close together. Clusters that follow the site or the sequence "
    "rather than the label warn that the features know more about the scanner than about the patient. Directions and "
    "distances between far clusters mean nothing.",
}

CROSSED = " A bar that crosses the dashed line is compatible with no effect."


def reading(block: Block) -> str:
    """How to read a drawn block, in words for people who did not draw it."""
    dashed = block["kind"] == "forest" and block.get("reference") is not None
    return READING[block["kind"]] + (CROSSED if dashed else "")


@dataclass(frozen=True)
class Drawing:
    """A drawn block: figures as SVG text, numbers to list beside them, and a table of the data behind them."""

    svgs: tuple[str, ...]
    listed: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    header: tuple[str, ...] = ()
    data: tuple[tuple[str, ...], ...] = ()
    thinned: str = ""


def draw(block: Block, *, name: str) -> Drawing:
    """The figure of a block; `name` keeps its ids apart from other figures on the page."""
    return DRAWN[block["kind"]](block, name)


def _roc(block: Block, name: str) -> Drawing:
    curves = _required(block, "curves")
    axes = plots.plot_roc(curves)
    listed = _summaries(curves)
    columns = ("false_positive_rate", "sensitivity")
    rows, thinned = _rows(curves, columns)
    return Drawing(
        (_svg(axes, name, f"ROC curves. {_spoken(listed)}"),),
        listed,
        ("Curve", "False positive rate", "Sensitivity (band)"),
        rows,
        thinned,
    )


def _calibration(block: Block, name: str) -> Drawing:
    curves = _required(block, "curves")
    axes = plots.plot_calibration(curves)
    rows, thinned = _rows(curves, ("predicted", "observed"), counts="n")
    named = ", ".join(str(curve.get("name", "curve")) for curve in curves)
    return Drawing(
        (_svg(axes, name, f"Calibration of {named}: observed share against predicted probability."),),
        _summaries(curves),
        ("Curve", "Predicted", "Observed (interval)", "Cases"),
        rows,
        thinned,
    )


def _forest(block: Block, name: str) -> Drawing:
    rows = _required(block, "rows")
    axes = plots.plot_forest(rows, axis=str(block.get("axis", "")), reference=block.get("reference"))
    listed = tuple((row["label"], row["estimate"]) for row in rows)
    return Drawing((_svg(axes, name, f"Intervals side by side. {_spoken(listed)}"),), listed)


def _agreement(block: Block, name: str) -> Drawing:
    x, y = _required(block, "x"), _required(block, "y")
    x_label, y_label = str(block.get("x_label", "true")), str(block.get("y_label", "predicted"))
    axes = plots.plot_agreement(x, y, x_label=x_label, y_label=y_label)
    alt = f"{y_label} against {x_label} for {len(x)} cases, with the line of identity."
    listed = (("Summary", block["estimate"]),) if "estimate" in block else ()
    return Drawing((_svg(axes, name, alt),), listed)


def _bland_altman(block: Block, name: str) -> Drawing:
    mean, difference = _required(block, "mean"), _required(block, "difference")
    listed = tuple((said, _required(block, key)) for key, said in LIMITS.items())
    bias, lower, upper = (Estimate.from_dict(item) for _, item in listed)
    axes = plots.plot_bland_altman(
        mean, difference, bias=bias, agreement_limits=(lower, upper), unit=str(block.get("unit", "") or "no unit")
    )
    alt = f"Differences of {len(mean)} pairs of measurements against their means. {_spoken(listed)}"
    return Drawing((_svg(axes, name, alt),), listed)


def _kaplan_meier(block: Block, name: str) -> Drawing:
    curves = _required(block, "curves")
    event = str(block.get("event", "event"))
    axes = plots.plot_kaplan_meier(curves, time_unit=str(_required(block, "time_unit")), event=event)
    listed = _summaries(curves)
    rows, thinned = _rows(curves, ("time", "survival"))
    named = ", ".join(str(curve.get("name", "curve")) for curve in curves)
    alt = f"Kaplan-Meier curves of {named}: share free of {event} over time. {_spoken(listed)}"
    return Drawing((_svg(axes, name, alt),), listed, ("Curve", "Time", "Share free (interval)"), rows, thinned)


def _froc(block: Block, name: str) -> Drawing:
    curves = _required(block, "curves")
    axes = plots.plot_froc(curves, unit=str(block.get("per", "case")))
    listed = _summaries(curves)
    rows, thinned = _rows(curves, ("false_positives", "sensitivity"))
    header = ("Curve", "False marks", "Sensitivity (band)")
    return Drawing((_svg(axes, name, f"FROC curves. {_spoken(listed)}"),), listed, header, rows, thinned)


def _critical_difference(block: Block, name: str) -> Drawing:
    names, ranks = _required(block, "names"), _required(block, "ranks")
    groups = block.get("groups", ())
    axes = plots.plot_critical_difference(
        names, [Estimate.from_dict(item) for item in ranks], difference=_required(block, "difference"), groups=groups
    )
    listed = tuple(zip(names, ranks, strict=True))
    alike = "; ".join(" and ".join(group) for group in groups) or "none"
    alt = f"Models along their average ranks. {_spoken(listed)} Not told apart: {alike}."
    return Drawing((_svg(axes, name, alt),), listed)


def _learning_curve(block: Block, name: str) -> Drawing:
    curves = _required(block, "curves")
    axes = plots.plot_learning_curve(curves, quantity=str(block.get("axis", "score")), target=block.get("target"))
    rows, thinned = _rows(curves, ("n", "value"))
    named = ", ".join(str(curve.get("name", "curve")) for curve in curves)
    alt = f"Learning curve of {named}: {block.get('axis', 'score')} by number of labelled cases, with a forecast."
    return Drawing((_svg(axes, name, alt),), (), ("Curve", "Labelled", "Score (interval)"), rows, thinned)


def _map(block: Block, name: str) -> Drawing:
    x, y, colours = _required(block, "x"), _required(block, "y"), _required(block, "colours")
    panels = [
        _svg(
            plots.plot_map(x, y, labels, title=str(title)),
            f"{name}-{index}",
            f"Map of {len(x)} images coloured by {title}: {_groups(labels)}.",
        )
        for index, (title, labels) in enumerate(colours.items())
    ]
    return Drawing(tuple(panels))


DRAWN = {
    "roc": _roc,
    "calibration": _calibration,
    "forest": _forest,
    "agreement": _agreement,
    "bland-altman": _bland_altman,
    "kaplan-meier": _kaplan_meier,
    "froc": _froc,
    "critical-difference": _critical_difference,
    "learning-curve": _learning_curve,
    "map": _map,
}


def _required(block: Block, key: str) -> Any:
    value = block.get(key)
    if not value:
        raise InputError(f"no {key}", where=f"{block['kind']} block {block.get('title', '')!r}", remedy=f"give {key}")
    return value


def _svg(axes: Any, name: str, alt: str) -> str:
    return plots.to_svg(plots.figure_of(axes), name=name, alt=alt)


def _summaries(curves: Sequence[Block]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    return tuple((str(curve["name"]), curve["estimate"]) for curve in curves if "estimate" in curve)


def _spoken(listed: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    return "; ".join(f"{name}: {estimate_text(Estimate.from_dict(item))}" for name, item in listed) + "."


def _groups(labels: Sequence[Any]) -> str:
    kinds = sorted({"not known" if label is None else str(label) for label in labels})
    return ", ".join(kinds) if len(kinds) <= 8 else f"{len(kinds)} different values"


def _rows(
    curves: Sequence[Block], columns: tuple[str, str], *, counts: str = ""
) -> tuple[tuple[tuple[str, ...], ...], str]:
    """The points behind the curves as text, thinned evenly where there are many."""
    rows: list[tuple[str, ...]] = []
    thinned = ""
    for curve in curves:
        length = len(curve[columns[0]])
        kept = _evenly(length)
        thinned = f"{len(kept)} of {length} points of each curve" if len(kept) < length else thinned
        for index in kept:
            first, value, low, high = (curve[key][index] for key in (*columns, "low", "high"))
            point = Estimate.from_dict({"value": value, "low": low, "high": high, "note": "not available"})
            row = (str(curve.get("name", "")), ABSENT if first is None else f"{first:.2f}", str(point))
            rows.append((*row, f"{curve[counts][index]:.0f}") if counts else row)
    return tuple(rows), thinned


def _evenly(length: int) -> list[int]:
    if length <= MOST_DATA_ROWS:
        return list(range(length))
    return [round(place * (length - 1) / (MOST_DATA_ROWS - 1)) for place in range(MOST_DATA_ROWS)]
