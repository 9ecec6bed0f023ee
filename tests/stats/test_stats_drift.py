"""Drift tests against R and slow definitions, and the false alarms they promise."""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from radfoundry.records import InputError
from radfoundry.stats.drift import chi2_table, chi2_test, drift_report, ks_test
from radfoundry.stats.drift_kernels import classifier_test, mmd_test

GOLDEN = Path(__file__).parents[1] / "golden"
R = {row[0]: float(row[1]) for row in csv.reader((GOLDEN / "stats_c.csv").read_text().splitlines()[2:])}
# The samples in tests/golden/stats_c.R, section drift.
ONE = [0.3, 1.1, -0.4, 0.9, 2.2, 0.1, -1.3, 0.6, 0.8, -0.2, 1.7, 0.5]
OTHER = [1.4, 2.3, 0.7, 1.9, 3.1, 1.2, 0.4, 2.6, 1.8, 2.0]


def test_kolmogorov_smirnov_equals_r():
    found = ks_test(ONE, OTHER)
    assert (found.value, found.p_value) == pytest.approx((R["ks.d"], R["ks.p_exact"]))


def test_kolmogorov_smirnov_equals_scipy_exact_and_asymptotic():
    rng = np.random.default_rng(1)
    for m, n in ((3, 5), (40, 70), (90, 90)):
        one, other = rng.normal(size=m), rng.normal(0.3, 1, n)
        theirs = ks_2samp(one, other, method="exact")
        assert ks_test(one, other).p_value == pytest.approx(theirs.pvalue, rel=1e-6)
    one, other = rng.normal(size=400), rng.normal(0.1, 1, 500)
    assert ks_test(one, other).p_value == pytest.approx(ks_2samp(one, other, method="asymp").pvalue, rel=0.05)


def test_chi_squared_equals_r_and_joins_rare_categories():
    counts = np.array([[30, 12, 8], [22, 25, 3]])
    found = chi2_table(counts)
    assert found.p_value == pytest.approx(R["chi2.p"])
    assert found.value == pytest.approx(np.sqrt(R["chi2.statistic"] / 100))
    one, other = np.repeat(["a", "b", "c", "d"], [40, 40, 1, 1]), np.repeat(["a", "b", "e"], [40, 40, 2])
    joined = chi2_test(one, other)
    expected = chi2_contingency([[40, 40, 2], [40, 40, 2]], correction=False)
    assert joined.p_value == pytest.approx(expected.pvalue)


def slow_mmd(x, y):
    rows = np.r_[x, y]
    squared = ((rows[:, None] - rows[None, :]) ** 2).sum(axis=2)
    width = np.median([squared[i, j] for i in range(len(rows)) for j in range(i + 1, len(rows))])

    def k(a, b):
        return np.exp(-((a - b) ** 2).sum() / width)

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    return xx + yy - 2 * np.mean([k(a, b) for a in x for b in y])


def test_mmd_equals_its_definition_and_sees_a_shift():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(12, 3)), rng.normal(0.8, 1, (9, 3))
    assert mmd_test(x, y, permutations=50).value == pytest.approx(slow_mmd(x, y))
    assert mmd_test(rng.normal(size=(40, 3)), rng.normal(0.8, 1, (40, 3)), permutations=200).p_value < 0.01


def test_classifier_equals_refitting_without_each_fold():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(25, 4)), rng.normal(0.7, 1, (20, 4))
    found = classifier_test(x, y, permutations=50, rng=np.random.default_rng(5))
    folds = np.random.default_rng(5).permutation(45) % 5
    rows = np.r_[x, y]
    rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    side = np.arange(45) >= 25
    label = side - side.mean()
    wins = pairs = 0.0
    for fold in range(5):
        out = folds == fold
        gram = rows[~out].T @ rows[~out] / 4 + np.eye(4)
        score = rows[out] @ np.linalg.solve(gram, rows[~out].T @ label[~out] / 4)
        new, old = score[side[out]], score[~side[out]]
        wins += (new[:, None] > old).sum()
        pairs += new.size * old.size
    assert found.value == pytest.approx(wins / pairs)
    assert found.p_value < 0.05


@pytest.mark.parametrize("test", [mmd_test, classifier_test])
def test_permutation_tests_hold_their_error_with_repeated_patients(test):
    rng = np.random.default_rng(4)
    rejected = 0
    for _ in range(120):
        person = rng.normal(size=(24, 5))
        rows = np.repeat(person, 3, axis=0) + 0.2 * rng.normal(size=(72, 5))
        patients = (np.repeat(np.arange(12), 3), np.repeat(np.arange(12), 3))
        rejected += test(rows[:36], rows[36:], patients=patients, permutations=99, rng=rng).p_value <= 0.05
    # 120 trials: 6 expected, 13 are three standard deviations beyond.
    assert rejected <= 13


def test_rows_taken_as_patients_would_alarm_falsely():
    rng = np.random.default_rng(6)
    rejected = 0
    for _ in range(40):
        rows = np.repeat(rng.normal(size=(24, 5)), 3, axis=0) + 0.2 * rng.normal(size=(72, 5))
        rejected += mmd_test(rows[:36], rows[36:], permutations=99, rng=rng).p_value <= 0.05
    assert rejected > 12


def month(rng, *, te_ms=90.0, scanner=(0.5, 0.3, 0.2), n=80):
    return {
        "echo_time_ms": rng.normal(te_ms, 8, n),
        "age_years": rng.normal(55, 15, n),
        "contrast": rng.random(n) < 0.4,
        "scanner": rng.choice(["A", "B", "C"], n, p=scanner),
    }


def test_stable_months_keep_to_the_false_alarm_budget():
    rng = np.random.default_rng(7)
    looks = 120
    alarms = sum(bool(drift_report(month(rng, n=200), month(rng)).alarms) for _ in range(looks))
    # Budget: 1 in 12 looks = 10 of 120; Holm and discreteness make it less, never clearly more.
    assert alarms <= 10 + 3 * np.sqrt(10)
    assert alarms >= 2


def test_changed_month_names_what_changed_and_how():
    rng = np.random.default_rng(8)
    old = month(rng, n=200)
    found = drift_report(old, month(rng, te_ms=110.0, scanner=(0.1, 0.3, 0.6)))
    assert set(found.alarms) == {"echo_time_ms", "scanner"}
    told = {item.name: item.about for item in found.findings}
    assert told["echo_time_ms"].startswith("median 89.76 -> 10")
    assert "%" in told["scanner"]
    assert "1 false alarms per year in 12 looks: 0.0833 per look" in found.budget


def test_shifted_embeddings_are_found_beside_the_columns():
    rng = np.random.default_rng(9)
    old, new = rng.normal(size=(80, 16)), rng.normal(size=(60, 16)) + 0.6
    found = drift_report(month(rng), month(rng), embeddings=(old, new), rng=1)
    assert {"embeddings (MMD)", "embeddings (classifier)"} <= set(found.alarms)


def test_unusable_columns_are_refused():
    with pytest.raises(InputError, match="columns differ: b"):
        drift_report({"a": [1.0]}, {"a": [1.0], "b": [2.0]})
    with pytest.raises(InputError, match="column a: missing numbers"):
        drift_report({"a": [1.0, np.nan]}, {"a": [1.0, 2.0]})
    with pytest.raises(InputError, match="at least five patients"):
        mmd_test(np.zeros((3, 2)), np.zeros((9, 2)))
    assert not ks_test([], [1.0]).defined
    assert not mmd_test(np.zeros((6, 2)), np.zeros((9, 2))).defined
