"""Dorfman, Berbaum and Metz's analysis of variance on jackknife pseudovalues, the older twin of Obuchowski-Rockette."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import fdtrc

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import interval_level
from radfoundry.stats.mrmc import ArmDifference, t_interval
from radfoundry.stats.mrmc_covariance import jackknife_aucs, reader_aucs
from radfoundry.stats.readers import ReaderStudy


@dataclass(frozen=True)
class PseudovalueComparison:
    """The mean squares of arm, reader and case with their interactions, the F test, and every arm difference."""

    mean_squares: dict[str, float]
    variances: dict[str, float]
    statistic: float
    df1: float
    df2: float
    p_value: float
    differences: tuple[ArmDifference, ...]


def pseudovalues(study: ReaderStudy) -> np.ndarray:
    """(arms, readers, patients): how much each patient carries of an AUC; their mean is the AUC itself."""
    areas, left_out = reader_aucs(study), jackknife_aucs(study)
    count = left_out.shape[1]
    values = count * areas.reshape(-1, 1) - (count - 1) * left_out
    # With several cases per patient the mean of the pseudovalues is not exactly the AUC; normalised, it is.
    values += areas.reshape(-1, 1) - values.mean(axis=1, keepdims=True)
    return values.reshape(*areas.shape, count)


def dorfman_berbaum_metz(study: ReaderStudy, *, level: float = 0.95) -> PseudovalueComparison:
    """Compare the AUC of arms by a three-way analysis of variance on jackknife pseudovalues, readers and cases random.

    With Hillis' degrees of freedom it gives the same F, df and p as `obuchowski_rockette` with jackknife covariances;
    it is here so that older studies can be repeated in their own terms.

    Sources: Dorfman, Berbaum & Metz, Invest Radiol 1992;27:723; Hillis et al., Stat Med 2005;24:1579.

    >>> ratings = [[[1, 2, 2, 4], [1, 3, 2, 3]], [[1, 2, 4, 4], [1, 2, 3, 5]]]
    >>> dorfman_berbaum_metz(ReaderStudy.of(ratings, [0, 0, 1, 1])).df1
    1.0
    """
    interval_level(level)
    values = pseudovalues(study)
    arms, readers, cases = values.shape
    if min(arms, readers) < 2:
        raise InputError(f"{arms} arms and {readers} readers", remedy="two of each are needed; see compare_arms")
    squares = _mean_squares(values)
    error = squares["TR"] + max(squares["TC"] - squares["TRC"], 0.0)
    df1, df_interaction = float(arms - 1), float((arms - 1) * (readers - 1))
    df2 = df_interaction * (error / squares["TR"]) ** 2 if squares["TR"] > 0 else math.inf
    statistic = squares["T"] / error if error > 0 else math.nan
    p_value = float(fdtrc(df1, df2, statistic)) if error > 0 and math.isfinite(df2) else math.nan
    variance = 2 * error / (readers * cases)
    means = values.mean(axis=(1, 2))
    title = "Dorfman-Berbaum-Metz, random readers, random cases"
    differences = tuple(
        ArmDifference(
            study.arms[i],
            study.arms[j],
            t_interval(
                Estimate(float(means[i] - means[j]), level=level, n=len(study.truth), method=title), variance, df2
            ),
        )
        for i, j in combinations(range(arms), 2)
    )
    return PseudovalueComparison(squares, _variances(squares, values.shape), statistic, df1, df2, p_value, differences)


def _mean_squares(values: np.ndarray) -> dict[str, float]:
    """Mean squares of every effect of a crossed three-way table with one value per cell."""
    found = {}
    letters = "TRC"
    for size in (1, 2, 3):
        for kept in combinations(range(3), size):
            effect = np.zeros(())
            for below in range(size + 1):
                for subset in combinations(kept, below):
                    away = tuple(axis for axis in range(3) if axis not in subset)
                    mean = values.mean(axis=away, keepdims=True) if away else values
                    effect = effect + (-1) ** (size - below) * mean
            df = math.prod(values.shape[axis] - 1 for axis in kept)
            repeats = math.prod(values.shape[axis] for axis in range(3) if axis not in kept)
            found["".join(letters[axis] for axis in kept)] = repeats * float((effect**2).sum()) / df
    return found


def _variances(squares: dict[str, float], shape: tuple[int, ...]) -> dict[str, float]:
    """Variance components from the expected mean squares; negative ones are kept, as the model leaves them."""
    arms, readers, cases = shape
    rest = squares["TRC"]
    return {
        "R": (squares["R"] - squares["TR"] - squares["RC"] + rest) / (arms * cases),
        "C": (squares["C"] - squares["TC"] - squares["RC"] + rest) / (arms * readers),
        "TR": (squares["TR"] - rest) / cases,
        "TC": (squares["TC"] - rest) / readers,
        "RC": (squares["RC"] - rest) / arms,
        "TRC": rest,
    }
