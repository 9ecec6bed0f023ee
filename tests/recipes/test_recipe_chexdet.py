"""chexdet at its smallest scale: boxes hold where the marker leads image labels astray."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code


@pytest.mark.slow
def test_boxes_hold_at_the_other_hospital(tmp_path):
    # Exit code 1: the claim about films without a marker does not hold at this scale, as the page says.
    assert exit_code(["run", "chexdet", "--scale", "tiny", "--to", str(tmp_path / "run")]) in (0, 1)
    found = runs.read(tmp_path / "run").metrics
    assert found["claim 1"].low > 0
    assert found["claim 2"].low > 0
    assert found["claim 5"].low < 0.5 < found["claim 5"].high
