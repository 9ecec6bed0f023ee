"""The verb simulate: a folder that appears whole, the same bytes for any number of workers, refusals in one line."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from radfoundry import config as settings
from radfoundry.data import bids
from radfoundry.data.nifti import read_nifti
from radfoundry.records import InputError
from radfoundry.stages import simulate

JUDGED = {"readers": 2, "vendor": "random", "omission_rate": 0.5}


def make(to, **values):
    return simulate.run(settings.check(simulate.Config, {"to": str(to), **values}))


def brain(*sequences, **options):
    return {"name": "brain-multisequence", "sequences": list(sequences), **options}


def fingerprint(folder):
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "simulation.json"
    }


@pytest.fixture(scope="module")
def dicom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom")
    return make(folder / "one", cases=2, seed=3, cohort=brain("T1w", "FLAIR", **JUDGED)), folder


def test_the_cohort_is_complete_and_repeatable(dicom):
    done, folder = dicom
    rows = list(csv.DictReader(Path(done["labels"]).read_text().splitlines()))
    assert len(rows) == done["patients"] == 2
    assert len({row["patient_id"] for row in rows}) == 2
    for row in rows:
        assert len(list((folder / "one" / "dicom" / row["patient_id"]).iterdir())) == 2
        assert (folder / "one" / "reports" / f"{row['patient_id']}.txt").read_text().startswith("CLINICAL")
        assert (folder / "one" / "drafts" / f"{row['patient_id']}.txt").exists()
    readers = list(csv.DictReader((folder / "one" / "truth" / "readers.csv").read_text().splitlines()))
    assert [row["patient_id"] for row in readers] == [row["patient_id"] for row in rows]
    assert {"vendor", "reader_1_score", "reader_2_aided_says"} <= set(readers[0])
    make(folder / "two", cases=1, seed=3, cohort=brain("T1w", "FLAIR", **JUDGED))
    two = {name: byte for name, byte in fingerprint(folder / "two").items() if rows[0]["patient_id"] in name}
    assert len(two) > 20 and two.items() <= fingerprint(folder / "one").items()
    for table in ("labels.csv", "truth/readers.csv"):
        first, again = ((folder / name / table).read_text().splitlines() for name in ("one", "two"))
        assert again == first[:2], table
    assert [path.name for path in folder.iterdir() if "partial" in path.name] == []


def test_the_sheet_of_thumbnails_shows_every_series(dicom):
    from PIL import Image

    with Image.open(dicom[1] / "one" / "thumbnails.png") as sheet:
        grey = np.asarray(sheet)
    for column in range(2):
        for row in range(2):
            tile = grey[row * 150 + 14 : (row + 1) * 150, 176 + column * 136 : 312 + column * 136]
            assert tile.max() > 200 and tile.mean() > 15


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dicom", "nifti"])
def test_workers_do_not_change_a_byte(tmp_path, form):
    for workers in (1, 2, 3):
        make(tmp_path / str(workers), cases=8, seed=3, workers=workers, format=form, cohort=brain("T1w", **JUDGED))
    assert fingerprint(tmp_path / "1") == fingerprint(tmp_path / "2") == fingerprint(tmp_path / "3")


def test_dicom_headers_carry_who_and_how(dicom):
    import pydicom

    done, _ = dicom
    files = sorted(Path(done["scans"]).rglob("*.dcm"))
    header = pydicom.dcmread(files[0], stop_before_pixels=True)
    assert header.PatientID in Path(done["labels"]).read_text()
    assert str(header.PatientName) and header.PatientBirthDate and header.StudyDate and header.InstitutionName
    assert header.RepetitionTime > header.EchoTime > 0


def test_nifti_is_a_bids_data_set(tmp_path):
    done = make(tmp_path / "one", cases=1, seed=0, format="nifti", cohort=brain("T1c", lesion_rate=1.0, signal="core"))
    root = Path(done["scans"])
    patient = next(csv.DictReader(Path(done["labels"]).read_text().splitlines()))["patient_id"]
    image = root / f"sub-{patient}" / "anat" / f"sub-{patient}_ce-gadolinium_T1w.nii.gz"
    assert bids.acquisition_beside(image)[0].contrast_agent
    assert json.loads((root / "dataset_description.json").read_text())["DatasetType"] == "raw"
    lesion = read_nifti(tmp_path / "one" / "truth" / patient / "01-T1c-lesion-core.nii.gz").volume
    assert lesion.geometry.matches(read_nifti(image).volume.geometry)


def test_bad_requests_cost_one_line_and_leave_nothing(tmp_path):
    with pytest.raises(InputError, match="brain-multisequence"):
        make(tmp_path / "x", cohort="brain-multisequense", cases=1)
    with pytest.raises(InputError, match="did you mean 'size'"):
        make(tmp_path / "x", cohort={"name": "brain-multisequence", "sice": "full"}, cases=1)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="already exists"):
        make(tmp_path / "there", cases=1)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
