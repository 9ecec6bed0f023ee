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


@pytest.fixture(scope="module")
def nifti(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nifti")
    cohort = brain("T1w", "T1c", "DWI", "ASL", visits=2, lesion_rate=1.0, tissues=True, annotators=1)
    return make(folder / "one", cases=1, seed=0, format="nifti", cohort=cohort), folder / "one"


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
    make(folder / "two", cases=2, seed=3, cohort=brain("T1w", "FLAIR", **JUDGED))
    assert fingerprint(folder / "one") == fingerprint(folder / "two")
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


def test_nifti_names_are_bids_and_sidecars_round_trip(nifti):
    done, _ = nifti
    root = Path(done["scans"])
    images = sorted(path for path in root.rglob("*.nii.gz") if "derivatives" not in path.parts)
    assert len(images) == 2 * 5
    found = []
    for image in images:
        name = bids.parse_name(image.name)
        acquired, trouble = bids.acquisition_beside(image)
        assert trouble == () and acquired.modality == "MR" and name.visit in ("1", "2")
        assert image.parent.parts[-3:] == (f"sub-{name.patient}", f"ses-{name.visit}", image.parent.name)
        stated = json.loads(Path(str(image).replace(".nii.gz", ".json")).read_text())
        assert acquired.echo_time_ms == pytest.approx(stated["EchoTime"] * 1000) and stated["EchoTime"] < 1
        assert acquired.scanning_sequence == tuple(stated["ScanningSequence"])
        found.append((image.parent.name, name.suffix, name.entities.get("ce"), name.sequence))
        assert (acquired.contrast_agent is not None) == (name.entities.get("ce") is not None)
    assert ("anat", "T1w", "gadolinium", "T1w") in found and ("dwi", "dwi", None, "dwi") in found
    assert ("perf", "asl", None, "asl") in found
    for image in root.rglob("*_dwi.nii.gz"):
        b_value = Path(str(image).replace(".nii.gz", ".bval")).read_text().split()
        assert b_value in (["0"], ["1000"]) and Path(str(image).replace(".nii.gz", ".bvec")).exists()
    for path in (root, root / "derivatives" / "scanner"):
        assert json.loads((path / "dataset_description.json").read_text())["BIDSVersion"] == "1.10.0"
    people = list(csv.DictReader((root / "participants.tsv").read_text().splitlines(), delimiter="\t"))
    labels = list(csv.DictReader(Path(done["labels"]).read_text().splitlines()))
    assert [row["participant_id"] for row in people] == [f"sub-{row['patient_id']}" for row in labels]
    assert (root / people[0]["participant_id"]).is_dir()


def test_truth_lies_on_the_grid_of_its_series(nifti):
    done, folder = nifti
    patient = next(csv.DictReader(Path(done["labels"]).read_text().splitlines()))["patient_id"]
    image = read_nifti(next(Path(done["scans"]).rglob("*ses-1_T1w.nii.gz"))).volume
    truths = {path.name: read_nifti(path).volume for path in (folder / "truth" / patient).glob("01-T1w-*.nii.gz")}
    assert {"01-T1w-lesion.nii.gz", "01-T1w-tissues.nii.gz", "01-T1w-fractions.nii.gz"} <= set(truths)
    assert "01-T1w-lesion-by-accurate.nii.gz" in truths
    for volume in truths.values():
        assert volume.geometry.matches(image.geometry)
    shares = truths["01-T1w-fractions.nii.gz"].array.astype(int)
    assert shares.max() <= 100 and shares.sum(axis=0).max() <= 100 + len(shares)  # per cent, each rounded
    known = json.loads((folder / "truth" / patient / "truth.json").read_text())
    assert [item["exam"] for item in known["series"]] == [1] * 6 + [2] * 6
    assert known["series"][-1]["days"] == known["patient"]["days"][1] > 0


def test_bad_requests_cost_one_line_and_leave_nothing(tmp_path):
    with pytest.raises(InputError, match="brain-multisequence"):
        make(tmp_path / "x", cohort="brain-multisequense", cases=1)
    with pytest.raises(InputError, match="did you mean 'size'"):
        make(tmp_path / "x", cohort={"name": "brain-multisequence", "sice": "full"}, cases=1)
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="already exists"):
        make(tmp_path / "there", cases=1)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
