"""Ingest from end to end: everything is in the cohort or listed, and only the content decides the fingerprint."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ingest_samples import T1, bids, dicom_patients, ingest, mixed_archive, person, pictures, volume, with_key

from radfoundry.cli.main import exit_code
from radfoundry.data.cohort import open_cohort
from radfoundry.data.cohort_tables import read_table
from radfoundry.data.dicom_write import write_series
from radfoundry.data.nifti import write_nifti
from radfoundry.data.reading import Repair
from radfoundry.records import InputError
from radfoundry.stages.ingest import Config, RepairRules, explain, run, trace


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = with_key(tmp_path_factory.mktemp("mixed"))
    reasons = mixed_archive(folder / "scans")
    made = ingest(folder / "scans", folder / "cohort")
    return folder, reasons, made


def test_series_cases_and_patients_are_found(mixed):
    folder, _, made = mixed
    cohort = open_cohort(folder / "cohort")
    assert cohort.fingerprint == made.outputs["cohort"]
    assert Counter(s.sequence for s in cohort.series) == {"T1w": 6, "T2w": 3, None: 4}
    assert len(cohort.patients) == 10 and len(cohort) == 10 and len(cohort.series) == 13
    by_patient = Counter(case.patient for case in cohort.cases for _ in case.series)
    assert sorted(by_patient.values()) == [1] * 7 + [2] * 3
    dicom = [case for case in cohort.cases if len(case.series) == 2]
    assert all(case.sex == "F" and 58.9 < case.age_years < 60.1 for case in dicom)  # born January 1960, seen in 2019
    assert {case.site is None for case in dicom} == {False} and len({case.site for case in dicom}) == 2


def test_pixels_and_places_come_back(mixed):
    folder, _, _ = mixed
    cohort = open_cohort(folder / "cohort")
    expected = {volume(number).array.tobytes() for number in (1, 2, 3, 51, 52, 9, 1001, 1002, 1003)}
    found = {s.load().reorient("RAS").array.astype(np.int16).tobytes() for s in cohort.series if s.shape[3] > 1}
    assert found == expected
    for series in cohort.series:
        loaded = series.load()
        assert loaded.array.shape == series.shape
        assert np.allclose(loaded.spacing_mm, series.spacing_mm, atol=1e-5)


def test_every_file_is_in_the_cohort_or_listed_with_reason_and_remedy(mixed):
    folder, reasons, made = mixed
    rejected = read_table(folder / "cohort" / "rejected.parquet", "rejected")
    assert len(rejected) == len(reasons)
    assert all(row["reason"] and row["what"] and row["remedy"] for row in rejected)
    files = [path for path in (folder / "scans").rglob("*") if path.is_file()]
    in_zip = 5
    sidecars = 2
    used = sum(row["files"] for row in read_table(folder / "cohort" / "series.parquet", "series"))
    assert used + len(rejected) + sidecars == len(files) - 1 + in_zip
    config = Config(sources=(str(folder / "scans"),), to=str(folder / "cohort"), key_file=str(folder / "test.key"))
    listed = {Path(path).name: reason.split(":")[0] for path, reason, _ in explain(config)}
    copies = {name for name, reason in listed.items() if reason == "copy"}
    assert len(copies) == 1  # which of two equal files is used does not matter
    for name, reason in reasons.items():
        assert reason in (None, "copy") or listed[name] == reason
    assert "7 files were not used" in made.notes[0]


def test_every_series_can_be_traced_to_its_files_and_nothing_is_written_for_it(mixed):
    folder, _, _ = mixed
    before = snapshot(folder / "cohort")
    config = Config(sources=(str(folder / "scans"),), to=str(folder / "cohort"), key_file=str(folder / "test.key"))
    cohort = open_cohort(folder / "cohort")
    found = {series: (patient, case, place) for series, patient, case, place in trace(config)}
    assert {(s.key, s.patient, s.case) for s in cohort.series} == {(key, p, c) for key, (p, c, _) in found.items()}
    assert len({place for _, _, place in found.values()}) == len(found)
    slices = {place.split("patient1/")[1][:1] for _, _, place in found.values() if "patient1/" in place}
    assert slices == {"a", "b"}
    assert snapshot(folder / "cohort") == before


@pytest.mark.parametrize("name", ["explain", "trace"])
def test_what_is_listed_can_be_read_by_a_program(mixed, capsys, name):
    folder, _, _ = mixed
    words = [str(folder / "scans"), "--to", str(folder / "cohort"), "--key-file", str(folder / "test.key")]
    assert exit_code(["ingest", *words, f"--{name}", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)[name]
    assert rows and all(str(folder) in row["file"] for row in rows)


def test_another_key_or_other_folders_are_said_and_not_an_empty_list(mixed, tmp_path):
    folder, _, _ = mixed
    (tmp_path / "key").write_text("11" * 32)
    given = {"sources": (str(folder / "scans"),), "to": str(folder / "cohort")}
    for asked in (trace, explain):
        with pytest.raises(InputError, match="is not the key of this cohort"):
            list(asked(Config(**given, key_file=str(tmp_path / "key"))))
    (tmp_path / "scans").mkdir()
    with pytest.raises(InputError, match="none of these files is in it"):
        list(trace(Config(**{**given, "sources": (str(tmp_path / "scans"),)}, key_file=str(folder / "test.key"))))


def test_files_of_one_name_from_two_folders_are_two_images(tmp_path):
    for site in ("north", "south"):
        (tmp_path / site / "scans").mkdir(parents=True)
        write_nifti(volume(len(site) + ord(site[0])), tmp_path / site / "scans" / "t1.nii.gz")
    for given in ([f"{site}/scans" for site in ("north", "south")], ["north/scans/t1.nii.gz", "south/scans/t1.nii.gz"]):
        to = tmp_path / f"cohort{len(given[0])}"
        sources = tuple(str(tmp_path / place) for place in given)
        run(Config(sources=sources, to=str(to), key_file=str(tmp_path / "key"), workers=1))
        assert len({series.content for series in open_cohort(to).series}) == 2
    first = run(
        Config(sources=(str(tmp_path / "north/scans"),), to=str(tmp_path / "one"), key_file=str(tmp_path / "key"))
    )
    assert first.notes[0] == "1 series of 1 patient from 1 file"
    again = run(
        Config(sources=(str(tmp_path / "south/scans"),), to=str(tmp_path / "one"), key_file=str(tmp_path / "key"))
    )
    assert any("1 image file has changed and took the place" in note for note in again.notes)
    both = Config(
        sources=(str(tmp_path / "north/scans"), str(tmp_path / "south/scans")),
        to=str(tmp_path / "one"),
        key_file=str(tmp_path / "key"),
    )
    run(both)
    keys = {series.key for series in open_cohort(tmp_path / "one").series}
    assert len({series.content for series in open_cohort(tmp_path / "one").series}) == len(keys) == 2
    assert {row[0] for row in trace(both)} == keys


def test_a_file_is_traced_whichever_folder_above_it_is_given(tmp_path):
    write_nifti(volume(1), tmp_path / "scans" / "day1" / "t1.nii.gz")
    to = {"to": str(tmp_path / "cohort"), "key_file": str(tmp_path / "key")}
    run(Config(sources=(str(tmp_path / "scans"),), **to))
    (row,) = trace(Config(sources=(str(tmp_path / "scans" / "day1"),), **to))
    assert row[0] == open_cohort(tmp_path / "cohort").series[0].key and row[3].endswith("day1/t1.nii.gz")


def test_a_second_run_changes_nothing(mixed):
    folder, _, made = mixed
    before = snapshot(folder / "cohort")
    again = ingest(folder / "scans", folder / "cohort")
    assert again.outputs == made.outputs and snapshot(folder / "cohort") == before


def snapshot(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_fingerprint_ignores_place_time_order_and_workers(mixed, tmp_path):
    folder, _, made = mixed
    with_key(tmp_path)
    elsewhere = tmp_path / "far" / "away" / "scans"
    for path in sorted((folder / "scans").rglob("*"), reverse=True):
        if path.is_file():
            target = elsewhere / path.relative_to(folder / "scans")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    made_there = ingest(elsewhere, tmp_path / "cohort", workers=2)
    assert made_there.outputs == made.outputs
    for name in ("series", "cases", "rejected"):
        assert read_table(tmp_path / "cohort" / f"{name}.parquet", name) == read_table(
            folder / "cohort" / f"{name}.parquet", name
        )


def test_renaming_dicom_files_changes_nothing_that_matters(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "one", (1,))
    shuffled = tmp_path / "other"
    shuffled.mkdir()
    for number, path in enumerate(sorted((tmp_path / "one").rglob("*.dcm"), reverse=True)):
        shutil.copy(path, shuffled / f"x{number}")
    first, second = ingest(tmp_path / "one", tmp_path / "a"), ingest(shuffled, tmp_path / "b")
    assert first.outputs == second.outputs


def test_sources_may_come_one_after_another(tmp_path):
    with_key(tmp_path)
    for part, numbers in (("x", (1, 2)), ("y", (3,))):
        dicom_patients(tmp_path / part, numbers)
    pictures(tmp_path / "y" / "pictures", (7, 8))
    whole = ingest([tmp_path / "y", tmp_path / "x"], tmp_path / "whole")
    ingest(tmp_path / "x", tmp_path / "parts")
    parts = ingest(tmp_path / "y", tmp_path / "parts")
    assert parts.outputs == whole.outputs
    assert len(open_cohort(tmp_path / "parts").series) == 8


def test_a_series_may_grow_but_not_in_pieces(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "all", (1,))
    files = sorted((tmp_path / "all" / "patient1" / "a").iterdir())
    first, rest = tmp_path / "first", tmp_path / "rest"
    for place, chosen in ((first, files[:2]), (rest, files[2:])):
        place.mkdir()
        for path in chosen:
            shutil.copy(path, place / path.name)
    ingest(first, tmp_path / "cohort")
    assert open_cohort(tmp_path / "cohort").series[0].shape[3] == 2
    ingest(rest, tmp_path / "cohort")  # the first slices are not there: nothing is put together from memory
    assert open_cohort(tmp_path / "cohort").series[0].shape[3] == 2
    rejected = read_table(tmp_path / "cohort" / "rejected.parquet", "rejected")
    assert [row["reason"] for row in rejected] == ["later-slices"] * 3
    grown = ingest(tmp_path / "all", tmp_path / "cohort")
    assert grown.outputs == ingest(tmp_path / "all", tmp_path / "fresh").outputs
    assert not list((tmp_path / "cohort" / "volumes").glob(".*"))


def test_other_repair_rules_rescue_what_was_refused(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", (1,))
    sorted((tmp_path / "scans" / "patient1" / "a").iterdir())[2].unlink()
    ingest(tmp_path / "scans", tmp_path / "cohort")
    rejected = read_table(tmp_path / "cohort" / "rejected.parquet", "rejected")
    assert [row["reason"] for row in rejected] == ["slice-gap"] * 4
    ingest(tmp_path / "scans", tmp_path / "cohort", repair=RepairRules(gaps="fill"))
    cohort = open_cohort(tmp_path / "cohort")
    assert [s.repairs for s in cohort.series if s.repairs] == [("slice-gap",)]
    assert not read_table(tmp_path / "cohort" / "rejected.parquet", "rejected")


def test_every_repair_can_be_set_and_nothing_is_mended_unasked():
    assert RepairRules().model_dump() == Repair().__dict__


def test_bids_names_and_sidecars_say_who_and_where(tmp_path):
    with_key(tmp_path)
    bids(tmp_path / "set")
    ingest(tmp_path / "set", tmp_path / "cohort")
    cohort = open_cohort(tmp_path / "cohort")
    assert [(s.sequence, s.acquisition.modality, s.acquisition.echo_time_ms) for s in cohort.series] == [
        ("T1w", "MR", 3.0)
    ] * 2
    assert len(cohort.patients) == 2 and len({case.site for case in cohort.cases}) == 1
    assert not read_table(tmp_path / "cohort" / "rejected.parquet", "rejected")


@pytest.mark.parametrize("masks", ["*/seg.nii.gz", "seg.nii.gz", "pat?/seg*"])
def test_a_pattern_names_patients_sequences_and_masks(tmp_path, masks):
    from radfoundry.data.nifti import write_nifti

    with_key(tmp_path)
    for patient in ("A", "B"):
        for name, seed in (("T1w", 1), ("seg", 2)):
            place = tmp_path / "scans" / f"pat{patient}"
            place.mkdir(parents=True, exist_ok=True)
            write_nifti(volume(seed + ord(patient)), place / f"{name}.nii.gz")
    (tmp_path / "scans" / "odd.nii.gz").write_bytes((tmp_path / "scans" / "patA" / "T1w.nii.gz").read_bytes())
    options = {"pattern": r"pat(?P<patient>\w)/(?P<sequence>T1w)?", "masks": (masks,), "modality": "MR"}
    ingest(tmp_path / "scans", tmp_path / "cohort", **options)
    cohort = open_cohort(tmp_path / "cohort")
    assert [len(case.series) for case in cohort.cases] == [2, 2]
    assert Counter((s.sequence, s.acquisition.modality) for s in cohort.series) == {
        ("T1w", "MR"): 2,
        ("mask", "SEG"): 2,
    }
    assert [row["reason"] for row in read_table(tmp_path / "cohort" / "rejected.parquet", "rejected")] == ["pattern"]


def test_names_of_sites_can_be_given(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", (1, 2))
    ingest(tmp_path / "scans", tmp_path / "cohort", sites={"Hospital 0": "north"})
    sites = {case.site for case in open_cohort(tmp_path / "cohort").cases}
    assert "north" in sites and len(sites) == 2 and all(s == "north" or s.startswith("site-") for s in sites)


def test_without_pseudonyms_only_when_asked(tmp_path):
    dicom_patients(tmp_path / "scans", (1,))
    made = run(Config(sources=(str(tmp_path / "scans"),), to=str(tmp_path / "open"), pseudonymise=False, workers=1))
    cohort = open_cohort(made.path)
    assert cohort.patients == ("MRN00001",) and cohort.cases[0].date == "2019-02-15"
    assert cohort.cases[0].year == 2019 and not (tmp_path / "open.key").exists()


def test_dates_keep_their_distance_and_years_stay_only_when_asked(tmp_path):
    with_key(tmp_path)
    for visit, day in enumerate(("20190301", "20200229")):
        identity = person(5, study_date=day, study_number=str(visit))
        write_series(volume(visit), tmp_path / "scans" / day, acquisition=T1, identity=identity)
    ingest(tmp_path / "scans", tmp_path / "cohort")
    first, second = open_cohort(tmp_path / "cohort").cases
    days = np.datetime64(second.date) - np.datetime64(first.date)
    assert days == np.datetime64("2020-02-29") - np.datetime64("2019-03-01")
    assert second.priors == (first.key,) and first.priors == () and first.year is None
    assert first.date < "2019-03-01"
    ingest(tmp_path / "scans", tmp_path / "years", keep_year=True)
    assert [case.year for case in open_cohort(tmp_path / "years").cases] == [2019, 2020]


def test_progress_tells_every_step(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", (1, 2))
    told = []
    config = Config(sources=(str(tmp_path / "scans"),), to=str(tmp_path / "c"), key_file=str(tmp_path / "test.key"))
    run(config, progress=lambda *what: told.append(what))
    steps = {name: (done, total) for name, done, total in told}
    assert steps == {"read headers": (20, 20), "read series": (4, 4), "write tables": (1, 1)}


def test_bad_requests_leave_nothing(tmp_path):
    with_key(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "a.txt").write_text("x")
    (junk / "b.dcm").write_text("x")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.doc").write_text("x")
    cases = [
        ({"sources": empty}, "holds no files"),
        ({"sources": junk}, r"none of 2 files is a readable image \(2 not-an-image\)"),
        ({"sources": tmp_path / "nowhere"}, "no such file or folder"),
        ({"sources": tmp_path, "to": tmp_path / "inside"}, "inside its own source"),
        ({"sources": junk, "to": other}, "other things in it"),
        ({"sources": junk, "to": junk / "a.txt"}, "inside its own source"),
        ({"sources": junk, "pattern": "("}, "not a regular expression"),
        ({"sources": junk, "pattern": "(a)"}, "no group named patient"),
        ({"sources": junk, "pattern": "(?P<patient>a)(?P<cases>b)"}, "unknown group 'cases'; did you mean 'case'"),
        ({"sources": junk, "modality": "ultrasound"}, "write US"),
        ({"sources": junk, "modality": "MF"}, "unknown modality 'MF'"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            ingest(**{"to": tmp_path / "cohort", **options})
        assert "\n" not in str(caught.value) and not (tmp_path / "cohort").exists()
    assert sorted(path.name for path in other.iterdir()) == ["thesis.doc"]


def test_junk_added_to_a_good_cohort_leaves_it_good(mixed, tmp_path):
    folder, _, made = mixed
    cohort = tmp_path / "cohort"
    shutil.copytree(folder / "cohort", cohort)
    with_key(tmp_path)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "a.txt").write_text("x")
    again = ingest(tmp_path / "junk", cohort)
    assert again.outputs == made.outputs
    assert len(read_table(cohort / "rejected.parquet", "rejected")) == 8


def test_other_settings_or_another_key_are_refused(mixed, tmp_path):
    folder, _, _ = mixed
    other_key = tmp_path / "other.key"
    other_key.write_text("cd" * 32)
    with pytest.raises(InputError, match="begun with another key"):
        ingest(folder / "scans", folder / "cohort", key_file=str(other_key))
    with pytest.raises(InputError, match="begun with another keep_text, site_from"):
        ingest(folder / "scans", folder / "cohort", keep_text=True, site_from="station")
    with pytest.raises(InputError, match="key is not there"):
        ingest(folder / "scans", folder / "cohort", key_file=str(tmp_path / "absent.key"))


def test_provenance_says_how_and_names_no_path(mixed):
    folder, _, _ = mixed
    text = (folder / "cohort" / "cohort.json").read_text()
    record = json.loads(text)
    assert record["provenance"]["counts"]["series"] == 13 and record["provenance"]["pseudonymised"] is True
    assert str(folder) not in text and "scans" not in text


def test_two_patients_under_one_study_uid_stay_two_patients(tmp_path):
    with_key(tmp_path)
    for number in (1, 2):
        identity = person(number, study_uid="1.2.3.4")
        write_series(volume(number), tmp_path / "scans" / str(number), acquisition=T1, identity=identity)
    ingest(tmp_path / "scans", tmp_path / "cohort")
    cohort = open_cohort(tmp_path / "cohort")
    assert len(cohort) == len(cohort.patients) == 2
    assert all({series.patient for series in case.series} == {case.patient} for case in cohort.cases)
