"""Do 95 % intervals hold the truth in 95 % of studies? Simulated studies of known truth, clustered and not.

`python tests/stats/test_stats_coverage_a.py docs/statistics-coverage.md` writes the table into the documentation.
"""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import Estimate, Predictions
from radfoundry.stats.auc import auroc, auroc_difference
from radfoundry.stats.bootstrap import bootstrap_many
from radfoundry.stats.classification import drawn_measures
from radfoundry.stats.comparisons import mean_difference
from radfoundry.stats.multiclass import label_areas
from radfoundry.stats.prediction_powered import prediction_powered_mean
from radfoundry.stats.proportions import clustered_proportion
from radfoundry.stats.recalibration import calibration_in_the_large, calibration_slope
from radfoundry.stats.regression import MEASURES, r_squared, root_mean_square_error
from radfoundry.stats.roc_readings import average_precision
from radfoundry.stats.weighted import weighted_auroc, weighted_average_precision, weighted_brier

PATIENTS = (50, 200, 1000)
SETTINGS = [(n, clustered) for clustered in (False, True) for n in PATIENTS]
STUDIES = {
    "formula": {50: 4000, 200: 2000, 1000: 1000},
    "left out": {50: 4000, 200: 2000, 1000: 800},
    "drawn": {50: 3000, 200: 1500, 1000: 1000},
}
DRAWS = 600
SHIFT, PREVALENCE, CUT = 1.19, 0.4, 0.5
DRAWN_BINARY = {
    **{name: measure for name, measure in drawn_measures(CUT).items() if name != "youden"},
    "AUROC": weighted_auroc,
    "Brier score": weighted_brier,
    "average precision": weighted_average_precision,
}
LEFT_OUT_MEASURES = {"root_mean_square_error": root_mean_square_error, "r_squared": r_squared}
# Their bootstrap intervals are shown for comparison alone.
SUPERSEDED = ("average precision", "root_mean_square_error", "r_squared")
# Shown for comparison, with what they are known to do; every other line must cover 93 to 97 %.
KNOWN = {
    "AUROC, DeLong (symmetric)": (0.90, 0.97),
    "sensitivity, Clopper-Pearson": (0.94, 0.995),
    "average precision, bootstrap": (0.90, 0.97),
    "root mean square error, bootstrap": (0.90, 0.97),
    "r squared, bootstrap": (0.90, 0.97),
    "root mean square error, heavy-tailed errors": (0.90, 0.97),
    "naive: rows as patients, AUROC": (0.0, 1.0),
}


def study(rng: np.random.Generator, patients: int, clustered: bool) -> dict[str, Predictions]:
    """Two predictors of a finding and one of an age; clustered patients have 1 to 4 rows that are alike."""
    rows = rng.integers(1, 5, patients) if clustered else np.ones(patients, int)
    patient = np.repeat(np.arange(patients), rows)
    n, shared = len(patient), 0.5 if clustered else 0.0

    def noise(draw: Callable[..., np.ndarray] = rng.normal) -> np.ndarray:
        return np.sqrt(shared) * draw(size=patients)[patient] + np.sqrt(1 - shared) * draw(size=n)

    together = (rng.random(patients) < PREVALENCE)[patient]
    truth = np.where(rng.random(n) < shared, together, rng.random(n) < PREVALENCE).astype(int)
    score, common = SHIFT * truth, noise()
    first, second = score + 0.8 * common + 0.6 * noise(), score * 0.8 + 0.8 * common + 0.6 * noise()
    logit = SHIFT * first - SHIFT**2 / 2 + np.log(PREVALENCE / (1 - PREVALENCE))
    age = 60 + 12 * noise()
    guess, tails = age + 1 + 4 * noise(), 4 / np.sqrt(2) * noise(rng.spawn(1)[0].laplace)
    return {
        "first": Predictions.of(truth, 1 / (1 + np.exp(-logit)), patient=patient),
        "second": Predictions.of(truth, second, patient=patient),
        "age": Predictions.of(age, guess, patient=patient),
        "tailed": Predictions.of(age, age + 1 + tails, patient=patient),
    }


@cache
def truths() -> dict[str, float]:
    """What the estimates aim at, from a million independent rows (error: a thirtieth of that of the largest study)."""
    big = study(np.random.default_rng(1), 1_000_000, False)
    values = {name: statistic(big["first"]) for name, statistic in DRAWN_BINARY.items()}
    values |= {name: statistic(big["age"]) for name, statistic in MEASURES.items()}
    target, score = big["first"].target, big["first"].score
    return values | {
        "second AUROC": weighted_auroc(big["second"]),
        "sensitivity": float((score[target == 1] >= CUT).mean()),
    }


def closed(data: dict[str, Predictions]) -> Iterator[tuple[str, Estimate, float]]:
    """Estimates with a formula for their interval, and their truths."""
    true, first = truths(), data["first"]
    ill = first.target == 1
    hit, ill_patient = first.score[ill] >= CUT, first.patient[ill]
    yield "AUROC, DeLong on the logit scale (default)", auroc(first), true["AUROC"]
    yield "AUROC, DeLong (symmetric)", auroc(first, method="delong"), true["AUROC"]
    yield "naive: rows as patients, AUROC", auroc(first.target, first.score), true["AUROC"]
    gap = auroc_difference(first, data["second"])
    yield "AUROC difference, paired DeLong", gap, true["AUROC"] - true["second AUROC"]
    yield "sensitivity, Wilson", clustered_proportion(hit, ill_patient), true["sensitivity"]
    exact = clustered_proportion(hit, ill_patient, method="clopper-pearson")
    yield "sensitivity, Clopper-Pearson", exact, true["sensitivity"]
    yield "calibration slope, sandwich", calibration_slope(first), 1.0
    yield "calibration in the large, t", calibration_in_the_large(first), 0.0
    two = np.stack([first.target, 1 - first.target], axis=1)
    both = label_areas(two, np.stack([first.score, -data["second"].score], axis=1), patient=first.patient)
    yield "macro AUROC of two findings", both.overall["macro_auroc"], (true["AUROC"] + true["second AUROC"]) / 2
    age = data["age"]
    yield "mean difference, t", mean_difference(age.score, age.target, patient=age.patient), 1.0
    guess, half = (first.score >= CUT).astype(float), len(first) // 2
    cut = int(np.searchsorted(first.patient.astype(int), first.patient.astype(int)[half]))
    yield (
        "prevalence, prediction-powered, half audited",
        prediction_powered_mean(
            first.target[:cut],
            guess[:cut],
            guess[cut:],
            patient=first.patient[:cut],
            unaudited_patient=first.patient[cut:],
        ),
        PREVALENCE,
    )


def left_out(data: dict[str, Predictions]) -> Iterator[tuple[str, Estimate, float]]:
    """Estimates whose interval comes from leaving one patient out at a time."""
    true = truths()
    area = average_precision(data["first"])
    yield "average precision, jackknife on the logit scale", area, true["average precision"]
    for name, measure in LEFT_OUT_MEASURES.items():
        yield f"{name.replace('_', ' ')}, jackknife on the log scale", measure(data["age"]), true[name]
    heavy = root_mean_square_error(data["tailed"])
    yield "root mean square error, heavy-tailed errors", heavy, true["root_mean_square_error"]


def drawn(data: dict[str, Predictions], seed: int) -> Iterator[tuple[str, Estimate, float]]:
    """Estimates whose interval is a BCa bootstrap of patients; those only compared are left out where it takes long."""
    compared = SUPERSEDED if len(set(data["first"].patient)) > 200 else ()
    for source, statistics in (("first", DRAWN_BINARY), ("age", MEASURES)):
        kept = {name: statistic for name, statistic in statistics.items() if name not in compared}
        for name, found in bootstrap_many(kept, data[source], draws=DRAWS, rng=seed).items():
            yield f"{name.replace('_', ' ')}, bootstrap", found, truths()[name]


@cache
def coverage(patients: int, clustered: bool, part: str) -> dict[str, float]:
    """Share of studies whose interval holds the truth, for every estimate; undefined intervals do not hold it."""
    held: dict[str, list[bool]] = {}
    rng = np.random.default_rng(1000 * clustered + patients)
    for number in range(STUDIES[part][patients]):
        data = study(rng, patients, clustered)
        found = {"formula": closed, "left out": left_out}[part](data) if part != "drawn" else drawn(data, number)
        for name, estimate, true in found:
            held.setdefault(name, []).append(bool(estimate.low <= true <= estimate.high))
    return {name: float(np.mean(hits)) for name, hits in held.items()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", STUDIES)
@pytest.mark.parametrize(("patients", "clustered"), SETTINGS)
def test_nominal_95_percent_intervals_cover_93_to_97_percent(patients, clustered, part):
    shares = coverage(patients, clustered, part)
    allowed = {name: KNOWN.get(name, (0.93, 0.97)) for name in shares}
    assert {name: share for name, share in shares.items() if not allowed[name][0] <= share <= allowed[name][1]} == {}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_counting_rows_as_patients_does_not_cover():
    """The control: the same simulation catches the analysis that ignores clusters."""
    shares = coverage(200, True, "formula")
    assert shares["naive: rows as patients, AUROC"] < 0.93


def test_a_quick_look_at_the_simulation_itself():
    rng = np.random.default_rng(0)
    found = [auroc(study(rng, 80, True)["first"]) for _ in range(150)]
    held = [estimate.low <= 0.8 <= estimate.high for estimate in found]
    assert np.mean(held) > 0.88


def page() -> str:
    """The table of coverages as a page."""
    columns = {
        setting: {name: share for part in STUDIES for name, share in coverage(*setting, part).items()}
        for setting in SETTINGS
    }
    heads = [f"{n} patients{', 1-4 rows each' if clustered else ''}" for n, clustered in SETTINGS]
    lines = [
        "# Do the intervals hold what they promise?",
        "",
        "Share of simulated studies whose nominal 95 % interval held the truth (AUROC 0.8, prevalence 0.4).",
        "In clustered studies patients have one to four rows that share half of their variance, and half of the",
        "labels are common to the patient. Formulas: 4,000, 2,000 and 1,000 studies. Leaving one patient out: 4,000,",
        "2,000 and 800. Bootstraps (BCa, 600 draws of patients): 3,000, 1,500 and 1,000. A share of 95 % carries a",
        "simulation error of 0.3 to 0.8 percentage points.",
        "",
        "`tests/stats/test_stats_coverage_a.py` makes the table and fails when a line leaves 93 to 97 %. Exceptions",
        "are shown on purpose: the symmetric DeLong interval (R's default) is too narrow in small samples, the exact",
        "one is too wide by construction, counting rows as patients does not cover, and the bootstrap of average",
        "precision, root mean square error and R² falls short where the interval that the functions give by default",
        "(leaving one patient out at a time, on the logit or log scale, with Student's t) does not. Root mean square",
        "error rests on the few largest errors: where errors have heavier tails than the normal (Laplace, the line",
        '"heavy-tailed") no interval tried reaches 93 % with 50 or 200 independent patients.',
        "",
        "| interval | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * len(heads),
    ]
    for name in columns[SETTINGS[0]]:
        found = (columns[setting].get(name) for setting in SETTINGS)
        shares = " | ".join("–" if share is None else f"{100 * share:.1f}" for share in found)
        lines.append(f"| {name} | {shares} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
