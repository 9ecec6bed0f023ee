"""Shipped recipes run at their smallest scale: every claim holds there, and every control takes its result away."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code


@pytest.mark.slow
@pytest.mark.parametrize("name", ["label-budget", "reader-trial", "mediqa"])
def test_a_recipe_holds_at_its_smallest_scale(name, tmp_path):
    assert exit_code(["run", name, "--scale", "tiny", "--to", str(tmp_path / "run")]) == 0
    assert any(note.startswith("claims met") for note in runs.read(tmp_path / "run").notes)
    assert (tmp_path / "run" / "report.html").is_file()
