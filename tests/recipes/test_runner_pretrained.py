"""Recipes that pretrain more than once: which step's encoder a name means, and where a control takes it from."""

import pytest

from radfoundry.recipes import runner
from radfoundry.records import InputError


def recipe(name="concept-clip"):
    return runner.scaled(runner.load(name), "tiny")


def test_numbers_name_the_steps_and_no_number_the_last_one(tmp_path):
    found = runner.with_pretrained({"encoders": ["pretrained-1", "pretrained"]}, recipe(), tmp_path)
    assert found["encoders"] == [str(tmp_path / f"{n}-pretrain" / "encoder.safetensors") for n in (1, 2)]
    with pytest.raises(InputError, match="no step makes"):
        runner.with_pretrained({"encoder": "pretrained-2"}, recipe(), tmp_path, before=1)
    assert runner.with_pretrained({"specialists": ["step-2"]}, recipe(), tmp_path) == {
        "specialists": [str(tmp_path / "2-pretrain")]
    }
    with pytest.raises(InputError, match="no step-2 before"):
        runner.with_pretrained({"specialists": ["step-2"]}, recipe(), tmp_path, before=1)
    assert runner.with_pretrained({"name": "pretrained-like"}, recipe(), tmp_path) == {"name": "pretrained-like"}


def test_a_control_takes_what_it_made_itself_and_the_rest_from_the_whole_run(tmp_path):
    control, whole = tmp_path / "control", tmp_path / "steps"
    (control / "2-pretrain").mkdir(parents=True)
    found = runner.with_pretrained({"encoders": ["pretrained-1", "pretrained-2"]}, recipe(), control, whole)
    assert found["encoders"] == [
        str(whole / "1-pretrain" / "encoder.safetensors"),
        str(control / "2-pretrain" / "encoder.safetensors"),
    ]


@pytest.mark.parametrize("name", ["decipher-mr", "mg-3d", "concept-clip"])
def test_unseen_studies_need_no_cohort(name):
    assert not runner.needs_cohort(recipe(name))
    lines = runner.plan(recipe(name))
    assert any('"crops"' in line for line in lines if line.startswith("benchmark"))
    assert not any("simulate " in line for line in lines[:1])
