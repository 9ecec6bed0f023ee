"""The recipe prism-downstream runs at its smallest scale, whatever becomes of its claims; the page says which hold."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code

MEASURES = ("auroc", "dice", "overlap", "foreseen-mae", "f1")


@pytest.mark.slow
def test_one_encoder_is_asked_five_kinds_of_question(tmp_path):
    code = exit_code(["run", "prism-downstream", "--scale", "tiny", "--to", str(tmp_path / "run")])
    assert code in (0, 1)
    run = runs.read(tmp_path / "run")
    found = {name.partition("/")[2] for name in run.metrics if "bundled-minus-untrained/" in name}
    assert found == set(MEASURES)
    assert any(note.startswith("claims met") for note in run.notes)
    assert (tmp_path / "run" / "report.html").is_file()
