"""Do the intervals hold what they promise? Coverage of nominal 95 % intervals over simulated studies of known truth.

Run as a script it prints the table of the documentation: `python tests/stats/test_stats_coverage_b.py`.
"""

import math
import sys
import time
from functools import lru_cache

import numpy as np
import pytest

from radfoundry.stats.bland_altman import bland_altman
from radfoundry.stats.concordance import kendall_w, lin_concordance
from radfoundry.stats.concordance_index import concordance_index
from radfoundry.stats.correlation import correlation
from radfoundry.stats.follow_up import censor_at
from radfoundry.stats.icc import icc
from radfoundry.stats.jafroc import jafroc
from radfoundry.stats.kappa import cohen_kappa, fleiss_kappa
from radfoundry.stats.marks import Marks
from radfoundry.stats.repeated import repeatability
from radfoundry.stats.survival import kaplan_meier

SIZES = (50, 200, 1000)
LEVELS = (0.93, 0.97)


# --- measurements: subject spread 2, reader spread 0.5, error 1


def icc_study(form, readers, interval="generalised"):
    subject, reader, error = 4.0, 0.25, 1.0
    shared = {"ICC(1,1)": reader + error, "ICC(2,1)": reader + error, "ICC(3,1)": error}[form]
    truth = subject / (subject + shared)

    def study(rng, n):
        table = rng.normal(0, 2, (n, 1)) + rng.normal(0, 1, (n, readers))
        if form == "ICC(1,1)":
            table += rng.normal(0, 0.5, (n, readers))
        else:
            table += rng.normal(0, 0.5, (1, readers))
        return icc(table, form=form, interval=interval), truth

    return study


def limits_study(interval, repeats):
    between, within = 1.0, 0.8
    spread = math.sqrt(between**2 + within**2)

    def study(rng, n):
        size = np.full(n, 1) if repeats == 1 else rng.integers(1, repeats + 1, n)
        subject = np.repeat(np.arange(n), size)
        difference = 0.3 + rng.normal(0, between, n)[subject] + rng.normal(0, within, len(subject))
        found = bland_altman(
            difference, np.zeros(len(difference)), subject=subject if repeats > 1 else None, interval=interval
        )
        return found.upper_limit, 0.3 + 1.959964 * spread

    return study


def repeatability_study(rng, n):
    values = rng.normal(50, 10, (n, 1)) + rng.normal(0, 2, (n, 2))
    return repeatability(values).coefficient, 1.959964 * math.sqrt(2) * 2


def paired_study(function, rho):
    def study(rng, n):
        x = rng.normal(size=n)
        return function(x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n)), truth

    truth = {correlation: rho, lin_concordance: rho}.get(function, 6 / math.pi * math.asin(rho / 2))
    return study


def spearman(x, y):
    return correlation(x, y, kind="spearman")


def concordance_study(rng, n):
    # Bias 0.5 and a scale of 1.2: 2 rho s / (1 + s² + bias²).
    x = rng.normal(size=n)
    y = 0.5 + 1.2 * (0.9 * x + math.sqrt(1 - 0.81) * rng.normal(size=n))
    return lin_concordance(x, y), 2 * 0.9 * 1.2 / (1 + 1.44 + 0.25)


# --- categories


def ordered_study(rng, n):
    # Readers miss by one step on a five-point scale whose ends are rare.
    share, miss = np.array([0.02, 0.3, 0.5, 0.16, 0.02]), 0.27
    cells = np.diag(share * (1 - miss))
    for row, neighbours in enumerate(([1], [0, 2], [1, 3], [2, 4], [3])):
        cells[row, neighbours] = share[row] * miss / len(neighbours)
    credit = 1 - (np.subtract.outer(np.arange(5), np.arange(5)) / 4) ** 2
    chance = cells.sum(axis=1) @ credit @ cells.sum(axis=0)
    drawn = rng.choice(25, size=n, p=cells.ravel())
    found = cohen_kappa(drawn // 5, drawn % 5, weights="quadratic", labels=range(5))
    return found, ((cells * credit).sum() - chance) / (1 - chance)


def kappa_study(prevalence, agree, weights, per_patient=1):
    share = np.array(prevalence) / sum(prevalence)
    count = len(share)
    cells = agree * np.diag(share) + (1 - agree) * np.outer(share, share)
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) / (count - 1)
    credit = {"none": np.eye(count), "quadratic": 1 - apart**2}[weights]
    chance = cells.sum(axis=1) @ credit @ cells.sum(axis=0)
    truth = ((cells * credit).sum() - chance) / (1 - chance)

    def study(rng, n):
        drawn = rng.choice(count * count, size=n, p=cells.ravel())
        first, second = drawn // count, drawn % count
        if per_patient == 1:
            return cohen_kappa(first, second, weights=weights, labels=range(count)), truth
        # Findings of one patient repeat the patient's own cell with probability one half.
        patient = np.arange(n) // per_patient
        own = drawn[patient * per_patient]
        mixed = np.where(rng.random(n) < 0.5, own, drawn)
        first, second = mixed // count, mixed % count
        return cohen_kappa(first, second, weights=weights, labels=range(count), patient=patient), truth

    return study


def fleiss_study(rng, n):
    # Four readers copy a hidden category with probability 0.7, else draw by prevalence: kappa = 0.7².
    share = np.array([0.5, 0.3, 0.2])
    hidden = rng.choice(3, size=(n, 1), p=share)
    own = rng.choice(3, size=(n, 4), p=share)
    return fleiss_kappa(np.where(rng.random((n, 4)) < 0.7, hidden, own)), 0.49


# --- survival: exponential times with a marker, uniform censoring (about 40 % at the end of follow-up)


def follow(rng, n):
    marker = rng.normal(size=n)
    event_time = rng.exponential(np.exp(-0.7 * marker)) * 20
    censor = rng.uniform(5, 40, n)
    return np.minimum(event_time, censor), event_time <= censor, marker


@lru_cache
def marginal_survival(moment):
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float((weights * np.exp(-moment / 20 * np.exp(0.7 * nodes))).sum() / weights.sum())


def kaplan_meier_study(moment, interval):
    def study(rng, n):
        curve = kaplan_meier(*follow(rng, n)[:2], interval=interval)
        return curve.at(moment), marginal_survival(moment)

    return study


@lru_cache
def true_restricted_mean():
    grid = np.linspace(0, 25, 101)
    return float(np.trapezoid([marginal_survival(float(t)) for t in grid], grid))


def restricted_study(rng, n):
    return kaplan_meier(*follow(rng, n)[:2]).restricted_mean(25), true_restricted_mean()


@lru_cache
def true_concordance(weighting):
    """Among 4 million independent pairs: with the same censoring for Harrell, without any for Uno up to 25."""
    rng = np.random.default_rng(99)
    (t1, d1, m1), (t2, d2, m2) = follow(rng, 4_000_000), follow(rng, 4_000_000)
    if weighting == "uno":
        t1, t2 = (rng.exponential(np.exp(-0.7 * m)) * 20 for m in (m1, m2))
        d1, d2 = t1 < 25, t2 < 25
    first, second = (t1 < t2) & d1, (t2 < t1) & d2
    good = (first & (m1 > m2)).sum() + (second & (m2 > m1)).sum()
    return float(good / (first.sum() + second.sum()))


def c_study(weighting, copies=1):
    def study(rng, n):
        times, events, marker = follow(rng, n)
        if copies > 1:
            # Every patient appears several times: knowing who is who keeps the interval as wide as it must be.
            patient = np.tile(np.arange(n // copies), copies)
            times, events, marker = (np.tile(column[: n // copies], copies) for column in (times, events, marker))
            return concordance_index(times, events, marker, patient=patient), true_concordance("harrell")
        if weighting == "uno":
            times, events = censor_at(times, events, 25)
        return concordance_index(times, events, marker, weighting=weighting), true_concordance(weighting)

    return study


# --- detection: half of the cases carry one to three lesions


def jafroc_marks(rng, n):
    lesions = np.where(np.arange(n) < n // 2, 0, rng.integers(1, 4, n))
    false_case = np.repeat(np.arange(n), rng.poisson(0.9, n))
    lesion_case = np.repeat(np.arange(n), lesions)
    number = np.concatenate([np.arange(k) for k in lesions])
    # Lesions of one patient share how visible they are.
    seen = rng.random(len(lesion_case)) < 0.75
    rating = rng.normal(0.9, 0.8, len(lesion_case)) + rng.normal(0, 0.6, n)[lesion_case]
    return Marks.of(
        np.concatenate([false_case, lesion_case[seen]]),
        np.concatenate([rng.normal(size=len(false_case)), rating[seen]]),
        np.concatenate([np.full(len(false_case), -1), number[seen]]),
        lesions=dict(enumerate(lesions.tolist())),
    )


@lru_cache
def true_jafroc():
    return float(np.mean([jafroc(jafroc_marks(np.random.default_rng(k), 2000)).value for k in range(400)]))


def jafroc_study(rng, n):
    return jafroc(jafroc_marks(rng, n)), true_jafroc()


STUDIES = {
    "ICC(1,1), 3 readers": icc_study("ICC(1,1)", 3),
    "ICC(3,1), 3 readers": icc_study("ICC(3,1)", 3),
    "ICC(2,1), 3 readers": icc_study("ICC(2,1)", 3),
    "ICC(2,1), 12 readers": icc_study("ICC(2,1)", 12),
    "ICC(2,1), 3 readers, Satterthwaite (as R)": icc_study("ICC(2,1)", 3, "satterthwaite"),
    "ICC(2,1), 12 readers, Satterthwaite (as R)": icc_study("ICC(2,1)", 12, "satterthwaite"),
    "Bland-Altman limit, exact": limits_study("exact", 1),
    "Bland-Altman limit, approximate": limits_study("approximate", 1),
    "Bland-Altman limit, 1-4 pairs a subject": limits_study("exact", 4),
    "repeatability coefficient": repeatability_study,
    "Pearson correlation": paired_study(correlation, 0.6),
    "Spearman correlation": paired_study(spearman, 0.6),
    "Lin's concordance": concordance_study,
    "kappa, 4 categories": kappa_study([4, 3, 2, 1], 0.6, "none"),
    "kappa, rare finding (10 %)": kappa_study([9, 1], 0.7, "none"),
    "weighted kappa, quadratic": kappa_study([4, 3, 2, 1], 0.6, "quadratic"),
    "weighted kappa, near misses only": ordered_study,
    "kappa, 2 findings a patient": kappa_study([4, 3, 2, 1], 0.6, "none", per_patient=2),
    "Fleiss' kappa, 4 readers": fleiss_study,
    "Kaplan-Meier at 10, log-log": kaplan_meier_study(10.0, "log-log"),
    "Kaplan-Meier at 30, log-log": kaplan_meier_study(30.0, "log-log"),
    "restricted mean to 25": restricted_study,
    "Harrell's C": c_study("harrell"),
    "Harrell's C, 2 rows a patient": c_study("harrell", copies=2),
    "Uno's C": c_study("uno"),
    "JAFROC (wAFROC)": jafroc_study,
}
SLOW = {"Harrell's C", "Harrell's C, 2 rows a patient", "Uno's C", "JAFROC (wAFROC)"}


def coverage(name, n, *, runs=None, seed=0):
    """Share of intervals that hold the truth; an interval that is missing counts as a failure."""
    study = STUDIES[name]
    count = runs or (600 if name in SLOW and n >= 1000 else 2000)
    hits = 0
    for run in range(count):
        found, truth = study(np.random.default_rng((seed, n, run)), n)
        hits += bool(found.low <= truth <= found.high)
    return hits / count


# Shown for comparison: with many subjects the doubt about ICC(2,1) lies in the readers, and the interval of psych::ICC
# and SPSS has too many degrees of freedom there. Every other line must cover 93 to 97 %.
AS_R = {"ICC(2,1), 3 readers, Satterthwaite (as R)", "ICC(2,1), 12 readers, Satterthwaite (as R)"}


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", [name for name in STUDIES if name not in AS_R])
def test_nominal_95_percent_covers_93_to_97(name, n):
    assert LEVELS[0] <= coverage(name, n) <= LEVELS[1]


@pytest.mark.slow
def test_the_interval_that_r_prints_is_too_narrow_with_few_readers_of_many_subjects():
    assert coverage("ICC(2,1), 3 readers, Satterthwaite (as R)", 1000) < 0.85
    assert coverage("ICC(2,1), 12 readers, Satterthwaite (as R)", 1000) < 0.94


@pytest.mark.slow
def test_ignoring_patients_would_fail():
    # The control: treating copies of a patient as independent loses coverage, so the test above can fail.
    hits = 0
    for run in range(400):
        times, events, marker = follow(np.random.default_rng((5, run)), 60)
        found = concordance_index(*(np.tile(column, 4) for column in (times, events, marker)))
        hits += bool(found.low <= true_concordance("harrell") <= found.high)
    assert hits / 400 < 0.8


def test_kendall_w_interval_contains_the_value():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(12, 1)) + rng.normal(size=(12, 4))
    found = kendall_w(table)
    assert found.low < found.value < found.high


if __name__ == "__main__":
    chosen = sys.argv[2:] or list(STUDIES)
    runs = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] != "0" else None
    print("| interval | n = 50 | n = 200 | n = 1000 |\n|---|---|---|---|")
    for name in chosen:
        start = time.perf_counter()
        row = " | ".join(f"{100 * coverage(name, n, runs=runs):.1f}" for n in SIZES)
        print(f"| {name} | {row} |", file=sys.stdout, flush=True)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
