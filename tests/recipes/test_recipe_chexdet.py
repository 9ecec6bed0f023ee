"""chexdet at its smallest scale: boxes hold where the marker leads image labels astray."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.recipes import runner


@pytest.mark.slow
def test_boxes_hold_at_the_other_hospital(tmp_path):
    assert exit_code(["run", "chexdet", "--scale", "tiny", "--to", str(tmp_path / "run")]) == 0
    found = runs.read(tmp_path / "run").metrics
    assert found["claim 1"].low > 0
    assert runner.all_met(tmp_path / "run")
