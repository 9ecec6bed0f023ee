"""Kappa, concordance, correlation, Bland-Altman and repeated measures against R, published values and laws."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.bland_altman import bland_altman
from radfoundry.stats.concordance import kendall_w, lin_concordance
from radfoundry.stats.correlation import correlation, correlation_difference
from radfoundry.stats.kappa import category_agreement, cohen_kappa, fleiss_kappa, kappa_error
from radfoundry.stats.repeated import paired_t, repeatability, repeated_measures

# R 4.2.2; the packages and their versions are in the file, the script that made it lies beside it.
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "stats_b.json").read_text())


def close(*numbers):
    return pytest.approx(numbers if len(numbers) > 1 else numbers[0], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("weights", "name"), [("none", "unweighted"), ("linear", "linear"), ("quadratic", "quadratic")]
)
def test_kappa_and_its_published_error_equal_psych(weights, name):
    reference = GOLDEN["kappa"]
    found = cohen_kappa(reference["first"], reference["second"], weights=weights)
    assert found.value == close(reference[name])
    table = np.zeros((4, 4))
    np.add.at(table, (np.array(reference["first"]) - 1, np.array(reference["second"]) - 1), 1)
    value, error = kappa_error(table, weights=weights)
    assert value == close(reference[name])
    if weights == "none":
        assert error**2 == close(reference["unweighted_var"])
    # For weighted kappa psych 2.2.9 gives errors half as large as leaving items out does; statsmodels gives these.
    from statsmodels.stats.inter_rater import cohens_kappa

    assert error == close(cohens_kappa(table, wt=None if weights == "none" else weights).std_kappa)
    # Two extra items and Student's t change the published interval a little, never a lot, at 80 items.
    assert found.low == pytest.approx(value - 1.96 * error, abs=0.08)
    assert found.high == pytest.approx(value + 1.96 * error, abs=0.06)


def test_published_kappa_example():
    # Fleiss, Cohen & Everitt 1969, table 1: 200 subjects, kappa 0.429, standard error 0.054 (printed as 0.0537).
    value, error = kappa_error([[106, 10, 4], [22, 28, 10], [2, 12, 6]])
    assert (round(value, 3), round(error, 4)) == (0.429, 0.0537)


def test_published_fleiss_kappa_example():
    # The worked example of Wikipedia's article "Fleiss' kappa": ten subjects, fourteen raters, five categories: 0.210.
    table = """0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7"""
    counts = np.array([[int(n) for n in row.split()] for row in table.split("|")])
    found = fleiss_kappa(counts, counts=True)
    assert round(found.value, 3) == 0.210 and found.p_value < 1e-10
    # The same table as single ratings, readers in any order.
    ratings = np.array([np.repeat(np.arange(5), row) for row in counts])
    rng = np.random.default_rng(0)
    assert fleiss_kappa(rng.permuted(ratings, axis=1)).value == close(found.value)


def test_fleiss_error_equals_leaving_items_out():
    rng = np.random.default_rng(3)
    ratings = np.where(rng.random((60, 4)) < 0.6, rng.integers(0, 3, (60, 1)), rng.integers(0, 3, (60, 4)))
    counts = np.stack([(ratings == c).sum(axis=1) for c in range(3)], axis=1)
    found = fleiss_kappa(counts, counts=True)
    left = np.array([fleiss_kappa(np.delete(counts, i, 0), counts=True).value for i in range(60)])
    jackknife = math.sqrt(59 / 60 * ((left - left.mean()) ** 2).sum())
    assert (found.high - found.low) / 2 / 2.001 == pytest.approx(jackknife, rel=0.05)


def test_kappa_laws():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, 70)
    second = np.where(rng.random(70) < 0.6, first, rng.integers(0, 4, 70))
    one = cohen_kappa(first, second, labels=range(4))
    assert cohen_kappa(second, first, labels=range(4)).value == close(one.value)
    renamed = np.array(list("wxyz"))
    assert cohen_kappa(renamed[first], renamed[second]).value == close(one.value)
    assert cohen_kappa(3 - first, 3 - second, weights="quadratic").value == close(
        cohen_kappa(first, second, weights="quadratic").value
    )
    doubled = cohen_kappa(np.tile(first, 2), np.tile(second, 2), patient=np.tile(np.arange(70), 2), labels=range(4))
    assert doubled.value == close(one.value)
    assert doubled.high - doubled.low == pytest.approx(one.high - one.low, rel=0.05)
    perfect = cohen_kappa(first, first)
    assert perfect.value == perfect.high == 1.0 and perfect.low < 1.0
    assert not cohen_kappa([1, 1, 1], [1, 1, 1]).defined
    with pytest.raises(InputError, match="not among the labels"):
        cohen_kappa([1, 2], [1, 3], labels=[1, 2])
    with pytest.raises(InputError, match="different numbers"):
        fleiss_kappa([[3, 0], [1, 1]], counts=True)
    assert category_agreement(first, first, patient=first).value == 1.0


def test_correlations_equal_r():
    reference = GOLDEN["paired"]
    x, y = reference["x"], reference["y"]
    found = correlation(x, y)
    assert (found.value, found.low, found.high) == close(*reference["pearson"])
    assert found.p_value == close(reference["pearson_p"])
    assert correlation(x, y, kind="spearman").value == close(reference["spearman"])
    assert correlation(x, y, kind="kendall").value == close(reference["kendall"])


def test_correlation_laws():
    rng = np.random.default_rng(1)
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    for kind in ("spearman", "kendall"):
        assert correlation(np.exp(x), y**3, kind=kind).value == close(correlation(x, y, kind=kind).value)
    assert correlation(-x, y).value == close(-correlation(x, y).value)
    alone = correlation(x, y, patient=np.arange(40))
    twice = correlation(np.tile(x, 2), np.tile(y, 2), patient=np.tile(np.arange(40), 2))
    assert (twice.low, twice.high) == close(alone.low, alone.high)
    assert not correlation(np.ones(9), np.arange(9)).defined
    assert not correlation([1, 2, 3], [1, 2, 3]).defined
    # Fisher's own test: equal correlations in two groups of the same size differ by nothing.
    same = correlation_difference(correlation(x, y), correlation(x, y))
    assert same.value == 0 and same.p_value == close(1.0) and same.low == close(-same.high)


def test_concordance_equals_epir_and_never_exceeds_the_correlation():
    reference = GOLDEN["paired"]
    x, y = np.array(reference["x"]), np.array(reference["y"])
    found = lin_concordance(x, y)
    # epi.ccc divides variances by n, as Lin 1989 does; its interval assumes normal data, ours does not.
    assert found.value == close(reference["ccc"][0])
    assert found.low == pytest.approx(reference["ccc"][1], abs=0.06)
    assert found.high == pytest.approx(reference["ccc"][2], abs=0.03)
    assert abs(found.value) <= abs(correlation(x, y).value)
    assert lin_concordance(x, x + 5).value < correlation(x, x + 5).value
    assert lin_concordance(3 * x + 1, 3 * y + 1).value == close(found.value)
    assert not lin_concordance([1] * 6, [1] * 6).defined


def test_kendall_w_equals_friedman():
    reference = GOLDEN["friedman"]
    data = np.array(reference["data"])
    # Friedman's test of 20 blocks and 3 treatments is W of 20 readers ranking 3 cases.
    found = kendall_w(data.T)
    assert found.value * 20 * 2 == close(reference["chisq"])
    assert found.p_value == close(reference["p"])
    assert kendall_w(np.tile(np.arange(8)[:, None], 4)).value == 1.0
    assert kendall_w(np.exp(data.T)).value == close(found.value)
    assert not kendall_w(np.ones((5, 3))).defined


def test_bland_altman_by_hand_and_its_interval():
    rng = np.random.default_rng(4)
    a, b = rng.normal(100, 10, (2, 25))
    found = bland_altman(a, b)
    difference = a - b
    assert found.bias.value == close(difference.mean())
    assert found.upper_limit.value == close(difference.mean() + 1.959964 * difference.std(ddof=1))
    assert found.lower_limit.value == close(difference.mean() - 1.959964 * difference.std(ddof=1))
    swapped = bland_altman(b, a)
    assert swapped.upper_limit.high == close(-found.lower_limit.low)
    # Carkeet 2015: the exact interval reaches farther out than in; the approximate one is symmetric.
    outward = found.upper_limit.high - found.upper_limit.value
    assert outward > found.upper_limit.value - found.upper_limit.low
    plain = bland_altman(a, b, interval="approximate").upper_limit
    assert plain.high - plain.value == close(plain.value - plain.low)
    moved = bland_altman(a + 7, b)
    assert moved.bias.value == close(found.bias.value + 7) and moved.upper_limit.value == close(
        found.upper_limit.value + 7
    )


def test_bland_altman_scales():
    a, b = np.array([10.0, 20, 40, 80, 30]), np.array([9.0, 21, 36, 75, 31])
    ratio = bland_altman(a, b, scale="ratio")
    assert ratio.bias.value == close(math.exp(np.log(a / b).mean()))
    # Ratios do not know the unit.
    assert bland_altman(3 * a, 3 * b, scale="ratio").upper_limit.high == close(ratio.upper_limit.high)
    percent = bland_altman(a, b, scale="percent")
    assert percent.bias.value == close((200 * (a - b) / (a + b)).mean())
    with pytest.raises(InputError, match="positive"):
        bland_altman(a - 10, b, scale="ratio")
    assert not bland_altman(a[:2], b[:2]).bias.defined


def test_bland_altman_repeated_pairs_by_hand():
    # Bland & Altman 2007, section 3: total variance = between-subject-means variance + (1 - 1/m) within variance.
    first = np.array([5.0, 6, 5.5, 7, 7.5, 6.8, 9, 9.9, 9.3, 4, 4.4, 4.1])
    second = np.array([4.8, 5.2, 5.6, 7.9, 7.2, 7.0, 8.1, 8.8, 8.9, 4.4, 4.5, 4.6])
    subject = np.repeat(["a", "b", "c", "d"], 3)
    difference = (first - second).reshape(4, 3)
    total = difference.mean(axis=1).var(ddof=1) + (1 - 1 / 3) * difference.var(axis=1, ddof=1).mean()
    found = bland_altman(first, second, subject=subject)
    assert found.upper_limit.value == close(difference.mean() + 1.959964 * math.sqrt(total))
    assert "MOVER" in found.upper_limit.method and found.bias.n == 4
    # With one pair a subject, naming the subjects changes nothing.
    alone = bland_altman(first, second, subject=np.arange(12))
    assert alone.upper_limit == bland_altman(first, second).upper_limit


def test_paired_t_and_repeated_measures_equal_r():
    reference = GOLDEN["paired"]
    found = paired_t(reference["x"], reference["y"])
    assert (found.low, found.high) == close(*reference["t_ci"]) and found.p_value == close(reference["t_p"])
    reference = GOLDEN["repeated"]
    table = repeated_measures(reference["data"])
    assert table.f_ratio == close(reference["F"]) and table.p_uncorrected == close(reference["p"])
    assert table.effect.p_value == close(reference["gg"])
    assert table.p_huynh_feldt == close(reference["hf"])
    epsilons = (table.epsilon_greenhouse_geisser, table.epsilon_huynh_feldt)
    assert epsilons == pytest.approx(reference["eps"], abs=5e-5)
    assert table.effect.low < table.effect.value < table.effect.high
    # With two conditions the F test is the squared paired t test.
    two = np.array(reference["data"])[:, :2]
    assert repeated_measures(two).effect.p_value == close(paired_t(two[:, 0], two[:, 1]).p_value)
    assert not repeated_measures([[1, 2], [3, 4]]).effect.defined


def test_repeatability_by_hand():
    # Two repeats each: the within variance is the mean of squared differences over two.
    values = np.array([[10.0, 12.0], [8.0, 8.0], [20.0, 17.0]])
    found = repeatability(values)
    variance = np.mean([4 / 2, 0, 9 / 2])
    assert found.within_sd.value == close(math.sqrt(variance)) and found.degrees == 3
    assert found.coefficient.value == close(1.959964 * math.sqrt(2 * variance))
    assert repeatability(10 * values).within_cv.value == close(found.within_cv.value)
    ragged = np.array([[10.0, 12.0, np.nan], [8.0, 8.0, 9.0], [20.0, np.nan, np.nan]])
    assert repeatability(ragged).degrees == 3
    assert not repeatability(values[:, :1]).coefficient.defined
    assert not repeatability(values - 9).within_cv.defined
