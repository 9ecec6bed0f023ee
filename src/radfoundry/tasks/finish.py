"""What becomes of scores before a person reads them: calibrated, with an interval, and called at a frozen cut-off.

Everything here is chosen on patients the head had not seen, inside the training part, and then left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtri

from radfoundry.records import InputError, Predictions, counted
from radfoundry.stats import operating, recalibration
from radfoundry.stats.inputs import clusters
from radfoundry.stats.regression import errors

EDGE = recalibration.EDGE
LEVEL = 0.95
NOT_CALLED = -1


@dataclass(frozen=True)
class Finish:
    """How the scores of one fitted model are finished; plain numbers, so that it can be written as JSON.

    `curve` (slope, intercept and their covariance) makes probabilities of yes-or-no scores; `temperature` those of
    classes; `radius` is half the width of an interval around a quantity; `hazard` is the summed hazard of a patient of
    risk 0 by the `horizon`. `note` says what could not be had and why.
    """

    kind: str
    curve: tuple[tuple[float, ...], ...] = ()
    temperature: float | None = None
    radius: float | None = None
    hazard: float | None = None
    horizon: float | None = None
    operating_point: Mapping[str, Any] | None = None
    patients: int = 0
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finish:
        """The inverse of `to_dict`."""
        kept = dict(values)
        kept["curve"] = tuple(tuple(row) for row in kept.get("curve") or ())
        return cls(**kept)


@dataclass(frozen=True, eq=False)
class Answers:
    """Finished scores, one row per case: the best statement, its interval (NaN where there is none), and the call.

    `value`: probability of yes, of each class or finding (n, k), the quantity, or the chance of the event by the
    horizon. `called`: class called (for yes-or-no at the frozen cut-off), or -1.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    called: np.ndarray = field(default_factory=lambda: np.zeros(0, int))


def choose(held_out: Predictions | None, kind: str, *, rule: str = "youden", wanted: float = 0.9) -> Finish:
    """Choose calibration, interval and cut-off on held-out scores of training patients (None: nothing is chosen).

    Binary: Platt's line on logits, its doubt clustered by patient. Classes: one temperature (Guo et al. 2017).
    Quantities: the radius that held 95 % of patients (conformal; Vovk et al. 2005, Barber et al. 2021).
    Survival: one slope and Breslow's hazard, for the chance by the median follow-up.
    """
    if held_out is None:
        return Finish(kind, note="too few patients to calibrate on")
    count = len(np.unique(held_out.patient))
    if kind == "regression":
        radius = _radius(held_out)
        note = (
            "" if radius is not None else f"{counted(count, 'patient is', 'patients are')} too few for a 95 % interval"
        )
        return Finish(kind, radius=radius, patients=count, note=note)
    if kind == "binary":
        return _binary(held_out, rule=rule, wanted=wanted, patients=count)
    if kind in ("multiclass", "ordinal"):
        raw = np.log(np.clip(held_out.score, EDGE, 1))
        found = recalibration.fit_class_temperature(held_out.target.astype(int), raw)
        return Finish(kind, temperature=found.temperature, patients=count)
    if kind == "multilabel":
        return _findings(held_out, patients=count)
    return _survival(held_out, patients=count)


def finish(scores: np.ndarray, how: Finish) -> Answers:
    """Apply what was chosen to (n,) or (n, k) raw scores; scores pass unchanged where nothing could be chosen."""
    value = np.asarray(scores, float)
    low, high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    called = np.full(len(value), NOT_CALLED)
    if how.kind == "regression" and how.radius is not None:
        low, high = value - how.radius, value + how.radius
    elif how.kind == "binary":
        if how.operating_point:
            called = (value >= how.operating_point["threshold"]).astype(int)
        if how.curve:
            value, low, high = _on_curve(value, how.curve[0])
    elif how.kind in ("multiclass", "ordinal"):
        if how.temperature:
            value = recalibration.Temperature(how.temperature, 0).apply(np.log(np.clip(value, EDGE, 1)))
        called = value.argmax(axis=1)
    elif how.kind == "multilabel" and how.curve:
        parts = [
            _on_curve(column, row) if row else (column,) * 3 for column, row in zip(value.T, how.curve, strict=True)
        ]
        value, low, high = (np.stack([part[index] for part in parts], axis=1) for index in range(3))
    elif how.kind == "survival" and how.hazard is not None:
        value = 1 - np.exp(-how.hazard * np.exp(how.curve[0][0] * value))
    return Answers(value, low, high, called)


def _binary(held_out: Predictions, *, rule: str, wanted: float, patients: int) -> Finish:
    point = operating.choose_operating_point(held_out, rule=rule, wanted=wanted).to_dict()
    point = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in point.items()}
    try:
        return Finish("binary", curve=(_curve(held_out),), operating_point=point, patients=patients)
    except InputError as error:
        return Finish("binary", operating_point=point, patients=patients, note=f"not calibrated: {error.what}")


def _curve(held_out: Predictions) -> tuple[float, ...]:
    """Slope, intercept, and the three numbers of their covariance between patients."""
    line = recalibration.fit_platt(held_out, on_logits=True)
    if line.slope <= 0:
        raise InputError("held-out scores run against the truth")
    x, truth = _logits(held_out.score), held_out.target.astype(float)
    fitted = expit(line.slope * x + line.intercept)
    design = np.stack([x, np.ones_like(x)], axis=1)
    bread = np.linalg.pinv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    group, count = clusters(held_out.patient)
    pieces = np.stack([np.bincount(group, (truth - fitted) * column, count) for column in design.T])
    spread = bread @ (pieces @ pieces.T) @ bread * count / max(count - 1, 1)
    return (line.slope, line.intercept, *(float(spread[place]) for place in ((0, 0), (0, 1), (1, 1))))


def _on_curve(score: np.ndarray, curve: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    slope, intercept, first, both, second = curve
    x = _logits(score)
    middle = slope * x + intercept
    reach = float(ndtri(0.5 + LEVEL / 2)) * np.sqrt(np.maximum(first * x**2 + 2 * both * x + second, 0))
    return expit(middle), expit(middle - reach), expit(middle + reach)


def _logits(score: np.ndarray) -> np.ndarray:
    return logit(np.clip(score, EDGE, 1 - EDGE))


def _findings(held_out: Predictions, *, patients: int) -> Finish:
    """A line per finding; a finding whose line cannot be fitted keeps its scores."""
    curves: list[tuple[float, ...]] = []
    skipped = 0
    for column in range(held_out.score.shape[1]):
        one = Predictions.of(held_out.target[:, column], held_out.score[:, column], patient=held_out.patient)
        try:
            curves.append(_curve(one))
        except InputError:
            curves.append(())
            skipped += 1
    note = f"{skipped} of {len(curves)} findings could not be calibrated" if skipped else ""
    return Finish("multilabel", curve=tuple(curves), patients=patients, note=note)


def _radius(held_out: Predictions) -> float | None:
    """The distance that holds 95 % of new patients, from each held-out patient's worst error."""
    group, count = clusters(held_out.patient)
    worst = np.zeros(count)
    np.maximum.at(worst, group, np.abs(errors(held_out)))
    place = math.ceil((count + 1) * LEVEL)
    return float(np.sort(worst)[place - 1]) if place <= count else None


def _survival(held_out: Predictions, *, patients: int) -> Finish:
    """One slope on the risk and the hazard of a patient of risk 0, up to the median follow-up."""
    from radfoundry.tasks.head_fitting import Asked, fit_arrays

    time, event, risk = held_out.target[:, 0], held_out.target[:, 1] > 0, held_out.score
    horizon = float(np.median(time))
    slope = float(fit_arrays("cox", risk[:, None], held_out.target, Asked("survival"), strength=1e-6)["weights"][0, 0])
    slope = max(slope, 0.0)
    raised = np.exp(slope * risk)
    moments = np.unique(time[event & (time <= horizon)])
    steps = [(event & (time == moment)).sum() / raised[time >= moment].sum() for moment in moments]
    note = f"chance of the event by {horizon:g}, the median follow-up"
    hazard = float(np.sum(steps)) if steps else 0.0
    return Finish("survival", curve=((slope,),), hazard=hazard, horizon=horizon, patients=patients, note=note)
