"""Rankings against slow definitions, R, a published worked example and their laws."""

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from radfoundry.records import InputError, Predictions
from radfoundry.stats.critical_difference import cliques, critical_difference, critical_range, friedman
from radfoundry.stats.ranking import permutation_tests, rank_models, rank_rows
from radfoundry.stats.ranking_tasks import win_counts, win_share

GOLDEN = Path(__file__).parents[1] / "golden"
R = {row[0]: float(row[1]) for row in csv.reader((GOLDEN / "stats_c.csv").read_text().splitlines()[2:])}
# The table in tests/golden/stats_c.R, section Friedman.
TABLE = np.array(
    [
        [0.71, 0.69, 0.74, 0.70], [0.82, 0.80, 0.82, 0.79], [0.66, 0.70, 0.71, 0.64],
        [0.90, 0.88, 0.91, 0.90], [0.55, 0.60, 0.58, 0.51], [0.77, 0.75, 0.80, 0.76],
    ]
)  # fmt: skip


def models(seed=0, *, count=4, cases=30, step=0.03):
    rng = np.random.default_rng(seed)
    shared = 0.1 * rng.normal(size=cases)
    return {f"m{i}": 0.7 + step * i + shared + 0.05 * rng.normal(size=cases) for i in range(count)}


def test_ranks_equal_scipys_with_ties():
    values = np.random.default_rng(1).integers(0, 4, (50, 6)).astype(float)
    assert rank_rows(values) == pytest.approx(rankdata(values, axis=1))


def test_friedman_and_nemenyi_equal_r():
    found = friedman(TABLE)
    assert (found.chi2, found.p_value) == pytest.approx((R["friedman.chi2"], R["friedman.p"]))
    # qtukey iterates until two steps differ by less than 1e-4.
    assert critical_range(4) == pytest.approx(R["nemenyi.q"], rel=1e-5)


# Demšar, J Mach Learn Res 2006;7:1-30, section 3.2.2: ranks of four variants of C4.5 on 14 data sets (table 6),
# average ranks 3.143, 2.000, 2.893, 1.964, chi-squared 9.28, F 3.69, Nemenyi difference 1.25 at 0.05.
DEMSAR = np.array(
    [
        [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5], [3, 2, 4, 1],
        [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5],
        [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
    ]
)  # fmt: skip


def test_published_critical_difference_example():
    names = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
    found = critical_difference(dict(zip(names, DEMSAR.T, strict=True)), higher_is_better=False)
    ranks = {name: rank.value for name, rank in zip(found.models, found.ranks, strict=True)}
    assert [ranks[name] for name in names] == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.difference == pytest.approx(1.25, abs=5e-3)
    assert len(found.groups) == 1
    # At 0.10 the paper has 1.12: plain C4.5 is worse than both variants with m, nothing is said about C4.5+cf.
    looser = critical_difference(dict(zip(names, DEMSAR.T, strict=True)), higher_is_better=False, level=0.90)
    assert looser.difference == pytest.approx(1.12, abs=5e-3)
    assert set(looser.groups) == {("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5")}
    # The paper does not correct for ties; without the correction its two statistics come out.
    tasks, count = DEMSAR.shape
    plain = 12 * tasks / (count * (count + 1)) * ((DEMSAR.mean(axis=0) ** 2).sum() - count * (count + 1) ** 2 / 4)
    assert plain == pytest.approx(9.28, abs=5e-3)
    assert (tasks - 1) * plain / (tasks * (count - 1) - plain) == pytest.approx(3.69, abs=5e-3)
    assert found.friedman.chi2 > plain


def slow_cliques(ranks, difference):
    runs = [
        (a, b) for a in range(len(ranks)) for b in range(a + 2, len(ranks) + 1) if ranks[b - 1] - ranks[a] <= difference
    ]
    return [run for run in runs if not any(o != run and o[0] <= run[0] and run[1] <= o[1] for o in runs)]


def test_cliques_equal_the_definition():
    rng = np.random.default_rng(3)
    for _ in range(50):
        ranks = np.sort(rng.uniform(1, 8, 7))
        assert cliques(ranks, 1.7) == slow_cliques(ranks, 1.7)


def test_permutation_equals_trying_every_swap():
    scores = {name: values[:10] for name, values in models(4, step=0.02).items()}
    found = permutation_tests(scores, flips=200_000, rng=1)
    signs = np.array(list(product([-1, 1], repeat=10)))
    for pair in found:
        difference = scores[pair.first] - scores[pair.second]
        exact = np.mean(np.abs(signs @ difference) >= abs(difference.sum()) - 1e-12)
        assert pair.difference.p_value == pytest.approx(exact, abs=5 * np.sqrt(exact / 200_000))
        assert pair.difference.value == pytest.approx(difference.mean())


def test_permutation_swaps_all_cases_of_a_patient_together():
    scores = models(5, cases=12)
    doubled = {name: np.repeat(values, 3) for name, values in scores.items()}
    once = permutation_tests(scores, flips=20_000, rng=2)
    thrice = permutation_tests(doubled, patient=np.repeat(np.arange(12), 3), flips=20_000, rng=2)
    for a, b in zip(once, thrice, strict=True):
        assert a.difference.p_value == b.difference.p_value
        assert (a.difference.low, a.difference.high) == pytest.approx((b.difference.low, b.difference.high))


def test_permutation_holds_its_error_rate_and_adjusts():
    p_values = []
    for seed in range(200):
        found = permutation_tests(models(seed, count=3, cases=25, step=0), flips=400, rng=seed)
        p_values.append([pair.difference.p_value for pair in found])
        assert all(pair.adjusted_p >= pair.difference.p_value for pair in found)
    # 600 tests, dependent in threes: about two standard errors beyond 0.05.
    assert 0.02 <= (np.array(p_values) <= 0.05).mean() <= 0.08


def test_clear_leader_has_rank_one_and_twins_share_ranks():
    scores = models(6, step=0.2)
    scores["twin"] = scores["m3"].copy()
    found = {row.model: row for row in rank_models(scores, draws=500)}
    assert (found["m0"].rank.value, found["m0"].rank.low, found["m0"].rank.high) == (5, 5, 5)
    assert found["twin"].rank.value == found["m3"].rank.value == 1.5
    assert found["twin"].first == found["m3"].first == 0.5
    assert sum(row.first for row in found.values()) == pytest.approx(1)


def test_equal_models_have_wide_rank_intervals():
    found = rank_models(models(7, count=6, step=0), draws=2000)
    assert max(row.rank.high - row.rank.low for row in found) >= 4


def test_direction_case_order_and_model_order_do_not_matter():
    scores = models(8, step=0.1)
    base = [row.model for row in rank_models(scores, draws=100)]
    errors = {name: -values for name, values in reversed(list(scores.items()))}
    assert [row.model for row in rank_models(errors, higher_is_better=False, draws=100)] == base
    order = np.random.default_rng(0).permutation(30)
    assert [row.model for row in rank_models({k: v[order] for k, v in scores.items()}, draws=100)] == base


def test_predictions_are_ranked_by_auroc_with_patients_drawn_together():
    rng = np.random.default_rng(9)
    truth = rng.random(80) < 0.4
    made = {
        name: Predictions.of(truth, truth * gain + rng.normal(size=80), patient=np.arange(80) // 2)
        for name, gain in (("weak", 0.3), ("strong", 3.0))
    }
    found = rank_models(made, draws=500)
    assert [row.model for row in found] == ["strong", "weak"]
    positive, negative = made["strong"].score[truth], made["strong"].score[~truth]
    assert found[0].score.value == pytest.approx((positive[:, None] > negative).mean())
    with pytest.raises(InputError, match="mixed"):
        rank_models({"a": made["weak"], "b": np.zeros(80)})


def test_wins_count_tasks_and_a_lucky_winner_is_shown_as_such():
    rng = np.random.default_rng(10)
    tasks = {f"t{k}": {f"m{i}": 0.1 * (i == 2) + 0.2 * rng.normal(size=20) for i in range(3)} for k in range(12)}
    found = {row.model: row for row in win_counts(tasks, draws=400)}
    by_hand = [max(task, key=lambda name: task[name].mean()) for task in tasks.values()]
    for model, row in found.items():
        assert row.wins.value == by_hand.count(model)
        assert row.wins.low <= row.wins.high
        assert row.clear <= row.wins.value
    assert sum(row.wins.value for row in found.values()) == 12
    assert found["m2"].mean_rank.value == min(row.mean_rank.value for row in found.values())
    with pytest.raises(InputError, match="task t1: models differ: m9"):
        win_counts({"t0": models(1), "t1": {**models(1), "m9": np.zeros(30)}}, draws=50)


def test_published_win_share_has_its_interval():
    share = win_share(39, 44, models=12)
    # Clopper-Pearson by its definition: each limit leaves 2.5 % beyond the count.
    from scipy.stats import binom

    assert binom.sf(38, 44, share.low) == pytest.approx(0.025)
    assert binom.cdf(39, 44, share.high) == pytest.approx(0.025)
    assert share.p_value == pytest.approx(binom.sf(38, 44, 1 / 12))


def test_bad_tables_are_refused():
    with pytest.raises(InputError, match="different cases"):
        rank_models({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(InputError, match="1 of 2 rows of scores of b are not finite"):
        permutation_tests({"a": [1, 2], "b": [1, np.nan]})
    with pytest.raises(InputError, match="at least two"):
        rank_models({"a": [1, 2]})
    with pytest.raises(InputError, match="every model ties"):
        friedman(np.ones((3, 3)))
