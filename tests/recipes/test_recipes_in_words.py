"""Recipes that ask in words, at their smallest scale: the claims that their pages say hold do, and the controls too."""

import json

import pytest

from radfoundry.cli.main import exit_code


def verdicts(folder):
    blocks = json.loads((folder / "blocks.json").read_text(encoding="utf-8"))
    return next(block for block in blocks if block["kind"] == "claims")["rows"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_reports_are_found_and_somebody_elses_teach_nothing(tmp_path):
    # Exit code 1: the page says which controls fail. Nearly all of the gain must go with the reports.
    assert exit_code(["run", "decipher-mr", "--scale", "tiny", "--to", str(tmp_path / "run")]) in (0, 1)
    rows = verdicts(tmp_path / "run")
    retrieval, zero_shot, place = (row for row in rows if not row["control"])
    assert retrieval["met"] and zero_shot["met"] and place["met"]
    by_others, zero_shot_by_others, place_by_others = (row for row in rows if row["control"])
    assert by_others["found"]["low"] < 1 < by_others["found"]["high"] < retrieval["found"]["low"] / 2
    assert zero_shot_by_others["found"]["value"] < zero_shot["found"]["low"]
    assert place_by_others["met"]
