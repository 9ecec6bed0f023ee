"""What the user states of the sequence holds where a DICOM header does not tell it, and never against one that does."""

import sys
from pathlib import Path

import pytest

from radfoundry.data.dicom_write import write_series
from radfoundry.data.scans import read_scans, scan_rules
from radfoundry.records import Acquisition, InputError

sys.path.append(str(Path(__file__).parents[1] / "stages"))
from ingest_samples import T1, person, volume


@pytest.mark.parametrize(("stated", "known"), [("FLAIR", {"FLAIR", "T1w"}), (None, {None, "T1w"})])
def test_a_stated_sequence_fills_what_headers_leave_open(tmp_path, stated, known):
    write_series(volume(1), tmp_path / "scans" / "a", acquisition=T1, identity=person(1))
    silent = Acquisition(modality="MR")
    write_series(volume(2), tmp_path / "scans" / "b", acquisition=silent, identity=person(2))
    (tmp_path / "read").mkdir()
    found = read_scans([tmp_path / "scans"], folder=tmp_path / "read", rules=scan_rules(sequence=stated))
    assert {series.sequence for series in found.cohort.series} == known


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "not a regular expression"),
        ("sub-1", "no group named patient"),
        ("(?P<patient>a)(?P<exam>b)", "unknown group 'exam'"),
    ],
)
def test_a_pattern_that_says_nothing_is_refused(pattern, said):
    with pytest.raises(InputError, match=said):
        scan_rules(pattern=pattern)
