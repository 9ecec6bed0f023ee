"""The recipe gsco at its smallest scale: the arbiter is above the mean vote, and not when labels are dealt out."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code


@pytest.mark.slow
def test_gsco_holds_at_its_smallest_scale(tmp_path):
    assert exit_code(["run", "gsco", "--scale", "tiny", "--to", str(tmp_path / "run")]) == 0
    assert "claims met: 2 of 2" in runs.read(tmp_path / "run").notes
    assert (tmp_path / "run" / "report.html").is_file()
