"""Subgroups: a real difference is found, a small group is not an all-clear, and the table adjusts for looking often."""

import numpy as np
import pytest

from radfoundry.records import InputError, Predictions
from radfoundry.stats.auc import auroc
from radfoundry.stats.subgroups import age_bands, subgroup_table


def cohort(seed, n=3000, weak=None, share=0.5):
    rng = np.random.default_rng(seed)
    truth, sex = rng.integers(0, 2, n), np.where(rng.random(n) < share, "F", "M")
    shift = np.where(sex == weak, 0.4, 1.8)
    return Predictions.of(truth, 1 / (1 + np.exp(-(shift * (truth - 0.5) + rng.normal(size=n))))), sex


def test_a_group_that_is_served_worse_is_found():
    data, sex = cohort(0, weak="F")
    rows = {row.group: row for row in subgroup_table(data, {"sex": sex})}
    assert rows["F"].verdict == rows["M"].verdict == "differs"
    assert rows["F"].difference.high < 0 < rows["M"].difference.low
    assert rows["F"].auroc == auroc(data.take(sex == "F"))


def test_equal_groups_are_only_cleared_when_there_are_enough_of_them():
    data, sex = cohort(1)
    assert {row.verdict for row in subgroup_table(data, {"sex": sex})} == {"no difference seen"}
    small = data.take(np.arange(80))
    rows = subgroup_table(small, {"sex": sex[:80]})
    assert {row.verdict for row in rows} == {"too few to say"}
    assert all(row.detectable > 0.1 for row in rows)


def test_more_questions_make_the_same_difference_less_certain():
    data, sex = cohort(2, n=400, weak="F")
    rng = np.random.default_rng(3)
    alone = subgroup_table(data, {"sex": sex})[0]
    noise = {f"noise{k}": rng.integers(0, 2, len(data)).astype(str) for k in range(8)}
    among = subgroup_table(data, {"sex": sex, **noise})[0]
    assert among.difference.p_value > alone.difference.p_value
    assert "Holm over 18" in among.difference.note


def test_a_group_with_one_class_or_nobody_outside_is_said_to_be_so():
    data = Predictions.of([0, 1, 1, 1, 0], [0.2, 0.6, 0.7, 0.4, 0.3])
    rows = subgroup_table(data, {"site": ["a", "a", "b", "b", "a"], "all": ["x"] * 5})
    by_group = {row.group: row for row in rows}
    assert not by_group["b"].auroc.defined
    assert not by_group["b"].specificity.defined
    assert not by_group["x"].difference.defined
    assert {row.verdict for row in rows} == {"too few to say"}


def test_bands_are_whole_years_with_unknown_ages_kept():
    assert age_bands([39.9, 40, 59, 60, 75, np.nan]).tolist() == ["<40", "40-59", "40-59", "60-74", ">=75", "unknown"]


def test_patients_on_both_sides_are_mentioned():
    data = Predictions.of([0, 1, 1, 0] * 5, np.linspace(0, 1, 20), patient=np.repeat(np.arange(10), 2))
    assert "both sides" in subgroup_table(data, {"scanner": ["a", "b"] * 10})[0].difference.note


def test_scores_on_another_scale_have_no_calibration():
    data = Predictions.of([0, 1] * 10, np.arange(20.0))
    assert not subgroup_table(data, {"sex": ["F", "F", "M", "M"] * 5})[0].calibration.defined


def test_a_short_factor_is_refused():
    with pytest.raises(InputError, match="factor sex"):
        subgroup_table(Predictions.of([0, 1], [0.1, 0.2]), {"sex": ["F"]})
