"""mri-sequence-id at its smallest scale: header and pixels beat either alone, dealt-out types take it away."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_header_and_pixels_beat_either_alone(tmp_path):
    assert exit_code(["run", "mri-sequence-id", "--scale", "tiny", "--to", str(tmp_path / "run")]) == 0
    assert "claims met: 3 of 3" in runs.read(tmp_path / "run").notes
    assert (tmp_path / "run" / "report.html").is_file()
