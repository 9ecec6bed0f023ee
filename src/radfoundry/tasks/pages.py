"""What a report shows of answers and features, as plain blocks: tables, curves, maps and thumbnails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, Estimate, Predictions, Series, Task
from radfoundry.stats import auc, bland_altman, calibration, critical_difference, froc, roc, survival

Block = dict[str, Any]
MOST_CURVE_POINTS = 200
MOST_MAP_POINTS = 2000


def people(cohort: Cohort, predictions: Predictions | None = None) -> Block:
    """On whom: patients, exams and series, sites, ages and sexes, as counts."""
    ages = [case.age_years for case in cohort.cases if case.age_years is not None]
    sexes = [case.sex for case in cohort.cases if case.sex]
    sites = sorted({case.site for case in cohort.cases if case.site})
    items = [
        ["patients", str(len(cohort.patients))],
        ["exams", str(len(cohort))],
        ["series", str(len(cohort.series))],
        ["sites", f"{len(sites)} ({', '.join(sites[:6])})" if sites else "not stated"],
        ["age, years", f"{min(ages):.0f} to {max(ages):.0f}, median {np.median(ages):.0f}" if ages else "not stated"],
        ["sex", ", ".join(f"{sexes.count(name)} {name}" for name in sorted(set(sexes))) or "not stated"],
        ["cohort fingerprint", cohort.fingerprint],
    ]
    if predictions is not None:
        items.insert(2, ["exams tested", str(len(predictions))])
    return {"kind": "facts", "title": "On whom", "items": items}


def numbers(title: str, metrics: Mapping[str, Estimate], *, note: str = "") -> Block:
    """A table of estimates, one per line, with how each was made and from how many patients."""
    columns = [
        {"key": "name", "label": "measure"},
        {"key": "estimate", "label": "value (95 % interval)"},
        {"key": "method", "label": "method"},
        {"key": "n", "label": "n"},
    ]
    rows = [
        {"name": label(name), "estimate": value.to_dict(), "method": value.method, "n": value.n}
        for name, value in metrics.items()
    ]
    return {"kind": "table", "title": title, "note": note, "columns": columns, "rows": rows}


def label(name: str) -> str:
    """A metric's key as a person reads it."""
    known = {
        "auroc": "AUROC",
        "auroc-bootstrap": "AUROC, bootstrap between patients",
        "auroc-one-against-rest": "AUROC, one class against the rest, mean",
        "brier": "Brier score (lower is better)",
        "mae": "mean absolute error",
        "r2": "R²",
        "srcc": "Spearman correlation",
        "plcc": "Pearson correlation",
        "rmse": "root mean square error",
        "prevalence": "prevalence",
        "trivial-auroc": "AUROC of a constant score",
        "trivial-mae": "mean absolute error of the median",
        "share-of-largest-class": "share of the largest class",
        "macro-auroc": "AUROC, mean of the findings",
        "micro-auroc": "AUROC, all findings pooled",
        "quadratic-kappa": "quadratic kappa",
        "grades-off": "mean error in grades",
        "concordance": "concordance (Harrell's C)",
        "concordance-uno": "concordance (Uno's C)",
        "trivial-concordance": "concordance of a constant risk",
        "brier-calibrated": "Brier score after calibration",
        "interval-holds": "share of answers inside their 95 % interval",
        "usual-answer": "accuracy of always giving the usual answer",
    }
    owner, slash, metric = name.partition("/")
    if slash:
        # Of an error, less is better: the difference is turned round, so that positive speaks for the first.
        between = " ahead of " if metric in ("mae", "rmse", "brier", "grades-off") else " minus "
        return f"{owner.replace('-minus-', between)}: {known.get(metric, metric.replace('-', ' '))}"
    return known.get(name, name.replace("-", " "))


def capital(words: str) -> str:
    """Words as a title or the start of a sentence.

    >>> capital("mean absolute error by encoder"), capital("AUROC")
    ('Mean absolute error by encoder', 'AUROC')
    """
    return words[:1].upper() + words[1:]


def curves(named: Mapping[str, Predictions], task: Task) -> list[Block]:
    """ROC with its band and calibration for yes-or-no questions; predicted against true for quantities."""
    if task.kind == "regression":
        return [block for name, found in named.items() for block in _of_quantity(name, found, task)]
    if task.kind == "survival":
        return [_by_risk(name, found, task) for name, found in named.items()]
    if task.kind != "binary":
        return []
    roc_curves, reliability = [], []
    for name, found in named.items():
        drawn = roc.roc_curve(found)
        keep = _thin(len(drawn.false_positive_rate))
        roc_curves.append(
            {
                "name": name,
                **{
                    key: np.asarray(getattr(drawn, key))[keep].tolist()
                    for key in ("false_positive_rate", "sensitivity")
                },
                **{key: np.asarray(getattr(drawn, key))[keep].tolist() for key in ("low", "high")},
                "estimate": auc.auroc(found).to_dict(),
            }
        )
        bins = calibration.reliability_curve(found)
        drawn_bins = {key: np.asarray(getattr(bins, key)).tolist() for key in ("predicted", "observed", "low", "high")}
        reliability.append({"name": name, **drawn_bins, "n": bins.count.tolist()})
    return [
        {"kind": "roc", "title": "ROC", "curves": roc_curves, "note": "Bands are pointwise 95 % intervals."},
        {"kind": "calibration", "title": "Calibration", "curves": reliability, "note": "Bars: Wilson 95 % intervals."},
    ]


def _by_risk(name: str, found: Predictions, task: Task) -> Block:
    """Kaplan-Meier curves of the halves with the higher and the lower predicted risk."""
    time, event = found.target.T
    high = found.score > np.median(found.score)
    halves = {"higher predicted risk": high, "lower predicted risk": ~high}
    drawn = {half: survival.kaplan_meier(time[rows], event[rows]) for half, rows in halves.items() if rows.any()}
    time_name, event_name = task.target.split(",")
    return survival_curves(f"By predicted risk: {name}", drawn, time_unit=time_name, event=event_name)


def _of_quantity(name: str, found: Predictions, task: Task) -> list[Block]:
    """Predicted against true, and their difference against their mean."""
    true, predicted = found.target.astype(float), found.score.astype(float)
    against = {
        "kind": "agreement",
        "title": f"Predicted against true: {name}",
        "x": true.tolist(),
        "y": predicted.tolist(),
        "x_label": f"true {task.target}",
        "y_label": f"predicted {task.target}",
        "note": "Each point is an exam that the head never saw.",
    }
    apart = bland_altman.bland_altman(predicted, true, subject=found.patient)
    note = f"Predicted minus true. Slope of the difference with size: {apart.slope}."
    drawn = limits_of_agreement(f"Bland-Altman: {name}", apart, unit=task.target.replace("_", " "), note=note)
    return [against, drawn] if apart.bias.defined else [against]


def limits_of_agreement(title: str, found: bland_altman.BlandAltman, *, unit: str, note: str = "") -> Block:
    """A Bland-Altman plot as a block."""
    estimates = {key: getattr(found, key).to_dict() for key in ("bias", "lower_limit", "upper_limit")}
    points = {"mean": found.mean.tolist(), "difference": found.difference.tolist()}
    return {"kind": "bland-altman", "title": title, **points, **estimates, "unit": unit, "note": note}


def survival_curves(title: str, named: Mapping[str, survival.KaplanMeier], *, time_unit: str, event: str) -> Block:
    """Kaplan-Meier curves as a block: from time 0, with those lost from view and the numbers at risk."""
    shown = _round_places(max(float(curve.time[-1]) for curve in named.values()))
    drawn = []
    for name, curve in named.items():
        columns = {"time": curve.time, "survival": curve.survival, "low": curve.low, "high": curve.high}
        start = {"time": 0.0, "survival": 1.0, "low": np.nan, "high": np.nan}
        left = np.append(curve.at_risk, 0)[np.searchsorted(curve.time, shown)]
        drawn.append(
            {
                "name": name,
                **{key: [start[key], *column.tolist()] for key, column in columns.items()},
                "censored": curve.time[curve.censored > 0].tolist(),
                "at_risk": {"time": shown.tolist(), "n": left.tolist()},
                **({"estimate": curve.median.to_dict()} if math.isfinite(curve.median.high) else {}),
            }
        )
    note = f"Bands are pointwise 95 % intervals; a number is the median time to {event} in {time_unit}."
    return {
        "kind": "kaplan-meier",
        "title": title,
        "curves": drawn,
        "time_unit": time_unit,
        "event": event,
        "note": note,
    }


def _round_places(end: float) -> np.ndarray:
    """Four to seven round numbers from 0 up to an end, where an axis has its ticks."""
    power = 10.0 ** math.floor(math.log10(end)) if end > 0 else 1.0
    step = next(base * power for base in (0.2, 0.5, 1.0, 2.0) if end / (base * power) < 6)
    return np.arange(0, end + 1e-9 * end, step)


def free_response(title: str, named: Mapping[str, froc.Froc], *, per: str = "case") -> Block:
    """FROC curves as a block, each with its mean sensitivity at the usual rates of false marks."""
    # Beyond the last mark of every reader the curves are flat and only take room.
    end = max(float(found.false_positives.max(initial=0.0)) for found in named.values())
    drawn = []
    for name, found in named.items():
        curve = found.curve(name)
        kept = max(int((found.grid < end).sum()) + 1, 2)
        drawn.append({**curve, **{key: curve[key][:kept] for key in ("false_positives", "sensitivity", "low", "high")}})
    return {
        "kind": "froc",
        "title": title,
        "curves": drawn,
        "per": per,
        "note": "Bands are pointwise 95 % intervals; the number is the mean sensitivity at the usual rates.",
    }


def ranking(title: str, found: critical_difference.CriticalDifference) -> Block:
    """Models along their average ranks as a block, with the bars that join those not told apart."""
    test = found.friedman
    return {
        "kind": "critical-difference",
        "title": title,
        "names": list(found.models),
        "ranks": [rank.to_dict() for rank in found.ranks],
        "difference": found.difference,
        "groups": [list(group) for group in found.groups],
        "note": f"Friedman's test that all rank alike: chi-squared {test.chi2:.1f}, p = {test.p_value:.2g}.",
    }


def _thin(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_CURVE_POINTS)).round().astype(int))


def feature_map(
    embeddings: Embeddings, truth: Mapping[str, Any], *, title: str, classes: Sequence[str] = (), seed: int = 0
) -> Block:
    """The features of all series drawn in two principal directions, coloured by site, sequence and label.

    `classes` names the answers 0, 1, … What is the same for every series is not drawn.
    """
    keep = np.arange(len(embeddings.series))
    if len(keep) > MOST_MAP_POINTS:
        keep = np.sort(np.random.default_rng(seed).choice(keep, MOST_MAP_POINTS, replace=False))
    vectors = embeddings.vectors[keep].astype(float)
    spread = vectors.std(axis=0)
    scaled = (vectors - vectors.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    places = np.pad(left[:, :2] * sizes[:2], ((0, 0), (0, max(0, 2 - left.shape[1]))))
    # The sign of a singular vector is arbitrary; fixing it keeps pages the same on every machine.
    places *= np.where(np.abs(places).max(axis=0) == places.max(axis=0), 1, -1)
    share = float((sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-12))
    chosen = [embeddings.series[index] for index in keep]
    return {
        "kind": "map",
        "title": title,
        "x": places[:, 0].round(4).tolist(),
        "y": places[:, 1].round(4).tolist(),
        "colours": _colours(chosen, truth, classes),
        "note": f"Two principal components, {share:.0%} of the variance; one point per series.",
    }


def _colours(series: Sequence[Series], truth: Mapping[str, Any], classes: Sequence[str]) -> dict[str, list[Any]]:
    """Site, sequence and label of every series, without those that tell nothing apart; quantities stay numbers."""
    answers = [truth.get(item.case) for item in series]
    known = [answer for answer in answers if answer is not None]
    if classes and all(isinstance(answer, int | np.integer) for answer in known):
        answers = [None if answer is None else str(classes[int(answer)]) for answer in answers]
    elif known and all(isinstance(answer, float | np.floating) for answer in known):
        answers = [None if answer is None else float(answer) for answer in answers]
    else:
        answers = [None if answer is None else str(answer) for answer in answers]
    found = {
        "site": [item.site or "unknown" for item in series],
        "sequence": [item.sequence or "unknown" for item in series],
        "label": answers,
    }
    telling = {name: values for name, values in found.items() if len(set(values)) > 1}
    return telling or {"label" if known else "sequence": found["label" if known else "sequence"]}


def thumbnails(cohort: Cohort, folder: Path, *, most: int = 12) -> Block:
    """Middle slices of some series of every kind as small pictures, in radiological convention."""
    from radfoundry.data import summary

    return summary.thumbnail_block(cohort.series, folder, most=most)
