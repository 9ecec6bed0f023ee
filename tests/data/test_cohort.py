"""Opening cohorts and splitting them: whole or refused in one line, pixels only when asked for."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from radfoundry.data import cohort as cohorts
from radfoundry.data.cohort import open_cohort, split, volume_path
from radfoundry.data.cohort_tables import ACQUISITION_COLUMNS, as_stored, digest_rows, read_table, write_table
from radfoundry.data.store import read_crop
from radfoundry.records import Acquisition, InputError

sys.path.append(str(Path(__file__).parents[1] / "stages"))
from ingest_samples import dicom_patients, ingest, pictures, with_key


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = with_key(tmp_path_factory.mktemp("cohorts"))
    dicom_patients(folder / "scans", range(1, 7))
    pictures(folder / "scans" / "views", [1, 2, 3])
    twin = (folder / "scans" / "views" / "view_001.png").read_bytes()
    (folder / "scans" / "views" / "twin.png").write_bytes(twin)
    ingest(folder / "scans", folder / "cohort")
    return folder / "cohort"


@pytest.fixture
def copy(made, tmp_path):
    import shutil

    shutil.copytree(made, tmp_path / "cohort")
    return tmp_path / "cohort"


def test_opening_reads_no_pixels_and_loading_does(made, monkeypatch):
    import radfoundry.data.store as store

    reads = []
    real = store.read_volume
    monkeypatch.setattr(store, "read_volume", lambda path, **more: reads.append(path) or real(path, **more))
    cohort = open_cohort(made)
    assert reads == []
    series = cohort.series[0]
    loaded = series.load()
    assert len(reads) == 1 and loaded.array.shape == series.shape
    travelled = pickle.loads(pickle.dumps(series))  # as worker processes of a data loader receive it
    assert np.array_equal(travelled.load().array, loaded.array)


def test_part_of_a_volume_can_be_read(made):
    series = next(s for s in open_cohort(made).series if s.shape[3] > 1)
    part = read_crop(volume_path(made, series.key), (2, 3, 1), (4, 5, 2))
    assert np.array_equal(part.array, series.load().array[:, 2:6, 3:8, 1:3])


DAMAGES = {
    "no record": (lambda c: (c / "cohort.json").unlink(), "not finished"),
    "broken record": (lambda c: (c / "cohort.json").write_text("{"), "cohort.json is damaged"),
    "newer": (lambda c: (c / "cohort.json").write_text('{"schema": 99}'), "version 99, this program knows 1"),
    "no table": (lambda c: (c / "cases.parquet").unlink(), "the cases table is missing"),
    "cut table": (
        lambda c: (c / "series.parquet").write_bytes((c / "series.parquet").read_bytes()[:-50]),
        "is damaged",
    ),
    "foreign table": (lambda c: (c / "cases.parquet").write_bytes((c / "series.parquet").read_bytes()), "is damaged"),
    "changed table": (lambda c: change_a_row(c), "do not fit cohort.json"),
    "no volume": (lambda c: next((c / "volumes").iterdir()).unlink(), "stored pixels of 1 of 16 series are gone"),
    "broken splits": (lambda c: (c / "splits.json").write_text("{"), "splits are damaged"),
}


def change_a_row(cohort):
    rows = read_table(cohort / "cases.parquet", "cases")
    rows[0]["sex"] = "M" if rows[0]["sex"] == "F" else "F"
    write_table(cohort / "cases.parquet", "cases", rows)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_cohort_is_refused_in_one_line(copy, name):
    damage, message = DAMAGES[name]
    damage(copy)
    with pytest.raises(InputError, match=message) as caught:
        open_cohort(copy)
    assert "\n" not in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize("name", ["no record", "no table", "cut table", "changed table", "no volume"])
def test_ingesting_again_mends_it(copy, made, name):
    DAMAGES[name][0](copy)
    (copy.parent / "test.key").write_text("ab" * 32)
    ingest(made.parent / "scans", copy)
    assert open_cohort(copy).fingerprint == open_cohort(made).fingerprint


def test_what_is_no_cohort_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing", Path(__file__)):
        with pytest.raises(InputError, match="not a cohort"):
            open_cohort(path)


def test_splits_are_kept_checked_and_part_of_the_fingerprint(copy):
    plain = open_cohort(copy)
    counts = split(copy, parts={"train": 0.5, "test": 0.5}, seed=3)
    cohort = open_cohort(copy)
    assert sum(counts.values()) == len(cohort) and cohort.fingerprint != plain.fingerprint
    assert cohort.provenance["images"] == plain.fingerprint
    train, test = cohort.part("default", "train"), cohort.part("default", "test")
    assert not set(train.patients) & set(test.patients) and len(train) + len(test) == len(cohort)
    with pytest.raises(InputError, match="there is a split 'default' already"):
        split(copy)
    split(copy, parts={"train": 0.5, "test": 0.5}, seed=3, replace_existing=True)
    assert open_cohort(copy).fingerprint == cohort.fingerprint
    with pytest.raises(InputError, match="cannot split by 'luck'"):
        split(copy, by="luck")


def test_equal_pictures_never_cross_and_a_table_that_parts_them_is_refused(copy):
    (pair,) = cohorts.case_duplicates(open_cohort(copy))
    assert len(pair) == 2
    for seed in range(6):
        split(copy, name=f"s{seed}", parts={"train": 0.5, "test": 0.5}, seed=seed)
        parts = open_cohort(copy).splits[f"s{seed}"]
        assert parts[pair[0]] == parts[pair[1]]
    with pytest.raises(InputError, match="near-duplicate images would lie in several parts"):
        split(copy, name="bad", by="table", assignment={pair[0]: "train", pair[1]: "test"})
    assert "bad" not in open_cohort(copy).splits
    split(copy, name="known", by="table", assignment={pair[0]: "train", pair[1]: "test"}, near_duplicates=False)


def test_by_site_and_by_date(copy):
    sites = sorted({case.site for case in open_cohort(copy).cases if case.site})
    with pytest.raises(InputError, match="4 cases have no site"):
        split(copy, by="site", test_sites=[sites[0]])
    with pytest.raises(InputError, match="4 cases have no date"):
        split(copy, by="date", test_from="2019")


def test_dates_that_were_moved_cannot_order_patients(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", range(1, 5))
    ingest(tmp_path / "scans", tmp_path / "cohort")
    with pytest.raises(InputError, match="moved by a number of days of their own"):
        split(tmp_path / "cohort", by="date", test_from="2019")


def test_tables_hold_every_acquisition_field_and_digests_ignore_order():
    row = Acquisition(modality="MR", matrix=(3, 4), echo_time_ms=5, image_type=("A", "B")).to_dict()
    (stored,) = as_stored("series", [row])
    assert set(ACQUISITION_COLUMNS) <= set(stored) and stored["echo_time_ms"] == 5.0
    rows = [{"a": 1, "b": None}, {"a": 2}]
    assert digest_rows(rows) == digest_rows([{"a": 2, "b": None}, {"a": 1}]) != digest_rows([{"a": 1}, {"a": 3}])


def test_cohort_json_is_plain(made):
    record = json.loads((made / "cohort.json").read_text())
    assert set(record) == {"schema", "fingerprint", "provenance"}
