"""Recipes on phantoms, with a handful of patients and short training: every claim and control gets a number."""

import json
from importlib import resources

import pytest
import yaml

from radfoundry.cli.main import exit_code

FEWER = {
    "prostate-priors": 24,
    "rectal-multiview": 36,
    "mona-ultrasound": 48,
    "ila-atelectasis": 72,
    "knee-three-models": 80,
}
STEPS = 10


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FEWER))
def test_a_recipe_on_phantoms_runs_from_simulation_to_verdicts(name, tmp_path):
    recipe = yaml.safe_load((resources.files("radfoundry.recipes") / f"{name}.yaml").read_text(encoding="utf-8"))
    recipe["cohort"]["cases"] = FEWER[name]
    for other in recipe.get("cohorts", {}).values():
        other["cases"] = FEWER[name]
    for given in [recipe["settings"], *(part for step in recipe["steps"] for part in step.values())]:
        if "tune" in given:
            given["tune"]["steps"] = STEPS
        if "steps" in given:
            given["steps"] = STEPS
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    asked = ["run", str(tmp_path / "short.yaml"), "--scale", "tiny", "--to", str(tmp_path / "run")]
    # Exit code 1: a handful of patients need not show the claim.
    assert exit_code(asked) in (0, 1)
    blocks = json.loads((tmp_path / "run" / "blocks.json").read_text(encoding="utf-8"))
    rows = next(block for block in blocks if block["kind"] == "claims")["rows"]
    assert {row["control"] for row in rows} == {False, True}
    assert all(row["found"]["value"] is not None for row in rows)
    assert (tmp_path / "run" / "report.html").is_file()
