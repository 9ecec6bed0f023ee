"""Labels find their patients through the key, keep their types, and contradictions are refused whole."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from radfoundry.data.cohort import open_cohort, read_labels, series_labels
from radfoundry.data.label_values import is_telling
from radfoundry.data.labels import label, read_rows
from radfoundry.data.pseudonyms import open_key
from radfoundry.data.split_tables import read_assignment
from radfoundry.records import InputError

sys.path.append(str(Path(__file__).parents[1] / "stages"))
from ingest_samples import dicom_patients, ingest, pictures, with_key


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = with_key(tmp_path_factory.mktemp("labels"))
    dicom_patients(folder / "scans", (1, 2, 3))
    pictures(folder / "scans" / "left", (1, 2))
    pictures(folder / "scans" / "right", (2,))
    ingest(folder / "scans", folder / "cohort")
    return folder / "cohort"


@pytest.fixture
def cohort(made, tmp_path):
    shutil.copytree(made, tmp_path / "cohort")
    shutil.copy(made.parent / "test.key", tmp_path / "cohort.key")
    return tmp_path / "cohort"


def table(cohort, text, name="labels.csv"):
    path = cohort.parent / name
    path.write_text(text)
    return path


def by_patient(cohort):
    found = {}
    for case in open_cohort(cohort).cases:
        found.setdefault(tuple(sorted(case.labels.items())), set()).add(case.patient)
    return found


def test_real_patient_ids_are_passed_through_the_key(cohort):
    text = "PatientID,tumour,volume_ml,grade,code\nMRN00001,yes,1.5,2,007\nMRN00002,no,2,3,010\nMRN00003,NA,,,\n"
    done = label(cohort, table(cohort, text))
    assert done["columns"] == {"tumour": "boolean", "volume_ml": "number", "grade": "integer", "code": "text"}
    assert done["labelled"] == 2 and done["unknown"] == []
    values = [dict(items) for items in by_patient(cohort)]
    assert {"tumour": True, "volume_ml": 1.5, "grade": 2, "code": "007"} in values
    assert {"tumour": False, "volume_ml": 2.0, "grade": 3, "code": "010"} in values and {} in values
    stored = (cohort / "labels.parquet").read_bytes() + json.dumps(read_labels(cohort)).encode()
    assert b"MRN0000" not in stored


def test_pseudonyms_need_no_key_and_labels_change_the_fingerprint(cohort):
    before = open_cohort(cohort)
    (cohort.parent / "cohort.key").unlink()
    label(cohort, table(cohort, f"patient,y\n{before.patients[0]},1\n"))
    after = open_cohort(cohort)
    assert after.fingerprint != before.fingerprint
    with pytest.raises(InputError, match="1 of 1 rows name no patient"):
        label(cohort, table(cohort, "patient,y\nMRN00002,1\n"))


@pytest.mark.parametrize("given", ["left/view_001.png", "view_001", "scans/left/view_001", "./left/view_001.png"])
def test_files_are_found_by_name_or_any_part_of_their_path(cohort, given):
    label(cohort, table(cohort, f"file,class\n{given},benign\n"), on="series")
    ((key, values),) = series_labels(cohort).items()
    assert values == {"class": "benign"}
    case = next(case for case in open_cohort(cohort).cases if case.labels)
    assert [series.key for series in case.series] == [key]


def test_a_name_that_fits_two_files_is_refused(cohort):
    with pytest.raises(InputError, match="'view_002' fits 2 series"):
        label(cohort, table(cohort, "file,class\nview_002,benign\n"), on="series")
    label(cohort, table(cohort, "file,class\nright/view_002,benign\n"), on="series")


def test_study_uids_name_cases_and_series_uids_series(cohort):
    from radfoundry.data.dicom_header import read_instance
    from radfoundry.data.sources import Source

    folder = cohort.parent / "again"
    dicom_patients(folder, (2,))
    header = read_instance(Source(str(next((folder / "patient2" / "a").iterdir()))))
    label(cohort, table(cohort, f"study_uid,quality\n{header.study_uid},4\n"), on="case")
    label(cohort, table(cohort, f"series_uid,artefact\n{header.series_uid},true\n"), on="series")
    (labelled,) = [case for case in open_cohort(cohort).cases if case.labels]
    assert labelled.labels == {"quality": 4, "artefact": True}


def test_the_nearer_label_wins_and_series_that_disagree_say_nothing_of_the_case(cohort):
    case = next(case for case in open_cohort(cohort).cases if len(case.series) == 2)
    first, second = (series.key for series in case.series)
    label(cohort, table(cohort, f"patient,y,z\n{case.patient},1,5\n"))
    label(cohort, table(cohort, f"case,y\n{case.key},2\n"), on="case")
    label(cohort, table(cohort, f"series,z,w\n{first},6,1\n{second},7,1\n"), on="series")
    found = next(c for c in open_cohort(cohort).cases if c.key == case.key)
    assert found.labels == {"y": 2, "z": 5, "w": 1}


REFUSED = {
    "unknown": ("patient,y\nMRN00001,1\nMRN99999,0\n", "1 of 2 rows name no patient of the cohort: MRN99999"),
    "two values": ("patient,y\nMRN00001,1\nMRN00001,0\n", "MRN00001 has two values of y: '1' and '0'"),
    "infinite": ("patient,y\nMRN00001,inf\n", "y of MRN00001 is not finite"),
    "one column": ("patient\nMRN00001\n", "needs a first line with a key column"),
    "no rows": ("patient,y\n", "has no rows"),
    "ragged": ("patient,y\nMRN00001\n", "line 2 has not 2 columns"),
    "twice the same name": ("patient,y,y\nMRN00001,1,2\n", "each with its own name"),
    "two keys": ("patient,subject,y\nMRN00001,1,2\n", "several columns could name the patient"),
    "only names": ("patient,name\nMRN00001,Jane\n", "no column is left to take"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_tables_are_refused_whole(cohort, name):
    text, message = REFUSED[name]
    before = (cohort / "labels.parquet").read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        label(cohort, table(cohort, text))
    assert "\n" not in str(caught.value)
    assert (cohort / "labels.parquet").read_bytes() == before


def test_missing_rows_may_be_allowed_but_not_all_of_them(cohort):
    path = table(cohort, "patient,y\nMRN00001,1\nMRN99999,0\n")
    assert label(cohort, path, allow_missing=True)["unknown"] == ["MRN99999"]
    with pytest.raises(InputError, match="1 of 1 rows"):
        label(cohort, table(cohort, "patient,y\nMRN99999,0\n"), allow_missing=True)


def test_equal_rows_are_fine_and_a_second_labelling_must_agree(cohort):
    text = "patient,y\nMRN00001,1\nMRN00001,1\nMRN00002,0\n"
    label(cohort, table(cohort, text))
    label(cohort, table(cohort, text))
    with pytest.raises(InputError, match="is 1 in the cohort and 0 here"):
        label(cohort, table(cohort, "patient,y\nMRN00001,0\n"))
    with pytest.raises(InputError, match="y is text here and integer in the cohort"):
        label(cohort, table(cohort, "patient,y\nMRN00003,high\n"))


def test_columns_about_people_are_left_out_and_one_class_is_remarked(cohort):
    text = "patient,Name,birth_date,seen,y\nMRN00001,Jane,1960-01-02,03.04.2019,1\nMRN00002,Joan,,,1\n"
    done = label(cohort, table(cohort, text))
    assert done["left out"] == ["Name", "birth_date", "seen"] and list(done["columns"]) == ["y"]
    assert done["notes"][0] == "y is 1 for all 2: nothing can be learnt from one class"
    done = label(cohort, table(cohort, "patient,PatientName,lastName,nameless,z\nMRN00001,DOE^JANE,Doe,1,2\n"))
    assert done["left out"] == ["PatientName", "lastName"]


def test_another_key_is_refused(cohort):
    other = cohort.parent / "other.key"
    other.write_text("cd" * 32)
    with pytest.raises(InputError, match="is not the key of this cohort"):
        label(cohort, table(cohort, "patient,y\nMRN00001,1\n"), key_file=other)


def test_separators_byte_order_marks_and_parquet(cohort):
    import pandas as pd

    for text in ("patient;y\nMRN00001;1\n", "patient\ty\nMRN00001\t1\n", "\ufeffpatient,y\nMRN00001,1\n"):
        assert read_rows(table(cohort, text)) == [{"patient": "MRN00001", "y": "1"}]
    path = cohort.parent / "labels.parquet"
    pd.DataFrame({"patient": ["MRN00001"], "y": [1]}).to_parquet(path)
    assert label(cohort, path)["columns"] == {"y": "integer"}
    (cohort.parent / "latin.csv").write_bytes("patient,y\nMRN00001,é\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        label(cohort, cohort.parent / "latin.csv")
    with pytest.raises(InputError, match="no such file"):
        label(cohort, cohort.parent / "absent.csv")


def test_the_habits_of_spreadsheets_are_understood(cohort):
    text = (
        "\ufeffsep=;\r\nPatient ID;volume ml;Class;boxes;;\r\n"
        "MRN00001;1,5;Benign;none;;\r\nMRN00002;12;benign;1 2 3 4;;\r\nMRN00003;0,25;;;;\r\n"
    )
    done = label(cohort, table(cohort, text))
    assert done["columns"] == {"volume ml": "number", "Class": "text", "boxes": "text"}
    assert sorted(case.labels["volume ml"] for case in open_cohort(cohort).cases if case.labels)[:1] == [0.25]
    assert "Class: 'Benign' and 'benign' count as different answers" in done["notes"]
    assert "boxes: 'none' 1 times counts as missing; write another word where it is an answer" in done["notes"]
    assert any("of 6 patients so many have no value" in note and "Class 4" in note for note in done["notes"])


def test_commas_that_may_part_thousands_and_stray_words_are_remarked(cohort):
    text = 'patient,n,m\nMRN00001,"1,234",5\nMRN00002,"2,000",6\nMRN00003,"3,100",>9\n'
    done = label(cohort, table(cohort, text))
    assert done["columns"] == {"n": "text", "m": "text"}
    assert any(note.startswith("n is text: its commas may part thousands") for note in done["notes"])
    assert "m is text, not numbers, because of '>9'" in done["notes"]
    for name, text in (("rows", ",patient,y\n0,MRN00001,1\n"), ("open", 'patient,y\nMRN00001,"1\n')):
        with pytest.raises(InputError, match=r"the first column has no name|is no table"):
            label(cohort, table(cohort, text, f"{name}.csv"))
    with pytest.raises(InputError, match="7 for 007"):
        label(cohort, table(cohort, "patient,y\n7,1\n"))


def test_labels_outlive_a_further_ingest(cohort):
    label(cohort, table(cohort, "patient,y\nMRN00001,1\n"))
    shutil.copy(cohort.parent / "cohort.key", cohort.parent / "test.key")
    dicom_patients(cohort.parent / "more", (4,))
    ingest(cohort.parent / "more", cohort)
    assert sum("y" in case.labels for case in open_cohort(cohort).cases) == 1


def test_a_workbook_is_told_from_a_broken_table(cohort):
    with pytest.raises(InputError, match="is a workbook, not a table; save its sheet as CSV"):
        label(cohort, table(cohort, "PK", name="labels.xlsx"))


def test_a_row_that_differs_in_spelling_alone_is_said_to(cohort):
    with pytest.raises(InputError, match="'mrn00001' is there as 'MRN00001'"):
        label(cohort, table(cohort, "PatientID,y\nmrn00001,1\nMRN00002,0\n"))
    with pytest.raises(InputError, match="name no patient") as caught:
        label(cohort, table(cohort, "PatientID,y\nnobody,1\nMRN00002,0\n"))
    assert "is there as" not in str(caught.value)


def test_a_published_split_is_read_by_your_own_identifiers(cohort):
    text = "PatientID,Part\nMRN00001,Training\nMRN00002,Testing\nMRN00003,\n"
    found = read_assignment(cohort, table(cohort, text))
    by_number = read_assignment(cohort, table(cohort, "PatientID,part\nMRN00001,train\n"))
    assert sorted(set(found.values())) == ["test", "train"] and set(by_number) < set(found)
    assert {case.patient for case in open_cohort(cohort).cases if case.key in found} == {
        open_key(cohort.parent / "cohort.key", outside=cohort, create=False).patient(name)
        for name in ("MRN00001", "MRN00002")
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,part\nnobody,train\n", "1 of 1 rows name no patient"),
        ("patient,part\nMRN00001,train\nMRN00001,test\n", "MRN00001 is in 'train' and in 'test'"),
        ("patient,fold\nMRN00001,train\n", "needs the columns"),
    ],
)
def test_a_split_table_that_does_not_fit_is_refused(cohort, text, said):
    with pytest.raises(InputError, match=said):
        read_assignment(cohort, table(cohort, text))


def test_a_series_called_a_mask_is_a_segmentation_and_its_correction_no_question(cohort):
    key = open_cohort(cohort).series[0].key
    done = label(cohort, table(cohort, f"series,sequence,plane\n{key},mask,\n"), on="series")
    found = {series.key: series for series in open_cohort(cohort).series}[key]
    assert found.sequence == "mask" and found.acquisition.modality == "SEG" and done["notes"] == []


def test_keys_of_another_level_are_known_for_what_they_are(cohort):
    key = open_cohort(cohort).series[0].key
    with pytest.raises(InputError, match="keys of series: label --on series"):
        label(cohort, table(cohort, f"series,sequence\n{key},mask\n"), on="patient")


def test_the_name_of_a_scanner_is_no_persons_name():
    assert not is_telling("Manufacturer Model Name", ["9", "18"]) and not is_telling("sequence_name", ["fl3d"])
    assert (
        is_telling("Patient Name", ["x"])
        and is_telling("Name", ["x"])
        and is_telling("ManufacturerModelName", ["2019-01-02"])
    )
