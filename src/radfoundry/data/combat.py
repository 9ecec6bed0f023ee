"""ComBat: take a site's shift and scale out of features, learned on some patients and applied to others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from radfoundry import runs
from radfoundry.records import InputError

FEWEST = 3  # rows of a site; a variance of two is no estimate
FLAT = 1e-12  # share of the overall spread below which a feature counts as constant
TOLERANCE, MOST_TURNS = 1e-8, 1000


@dataclass(frozen=True, eq=False)
class Combat:
    """A fitted ComBat: what every feature is without its site, and the shift and scale that each site adds.

    mean, spread `(p,)` of a feature with the sites' differences taken out · slope `(q, p)` of the protected
    covariates, centred at `centre` `(q,)` · shift, scale `(sites, p)` after shrinkage, in units of `spread` ·
    rows `(sites,)` how many rows taught each site · shrunk: the options it was fitted with.
    """

    sites: tuple[str, ...]
    covariates: tuple[str, ...]
    mean: np.ndarray
    spread: np.ndarray
    centre: np.ndarray
    slope: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    rows: np.ndarray
    shrunk: bool = True
    scaled: bool = True

    def apply(self, features: ArrayLike, site: ArrayLike, covariates: ArrayLike | None = None) -> np.ndarray:
        """Features `(n, p)` as if every row came from one average site; protected covariates keep their effect.

        Each row is answered alone, so that who else is in the table changes nothing. Refuses sites that taught
        nothing, another number of features, and covariates that are missing or that nobody protected.
        """
        table = _numbers(features, "features")
        if table.shape[1] != len(self.mean):
            raise InputError(f"{table.shape[1]} features, fitted on {len(self.mean)}", finding="shape")
        index = self._place(site, len(table))
        known = _covariates(covariates, len(table), len(self.covariates))
        expected = self.mean + (known - self.centre) @ self.slope
        steady = self.spread > 0
        unit = np.where(steady, self.spread, 1.0)
        standard = (table - expected) / unit
        freed = (standard - self.shift[index]) / self.scale[index] * unit + expected
        return np.where(steady, freed, table)

    def undo(self, features: ArrayLike, site: ArrayLike, covariates: ArrayLike | None = None) -> np.ndarray:
        """The inverse of `apply`: the features as that site would have measured them."""
        table = _numbers(features, "features")
        index = self._place(site, len(table))
        expected = self.mean + (_covariates(covariates, len(table), len(self.covariates)) - self.centre) @ self.slope
        steady = self.spread > 0
        unit = np.where(steady, self.spread, 1.0)
        back = ((table - expected) / unit * self.scale[index] + self.shift[index]) * unit + expected
        return np.where(steady, back, table)

    def with_site(
        self, features: ArrayLike, site: str, covariates: ArrayLike | None = None, *, fewest: int = FEWEST
    ) -> Combat:
        """The same model with one more site, learned from some of its patients; nothing fitted before changes.

        For a hospital that was not there at fitting: give features of a few of its patients that are not tested.
        Their diagnoses are not needed. Refuses a site that is known and one with too few rows.
        """
        if site in self.sites:
            raise InputError(f"site {site!r} is known already", remedy="apply the model as it is")
        table = _numbers(features, "features")
        _enough(np.array([len(table)]), [site], fewest)
        known = _covariates(covariates, len(table), len(self.covariates))
        unit = np.where(self.spread > 0, self.spread, 1.0)
        standard = (table - self.mean - (known - self.centre) @ self.slope) / unit
        shift, scale = _site(standard[:, self.spread > 0], shrunk=self.shrunk, scaled=self.scaled)
        return replace(
            self,
            sites=(*self.sites, site),
            shift=np.vstack([self.shift, _spread_out(shift, self.spread > 0, 0.0)]),
            scale=np.vstack([self.scale, _spread_out(scale, self.spread > 0, 1.0)]),
            rows=np.append(self.rows, len(table)),
        )

    def _place(self, site: ArrayLike, count: int) -> np.ndarray:
        names = np.asarray(site).astype(str)
        if names.shape != (count,):
            raise InputError(f"{names.size} sites for {count} rows", remedy="give one site a row", finding="shape")
        unknown = sorted(set(names.tolist()) - set(self.sites))
        if unknown:
            raise InputError(
                f"site {unknown[0]!r} taught nothing (known: {', '.join(self.sites)})",
                where="ComBat",
                remedy="fit with patients of that site, or add it with with_site from patients that are not tested",
                finding="unknown-site",
            )
        return np.array([self.sites.index(name) for name in names], dtype=int)


def fit(
    features: ArrayLike,
    site: ArrayLike,
    *,
    covariates: ArrayLike | None = None,
    names: Sequence[str] = (),
    shrink: bool = True,
    scale: bool = True,
) -> Combat:
    """Learn the shift and scale of every site from training patients: features `(n, p)`, site `(n,)`.

    `covariates` `(n, q)`, called `names`, are biology to keep: age, sex, a diagnosis known for every patient ever
    harmonised. `shrink` borrows strength between features (empirical Bayes); `scale` off moves the mean alone.
    Johnson, Li and Rabinovic 2007 (Biostatistics 8:118); for images Fortin et al. 2018 (NeuroImage 167:104).
    Refuses fewer than three rows a site, values that are not finite, and covariates that only repeat the site.

    >>> rng = np.random.default_rng(0)
    >>> site = np.repeat(["here", "there"], 50)
    >>> table = rng.normal(size=(100, 4)) + np.where(site == "there", 3.0, 0.0)[:, None]
    >>> freed = fit(table, site).apply(table, site)
    >>> bool(abs(freed[:50].mean() - freed[50:].mean()) < 0.1)
    True
    """
    table = _numbers(features, "features")
    owners = np.asarray(site).astype(str)
    if owners.shape != (len(table),):
        raise InputError(f"{owners.size} sites for {len(table)} rows", remedy="give one site a row", finding="shape")
    sites, index, rows = np.unique(owners, return_inverse=True, return_counts=True)
    _enough(rows, sites.tolist(), FEWEST)
    known = _covariates(covariates, len(table), len(names))
    belongs = np.eye(len(sites))[index]
    centre = known.mean(axis=0)
    design = np.hstack([belongs, known - centre])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(
            f"{', '.join(names)} cannot be told apart from the site",
            where="ComBat",
            remedy="leave that covariate out: no method can say which of the two made the difference",
            finding="confounded",
        )
    effects = np.linalg.lstsq(design, table, rcond=None)[0]
    mean = rows @ effects[: len(sites)] / len(table)
    spread = np.sqrt(((table - design @ effects) ** 2).mean(axis=0))
    steady = spread > FLAT * np.maximum(1.0, np.abs(table).max(axis=0))
    spread = np.where(steady, spread, 0.0)
    slope = effects[len(sites) :]
    found = Combat(
        tuple(sites.tolist()), tuple(names), mean, spread, centre, slope,
        np.zeros((len(sites), table.shape[1])), np.ones((len(sites), table.shape[1])), rows, shrink, scale,
    )  # fmt: skip
    if len(sites) == 1:
        return found
    standard = ((table - mean - (known - centre) @ slope) / np.where(steady, spread, 1.0))[:, steady]
    for place in range(len(sites)):
        shift, width = _site(standard[index == place], shrunk=shrink, scaled=scale)
        found.shift[place, steady], found.scale[place, steady] = shift, width
    return found


def _site(standard: np.ndarray, *, shrunk: bool, scaled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of one site from its standardised rows `(n, p)`, shrunk towards what its features share."""
    count, width = standard.shape
    shift = standard.mean(axis=0)
    variance = standard.var(axis=0, ddof=1) if scaled else np.ones(width)
    if not shrunk or width < 2:
        return shift, np.sqrt(np.maximum(variance, 1e-12))
    centre, between = shift.mean(), shift.var(ddof=1)
    if not scaled:
        return (between * count * shift + centre) / (between * count + 1), np.ones(width)
    middle, about = variance.mean(), variance.var(ddof=1)
    if not (between > 0 and about > 0):  # every feature says the same: nothing to shrink
        return shift, np.sqrt(variance)
    # Inverse gamma prior of the variances by moments; then equations 3.1 and 3.2 of Johnson et al. in turn.
    shape, rate = (2 * about + middle**2) / about, (middle * about + middle**3) / about
    gamma, delta = shift, variance
    for _ in range(MOST_TURNS):
        moved = (count * between * shift + delta * centre) / (count * between + delta)
        squares = ((standard - moved) ** 2).sum(axis=0)
        spread = (0.5 * squares + rate) / (count / 2 + shape - 1)
        change = max(np.abs(moved - gamma).max(), np.abs(spread / delta - 1).max())
        gamma, delta = moved, spread
        if change < TOLERANCE:
            break
    return gamma, np.sqrt(delta)


def _spread_out(values: np.ndarray, steady: np.ndarray, fill: float) -> np.ndarray:
    full = np.full(len(steady), fill)
    full[steady] = values
    return full


def _enough(rows: np.ndarray, sites: Sequence[str], fewest: int) -> None:
    few = [f"{name} {count}" for name, count in zip(sites, rows.tolist(), strict=True) if count < fewest]
    if few:
        raise InputError(
            f"too few rows to learn a site from: {', '.join(few)}",
            where="ComBat",
            remedy=f"each site needs {fewest}, better 20; join sites with the same scanner or leave the site out",
            finding="too-few",
        )


def _numbers(values: ArrayLike, name: str) -> np.ndarray:
    table = np.asarray(values, dtype=float)
    if table.ndim != 2 or 0 in table.shape:
        raise InputError(f"{name} have shape {table.shape}, expected (rows, columns)", finding="shape")
    if not np.isfinite(table).all():
        bad = int((~np.isfinite(table)).any(axis=1).sum())
        raise InputError(f"{bad} of {len(table)} rows of {name} are not finite", remedy="leave them out and say so")
    return table


def _covariates(values: ArrayLike | None, rows: int, count: int) -> np.ndarray:
    given = np.zeros((rows, 0)) if values is None else np.asarray(values, dtype=float)
    given = given[:, None] if given.ndim == 1 else given
    if given.shape != (rows, count):
        raise InputError(
            f"covariates have shape {given.shape}, expected ({rows}, {count})",
            remedy="give the protected covariates of every row, in the order of their names",
            finding="shape",
        )
    if not np.isfinite(given).all():
        raise InputError("a protected covariate is missing", remedy="leave these patients out or do not protect it")
    return given


ARRAYS = ("mean", "spread", "centre", "slope", "shift", "scale", "rows")


def save(model: Combat, path: str | Path) -> None:
    """Write a fitted ComBat as safetensors, whole or not at all."""
    from safetensors.numpy import save_file

    about = {
        "format": 1,
        "method": "combat",
        "sites": model.sites,
        "covariates": model.covariates,
        "shrunk": model.shrunk,
        "scaled": model.scaled,
    }
    arrays = {name: np.ascontiguousarray(getattr(model, name), dtype=float) for name in ARRAYS}
    with runs.atomic(path) as partial:
        save_file(arrays, partial, metadata={"radfoundry": json.dumps(about, sort_keys=True)})


def load(path: str | Path) -> Combat:
    """Read what `save` wrote; refuses anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as handle:
            about: dict[str, Any] = json.loads((handle.metadata() or {})["radfoundry"])
            arrays = {name: handle.get_tensor(name) for name in ARRAYS}
        if about["method"] != "combat":
            raise KeyError("method")
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError):
        raise InputError("not a fitted ComBat", where=str(path), remedy="fit it again", finding="unreadable") from None
    arrays["rows"] = arrays["rows"].astype(int)
    flags = {"shrunk": bool(about["shrunk"]), "scaled": bool(about["scaled"])}
    return Combat(tuple(about["sites"]), tuple(about["covariates"]), **arrays, **flags)
