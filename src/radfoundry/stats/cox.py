"""Cox regression: hazard ratios of covariates with intervals, and predicted survival; fitted by statsmodels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtr, ndtri

from radfoundry.records import Estimate, InputError
from radfoundry.stats.concordance_index import concordance_index
from radfoundry.stats.follow_up import follow_up
from radfoundry.stats.inputs import choice, finite_numbers, interval_level

TIES = ("efron", "breslow")


@dataclass(frozen=True, eq=False)
class CoxModel:
    """A fitted proportional-hazards model.

    `coefficients` (log hazard ratios) and `covariance` are in the order of `names`; `p_value` is the likelihood-ratio
    test of all covariates together; `concordance` is measured on the data it was fitted to and therefore a little
    high. `hazard_time` and `hazard` are Breslow's cumulative hazard of a patient whose covariates are all 0.
    """

    names: tuple[str, ...]
    hazard_ratios: Mapping[str, Estimate]
    coefficients: np.ndarray
    covariance: np.ndarray
    log_likelihood: tuple[float, float]
    p_value: float
    concordance: Estimate
    hazard_time: np.ndarray
    hazard: np.ndarray
    n: int
    events: int

    def risk(self, covariates: Mapping[str, ArrayLike]) -> np.ndarray:
        """(n,) log relative risk of patients with these covariates; for `concordance_index` on new patients."""
        return _matrix(covariates, self.names)[1] @ self.coefficients

    def survival(self, covariates: Mapping[str, ArrayLike], moments: ArrayLike) -> np.ndarray:
        """(n, moments) predicted probability of being without the event at each moment; for `brier_over_time`."""
        place = np.searchsorted(self.hazard_time, np.atleast_1d(np.asarray(moments, float)), side="right")
        cumulative = np.concatenate([[0.0], self.hazard])[place]
        return np.exp(-np.exp(self.risk(covariates))[:, None] * cumulative[None, :])


def cox_regression(
    time: ArrayLike,
    event: ArrayLike,
    covariates: Mapping[str, ArrayLike],
    *,
    strata: ArrayLike | None = None,
    ties: str = "efron",
    level: float = 0.95,
) -> CoxModel:
    """How much each covariate multiplies the risk of the event, the others held fixed.

    Args:
        time: (n,) follow-up.
        event: (n,) 1 when the event happened, 0 when censored.
        covariates: name -> (n,) numbers; the ratio is for one unit more. Missing values are refused.
        strata: (n,) names; each has its own baseline hazard (predicted survival then mixes them).
        ties: "efron" or "breslow" for events at one time.
        level: confidence level (Wald).

    Needs the extra `stats` (statsmodels). Refuses fewer events than covariates, constant covariates, and data in
    which a covariate separates events perfectly (no finite estimate exists).

    Source: Cox 1972; ties: Efron 1977.
    """
    phreg, convergence_error = _statsmodels()
    times, events = follow_up(time, event)
    names, matrix = _matrix(covariates, None)
    _check(matrix, names, events, len(times))
    interval_level(level)
    layer = None if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    # Fitting around the means keeps exponentials in range; coefficients do not change.
    centred = matrix - matrix.mean(axis=0)
    model = phreg(times, centred, status=events.astype(int), ties=choice(ties, TIES, "ties"), strata=layer)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", convergence_error)
            fit = model.fit(disp=0)
    except (np.linalg.LinAlgError, convergence_error) as error:
        raise InputError(f"the fit did not converge ({error})", remedy="drop or merge covariates") from error
    coefficients, covariance = np.asarray(fit.params, float), np.asarray(fit.cov_params(), float)
    null, full = float(model.loglike(np.zeros(len(names)))), float(fit.llf)
    errors = np.sqrt(np.diag(covariance))
    if not np.isfinite(errors).all() or (errors > 1e3).any():
        worst = names[int(np.argmax(np.where(np.isfinite(errors), errors, np.inf)))]
        raise InputError(f"covariate {worst} has no finite estimate", remedy="it separates events; drop it")
    ratios = {
        name: _ratio(value, error, (len(times), level))
        for name, value, error in zip(names, coefficients, errors, strict=True)
    }
    hazard_time, hazard = _breslow_hazard(times, events, matrix @ coefficients)
    return CoxModel(
        names,
        ratios,
        coefficients,
        covariance,
        (null, full),
        float(chdtrc(len(names), 2 * (full - null))),
        concordance_index(times, events, matrix @ coefficients, level=level),
        hazard_time,
        hazard,
        len(times),
        int(events.sum()),
    )


def _statsmodels() -> tuple[Any, type[Warning]]:
    try:
        from statsmodels.duration.hazard_regression import PHReg
        from statsmodels.tools.sm_exceptions import ConvergenceWarning
    except ImportError as error:
        raise InputError(
            "Cox regression needs statsmodels", remedy="pip install 'radfoundry[stats]'", finding="missing-extra"
        ) from error
    return PHReg, ConvergenceWarning


def _matrix(covariates: Mapping[str, ArrayLike], names: tuple[str, ...] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Covariates as (n, names) in the order asked for."""
    if not covariates:
        raise InputError("no covariates", remedy="give at least one, name -> numbers")
    wanted = tuple(covariates) if names is None else names
    missing = [name for name in wanted if name not in covariates]
    if missing:
        raise InputError(f"covariate {missing[0]} is missing", remedy=f"the model needs {', '.join(wanted)}")
    columns = [finite_numbers(covariates[name], f"covariate {name}") for name in wanted]
    if len({len(column) for column in columns}) > 1:
        raise InputError("covariates have different lengths", remedy="give one value a patient")
    return wanted, np.stack(columns, axis=1)


def _check(matrix: np.ndarray, names: tuple[str, ...], event: np.ndarray, n: int) -> None:
    if len(matrix) != n:
        raise InputError(f"{n} times for {len(matrix)} rows of covariates", remedy="give one value a patient")
    constant = [name for name, column in zip(names, matrix.T, strict=True) if np.ptp(column) == 0]
    if constant:
        raise InputError(f"covariate {constant[0]} is constant", remedy="drop it")
    if np.linalg.matrix_rank(matrix - matrix.mean(axis=0)) < len(names):
        raise InputError("covariates repeat each other", remedy="drop one of those that add up to another")
    if event.sum() <= len(names):
        raise InputError(
            f"{int(event.sum())} events for {len(names)} covariates", remedy="use fewer covariates, ten events for each"
        )


def _ratio(value: float, error: float, about: tuple[int, float]) -> Estimate:
    n, level = about
    half = float(ndtri((1 + level) / 2)) * float(error)
    ratio, low, high = (math.exp(float(value) + shift) for shift in (0.0, -half, half))
    p_value = 2 * float(ndtr(-abs(value) / error))
    return Estimate(ratio, low, high, level, "hazard ratio (Cox, Wald)", n, "p for a ratio of 1", p_value)


def _breslow_hazard(time: np.ndarray, event: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative baseline hazard at the distinct event times: events over the summed relative risk still there."""
    moments, deaths = np.unique(time[event], return_counts=True)
    order = np.argsort(time)
    summed = np.exp(score[order])[::-1].cumsum()[::-1]
    return moments, np.cumsum(deaths / summed[np.searchsorted(time[order], moments, side="left")])
