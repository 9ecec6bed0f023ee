"""Recipes that fuse several images, with a handful of patients: every claim and control gets a number."""

import json

import pytest

from radfoundry.cli.main import exit_code


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mome", "knee-views"])
def test_a_fusing_recipe_runs_from_simulation_to_verdicts(name, tmp_path):
    # Exit code 1: a handful of patients need not show the claim, and the page says so.
    asked = ["run", name, "cohort.cases=10", "scales.tiny={}", "--scale", "tiny", "--to", str(tmp_path / "run")]
    assert exit_code(asked) in (0, 1)
    blocks = json.loads((tmp_path / "run" / "blocks.json").read_text(encoding="utf-8"))
    rows = next(block for block in blocks if block["kind"] == "claims")["rows"]
    assert {row["control"] for row in rows} == {False, True}
    assert all(row["found"]["n"] == 10 for row in rows)
    assert (tmp_path / "run" / "report.html").is_file()
