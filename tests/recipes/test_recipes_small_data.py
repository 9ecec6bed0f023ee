"""Recipes about few patients: every claim and control gets a number from a handful of them."""

import json

import pytest

from radfoundry.cli.main import exit_code

FEWER = {
    "mgmt": ["cohort.cases=16"],
    "foreign-body": ["cohort.cases=60", "settings.tune.steps=10"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FEWER))
def test_a_recipe_of_few_patients_runs_from_simulation_to_verdicts(name, tmp_path):
    # Exit code 1: a handful of patients need not show the claim, and the page says so.
    asked = ["run", name, *FEWER[name], "scales.tiny={}", "--scale", "tiny", "--to", str(tmp_path / "run")]
    assert exit_code(asked) in (0, 1)
    blocks = json.loads((tmp_path / "run" / "blocks.json").read_text(encoding="utf-8"))
    rows = next(block for block in blocks if block["kind"] == "claims")["rows"]
    assert {row["control"] for row in rows} == {False, True}
    assert (tmp_path / "run" / "report.html").is_file()
