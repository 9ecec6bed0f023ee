"""Recipes with several cohorts: who learns from whom, how many there are, and controls that break one step only."""

from pathlib import Path

import pytest

from radfoundry import config as settings
from radfoundry.data import cohort as cohorts
from radfoundry.data.cohort_tables import write_table
from radfoundry.recipes import runner
from radfoundry.recipes.expectations import Control
from radfoundry.records import InputError

FRACTURE = {"metric": "auroc", "low_below": 0.5}


@pytest.fixture(scope="module")
def recipe():
    return runner.scaled(runner.load("knee-three-models"), "tiny")


def test_a_step_learns_from_the_cohort_it_names(recipe):
    general, special = recipe.steps[0]["pretrain"], recipe.steps[1]["pretrain"]
    assert runner.step_config("pretrain", general, recipe, cohort="x/broad").cohort == "x/broad"
    assert runner.step_config("pretrain", special, recipe, cohort="x/knees").split == "period"
    assert runner.needs_cohort(recipe)


def test_the_plan_names_every_cohort_and_how_large_it_is(recipe):
    lines = runner.plan(recipe)
    assert any(line.startswith("broad: simulate ") and "broad-phantoms" in line for line in lines)
    small = runner.scaled(runner.load("knee-three-models"), "small")
    assert small.cohorts["broad"].cases > recipe.cohorts["broad"].cases


def test_own_scans_are_asked_for_in_place_of_every_cohort():
    with pytest.raises(InputError, match="own scans") as caught:
        runner.scaled(runner.load("knee-three-models"), "full")
    assert "cohort.path=COHORT cohorts.broad.path=COHORT" in str(caught.value)


def test_a_control_may_break_one_step_and_leave_the_others(recipe):
    from radfoundry import registry

    stage = registry.resolve("stages", "pretrain")
    given = recipe.steps[0]["pretrain"] | {"reports": True}
    every = Control.model_validate({"permute": "reports", "expect": FRACTURE})
    second = Control.model_validate({"permute": "reports", "step": 2, "expect": FRACTURE})
    assert [runner._breaks(every, stage, given, number) for number in (1, 2)] == [True, True]
    assert [runner._breaks(second, stage, given, number) for number in (1, 2)] == [False, True]
    assert not runner._breaks(every, stage, {}, 1)


def test_a_misspelt_cohort_is_refused_and_not_answered_with_another(recipe):
    with pytest.raises(InputError, match="did you mean 'broad'"):
        runner.step_config("adapt", {**recipe.steps[2]["adapt"], "cohort": "braod"}, recipe, cohort="x/knees")
    changed = recipe.model_copy(update={"scales": {"tiny": {"cohorts": {"braod": 9}}}})
    with pytest.raises(InputError, match=r"scales\.tiny\.cohorts: .*'braod'"):
        runner.scaled(changed, "tiny")


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"by": "date"}, "split by date: missing a required argument: 'test_from'"),
        ({"by": "site", "test_sites": ["n"], "test": 0.2}, "unexpected keyword argument 'test'"),
        ({"by": "vendor"}, "cannot split by 'vendor'"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused_before_anybody_is_simulated(split, said):
    with pytest.raises(InputError, match=said):
        settings.check(runner.CohortChoice, {"cases": 8, "split": split}, where="cohort")


@pytest.mark.slow
def test_a_cohort_that_was_interrupted_before_its_labels_gets_them(tmp_path):
    choice = runner.CohortChoice.model_validate({"simulate": {"name": "film-phantoms", "pixels": 32}, "cases": 4})
    place = Path(runner._simulated(choice, 1, tmp_path, None))
    labels = [case.labels for case in cohorts.open_cohort(place).cases]
    write_table(place / "labels.parquet", "labels", [])
    runner._simulated(choice, 1, tmp_path, None)
    assert labels[0] and [case.labels for case in cohorts.open_cohort(place).cases] == labels
