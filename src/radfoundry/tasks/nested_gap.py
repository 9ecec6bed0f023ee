"""Inside and outside: how a model does among its own patients, at a later time, or where it was never taught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from radfoundry.records import Estimate, InputError, Predictions, counted
from radfoundry.stats import auc, bootstrap
from radfoundry.stats.bootstrap import Weighted, draw_weights, widened_level
from radfoundry.tasks import nested_figures
from radfoundry.tasks.examples import by_case
from radfoundry.tasks.nested import Design, Rows, fit_fold, fold_numbers
from radfoundry.tasks.nested_pipeline import Pipeline

DRAWS = 2000
LEAST = 5


@dataclass(frozen=True, eq=False)
class Gap:
    """Answers inside and outside. `paired`: of the same cases, by models that knew their site and that did not."""

    inside: Predictions
    outside: Predictions
    kind: str
    paired: bool


def outside_part(asked: Rows, pipeline: Pipeline, outside: np.ndarray, *, design: Design) -> Gap:
    """Cross-validated answers about the rows that teach, and answers about rows kept outside, by a fit on the rest.

    `outside` (n,) says which rows were kept away. Refuses a patient on both sides, and parts without both classes.
    """
    rows = asked.rows
    shared = np.intersect1d(rows.patient[outside], rows.patient[~outside])
    if len(shared):
        raise InputError(
            f"{counted(len(shared), 'patient is', 'patients are')} inside and outside",
            remedy="leave them out",
            finding="leak",
        )
    here, there = np.flatnonzero(~outside), np.flatnonzero(outside)
    if min(len(here), len(there)) == 0:
        raise InputError("nobody is left on one side", where=f"task {asked.task}", finding="empty-part")
    fold = fold_numbers(rows.take(here), kind=asked.kind, folds=design.folds, seed=design.seed)
    score = _folded(asked, pipeline, here, fold, design)
    said, _ = fit_fold(asked, pipeline, here, there, design=design, seed=design.seed)
    inside, far = by_case([(rows.take(here), score)]), by_case([(rows.take(there), said)])
    return Gap(inside, far, asked.kind, paired=False)


def outside_sites(asked: Rows, pipeline: Pipeline, *, design: Design) -> Gap:
    """Every site answered by models that never saw it nor its patients, beside folds between patients of all sites."""
    rows = asked.rows
    sites = np.unique(rows.site)
    if len(sites) < 2:
        raise InputError(f"{len(sites)} site", where="test=sites", remedy="ingest with site_from", finding="one-site")
    everyone = np.arange(len(rows))
    fold = fold_numbers(rows, kind=asked.kind, folds=design.folds, seed=design.seed)
    inside = _folded(asked, pipeline, everyone, fold, design)
    outside = np.zeros_like(inside)
    for site in sites:
        tested = np.flatnonzero(rows.site == site)
        taught = np.flatnonzero((rows.site != site) & ~np.isin(rows.patient, rows.patient[tested]))
        outside[tested], _ = fit_fold(asked, pipeline, taught, tested, design=design, seed=design.seed)
    return Gap(by_case([(rows, inside)]), by_case([(rows, outside)]), asked.kind, paired=True)


def _folded(asked: Rows, pipeline: Pipeline, here: np.ndarray, fold: np.ndarray, design: Design) -> np.ndarray:
    score: np.ndarray | None = None
    for number in range(int(fold.max()) + 1):
        tested = fold == number
        said, _ = fit_fold(asked, pipeline, here[~tested], here[tested], design=design, seed=design.seed)
        score = np.zeros((len(here), *said.shape[1:])) if score is None else score
        score[tested] = said
    if score is None:
        raise InputError("no fold was tested", where=f"task {asked.task}", finding="too-few")
    return score


def measured(found: Gap, *, seed: int = 0) -> dict[str, Estimate]:
    """The figure inside and outside, and inside minus outside: positive is what is lost out there.

    Intervals are bootstraps over patients: of both sides on their own, or of the same patients where paired.
    """
    name, statistic = nested_figures.figure_name(found.kind), _statistic(found.kind)
    sides = {"internal": found.inside, "external": found.outside}
    made = {
        # The area has an interval of its own that stays sensible at 0 and 1.
        f"{side}-{name}": auc.auroc(rows)
        if found.kind == "binary"
        else bootstrap.bootstrap(statistic, rows, rng=seed, method="percentile")
        for side, rows in sides.items()
    }
    if found.kind == "binary":
        gap = auc.auroc_difference(found.inside, found.outside, paired=found.paired)
    elif found.paired:
        gap = bootstrap.bootstrap_difference(statistic, found.inside, found.outside, draws=DRAWS, rng=seed)
    else:
        gap = difference_apart(found.kind, found.inside, found.outside, seed=seed)
    return made | {f"gap-{name}": gap}


def by_site(found: Gap, *, seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """For each site with at least five patients: inside, outside and the gap, as `measured`."""
    site = np.asarray(found.outside.site)
    made = {}
    for name in np.unique(site):
        rows = site == name
        if len(np.unique(found.outside.patient[rows])) >= LEAST and _judgeable(found.outside.take(rows), found.kind):
            made[str(name)] = measured(
                Gap(found.inside.take(rows), found.outside.take(rows), found.kind, True), seed=seed
            )
    return made


def _judgeable(rows: Predictions, kind: str) -> bool:
    return not np.isnan(nested_figures.whole(kind, rows))


def difference_apart(kind: str, first: Predictions, second: Predictions, *, seed: int) -> Estimate:
    """The figure of the first minus that of other patients, each drawn on their own."""
    rng = np.random.default_rng(seed)
    values, drawn = [], []
    for rows in (first, second):
        prepared = nested_figures.figure(kind, rows)
        values.append(float(prepared(np.ones((1, len(rows))))[0]))
        drawn.append(prepared(draw_weights(rows.patient, draws=DRAWS, rng=rng)))
    gaps = drawn[0] - drawn[1]
    known, n = gaps[~np.isnan(gaps)], len(first) + len(second)
    method = f"bootstrap over patients of both sides, {DRAWS} draws, percentile"
    if np.isnan(values).any() or len(known) < DRAWS / 2:
        return Estimate.undefined("one side has one class only", n=n, method=method)
    least = min(len(np.unique(rows.patient)) for rows in (first, second))
    tail = (1 - widened_level(0.95, least)) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(values[0] - values[1], float(low), float(high), method=method, n=n)


def _statistic(kind: str) -> Weighted:
    def prepare(rows: Predictions) -> Callable[[np.ndarray], np.ndarray]:
        return nested_figures.figure(kind, rows)

    return Weighted(nested_figures.figure_name(kind), prepare)


def outside_difference(first: Gap, second: Gap, *, seed: int = 0) -> dict[str, Estimate]:
    """How much better the first model is outside, and how much smaller its gap is, on the same patients."""
    name, statistic = nested_figures.figure_name(first.kind), _statistic(first.kind)
    gain = bootstrap.bootstrap_difference(statistic, first.outside, second.outside, draws=DRAWS, rng=seed)
    return {f"external-{name}": gain}
