"""The recipes that outline run at their smallest scale, whatever becomes of their claims."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code


@pytest.mark.slow
@pytest.mark.parametrize("name", ["thigh-seg", "uma-net"])
def test_a_dense_recipe_runs_and_judges_its_claims(name, tmp_path):
    code = exit_code(["run", name, "--scale", "tiny", "--to", str(tmp_path / "run")])
    assert code in (0, 1)  # 1: a claim did not hold; the page says which and why
    run = runs.read(tmp_path / "run")
    assert any(note.startswith("claims met") for note in run.notes)
    assert (tmp_path / "run" / "report.html").is_file()
