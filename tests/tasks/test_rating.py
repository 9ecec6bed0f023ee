"""Agreement of quality scores: the published definitions, and differences that draw patients and teachings."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from radfoundry.records import InputError, Predictions, Task
from radfoundry.tasks import measure, questions, rating


def teachings(noise, count=3, n=60, seed=0):
    rng = np.random.default_rng(0)
    given = rng.uniform(0, 100, n)
    rng = np.random.default_rng(seed)
    return [Predictions.of(given, given + rng.normal(0, noise, n)) for _ in range(count)]


def test_the_three_numbers_are_what_they_are_called():
    found = teachings(20, count=1)[0]
    numbers = rating.measure(found)
    assert numbers["srcc"].value == pytest.approx(spearmanr(found.target, found.score).statistic)
    assert numbers["plcc"].value == pytest.approx(pearsonr(found.target, found.score).statistic)
    assert numbers["rmse"].value == pytest.approx(np.sqrt(((found.target - found.score) ** 2).mean()))
    task = questions.rate(target="quality")
    assert isinstance(task, Task) and set(measure.measure(found, task)) == set(numbers)


def test_the_better_teaching_wins_and_equal_ones_do_not_differ():
    good, poor = teachings(10), teachings(60, seed=1)
    gap = rating.srcc_difference(good, poor)
    means = [np.mean([spearmanr(p.target, p.score).statistic for p in part]) for part in (good, poor)]
    assert gap.value == pytest.approx(means[0] - means[1]) and gap.low > 0
    assert rating.mean_srcc(good).value == pytest.approx(means[0])
    same = rating.srcc_difference(good, good)
    assert same.value == same.low == same.high == 0
    task = questions.rate(target="quality")
    assert measure.difference(good[0], poor[0], task)["srcc"].value > 0


def test_teachings_about_other_scans_are_refused():
    good = teachings(10)
    other = [Predictions.of(p.target[:50], p.score[:50]) for p in good]
    for wrong in (other, good[:2]):
        with pytest.raises(InputError, match="same"):
            rating.srcc_difference(good, wrong)
