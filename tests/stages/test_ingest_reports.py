"""Reports reach the exams they belong to, by patient, accession number or study, and leave names and dates behind."""

import csv

import pytest
from ingest_samples import T1, ingest, person, volume, with_key

from radfoundry.data import report_files
from radfoundry.data.cohort import open_cohort
from radfoundry.data.dicom_write import write_series
from radfoundry.records import InputError

STUDY = "1.2.826.0.1.3680043.9.7"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Patient 1 with two exams, patient 2 with one, patient 3 whose study UID is known."""
    place = with_key(tmp_path_factory.mktemp("reports"))
    small = {"shape": (8, 8, 3)}
    exams = {
        "1a": person(1, accession="ACC1001", study_date="20190115"),
        "1b": person(1, accession="ACC1002", study_date="20190715", study_number="2"),
        "2": person(2, accession="ACC2001"),
        "3": person(3, study_uid=STUDY),
    }
    for number, (name, identity) in enumerate(exams.items()):
        write_series(volume(number, **small), place / "scans" / name, acquisition=T1, identity=identity)
    ingest(place / "scans", place / "cohort")
    return place


def table(path, rows):
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerows(rows)
    return path


def said(folder):
    return sorted(text for case in open_cohort(folder / "cohort").cases for text in case.reports)


def test_reports_find_their_exam(folder, tmp_path):
    before = open_cohort(folder / "cohort").fingerprint
    rows = [["accession", "report"], ["ACC1001", "First exam of one."], ["ACC1002", "Second exam of one."]]
    rows += [[STUDY, "Exam of three."], ["ACC9999", "Nobody here."]]
    found = report_files.add(folder / "cohort", table(tmp_path / "r.csv", rows), key_file=folder / "test.key")
    assert found == {"given": 4, "exams": 3, "unplaced": 1, "removed": 0}
    cohort = open_cohort(folder / "cohort")
    by_order = [case.reports for case in cohort.cases if len(case.priors) == 1]
    assert by_order == [("Second exam of one.",)] and cohort.fingerprint != before


def test_a_patients_report_is_that_of_the_last_exam_and_a_second_one_replaces_it(folder, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "MRN00001.txt").write_text("FINDINGS: The later one.")
    (texts / "MRN00002.txt").write_text("FINDINGS: Two has a mass.")
    report_files.add(folder / "cohort", texts, key_file=folder / "test.key")
    last = next(case for case in open_cohort(folder / "cohort").cases if case.priors)
    assert last.reports == ("FINDINGS: The later one.",)
    (texts / "MRN00002.txt").write_text("FINDINGS: Two has none.")
    report_files.add(folder / "cohort", texts, key_file=folder / "test.key")
    assert "FINDINGS: Two has none." in said(folder) and "FINDINGS: Two has a mass." not in said(folder)


def test_nothing_that_names_the_patient_is_written(folder, tmp_path):
    rows = [
        ["patient_id", "name", "report"],
        [
            "MRN00002",
            "Doe^Jane2",
            "Patient: Jane2 Doe\nSeen on 3.2.2019 by Dr. Anna Meier, call 030/1234567. Doe has a mass.",
        ],
    ]
    report_files.add(folder / "cohort", table(tmp_path / "r.csv", rows), key_file=folder / "test.key")
    text = next(text for text in said(folder) if "has a mass" in text)
    assert text == "Patient: [name]\nSeen on [date] by [name], call [number]. [name] has a mass."
    everything = b"".join(path.read_bytes() for path in (folder / "cohort").rglob("*") if path.is_file())
    assert not any(word in everything for word in (b"Meier", b"MRN00002", b"ACC1001", b"Jane2"))


def test_what_reports_measure_is_kept():
    text = "FINDINGS: Mass at L4/L5 measuring 23 mm (previously 12 mm), T2 4.5 x 3.2 cm, C3/4. May 5 of 7 levels."
    assert report_files.scrubbed(text) == (text, 0)


def test_the_command_takes_reports_with_the_scans(folder, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "MRN00003.txt").write_text("FINDINGS: No mass.")
    made = ingest(folder / "scans", folder / "cohort", reports=str(tmp_path / "texts"))
    assert made.outputs["cohort"] == open_cohort(folder / "cohort").fingerprint
    assert any("1 report read" in note for note in made.notes) and "FINDINGS: No mass." in said(folder)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["patient_id", "colour"], ["1", "red"]], "column report"),
        ([["word", "report"], ["1", "text"]], "column accession"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(folder, tmp_path, rows, said):
    with pytest.raises(InputError, match=said):
        report_files.add(folder / "cohort", table(tmp_path / "r.csv", rows), key_file=folder / "test.key")


def test_an_empty_folder_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no report"):
        report_files.add(folder / "cohort", tmp_path, key_file=folder / "test.key")


def test_reports_that_cannot_be_read_are_refused_before_the_images_are(folder, tmp_path):
    rows = [["word", "report"], ["x", "No mass."]]
    with pytest.raises(InputError, match="no column accession, study_uid, patient_id or path"):
        ingest(folder / "scans", tmp_path / "new", reports=str(table(tmp_path / "r.csv", rows)))
    assert not (tmp_path / "new").exists()


def test_a_table_may_name_files():
    rows = [{"path": "left/film_1.png", "report": "No mass."}]
    (said,) = report_files._of_table(rows, "r.csv")
    assert said.key == "left/film_1.png" and said.level == "case"
