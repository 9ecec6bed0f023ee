"""The verb simulate: a folder that appears whole, the same bytes for any number of workers, refusals in one line."""

import csv
import hashlib
from pathlib import Path

import pytest

from radfoundry import config as settings
from radfoundry.records import InputError
from radfoundry.stages import simulate


def make(to, **values):
    return simulate.run(settings.check(simulate.Config, {"to": str(to), **values}))


def fingerprint(folder):
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "simulation.json"
    }


def test_the_cohort_is_complete_and_repeatable(tmp_path):
    done = make(tmp_path / "one", cases=2, seed=3)
    rows = list(csv.DictReader(Path(done["labels"]).read_text().splitlines()))
    assert len(rows) == done["patients"] == 2
    assert len({row["patient_id"] for row in rows}) == 2
    for row in rows:
        assert len(list((tmp_path / "one" / "dicom" / row["patient_id"]).iterdir())) == 4
        assert (tmp_path / "one" / "reports" / f"{row['patient_id']}.txt").read_text().startswith("CLINICAL")
    make(tmp_path / "two", cases=2, seed=3)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.slow
def test_workers_do_not_change_a_byte(tmp_path):
    make(tmp_path / "one", cases=8, seed=3, workers=1)
    make(tmp_path / "two", cases=8, seed=3, workers=2)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")


def test_dicom_headers_carry_who_and_how(tmp_path):
    import pydicom

    done = make(tmp_path / "one", cases=1, seed=0)
    files = sorted(Path(done["scans"]).rglob("*.dcm"))
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    assert header.PatientID in Path(done["labels"]).read_text()
    assert str(header.PatientName) and header.PatientBirthDate and header.StudyDate and header.InstitutionName
    assert header.RepetitionTime > header.EchoTime > 0


def test_nifti_with_sidecars(tmp_path):
    import json

    done = make(tmp_path / "one", cases=1, seed=0, format="nifti")
    images = list(Path(done["scans"]).rglob("*.nii.gz"))
    assert len(images) == 4
    for image in images:
        assert json.loads(Path(str(image).replace(".nii.gz", ".json")).read_text())["EchoTime"] < 1


def test_bad_requests_cost_one_line_and_leave_nothing(tmp_path):
    with pytest.raises(InputError, match="brain-multisequence"):
        make(tmp_path / "x", cohort="brain-multisequense", cases=1)
    with pytest.raises(InputError, match="did you mean 'size'"):
        make(tmp_path / "x", cohort={"name": "brain-multisequence", "sice": "full"}, cases=1)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="already exists"):
        make(tmp_path / "there", cases=1)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
