"""A full disk, a read-only folder, a crashing decoder and very many files: one clear line, and the cohort unharmed."""

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from ingest_samples import dicom_patients, ingest, with_key

import radfoundry.data.intake as intake
from radfoundry.data.cohort import open_cohort
from radfoundry.data.cohort_tables import read_table
from radfoundry.records import InputError
from radfoundry.stages.ingest import Config, run

LIMITED = """
import json, resource, sys
from radfoundry.records import InputError
from radfoundry.stages.ingest import Config, run

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    try:
        run(Config(**json.loads(sys.argv[1])))
    except InputError as error:
        print(error.finding, error)
"""


@pytest.fixture
def small(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", (1,))
    ingest(tmp_path / "scans", tmp_path / "cohort")
    dicom_patients(tmp_path / "more", (2, 3))
    return tmp_path


def test_a_real_limit_on_file_size_is_one_clear_line(small):
    """The operating system itself refuses the bytes, as a full disk does."""
    before = open_cohort(small / "cohort").fingerprint
    script = small / "limited.py"
    script.write_text(LIMITED)
    settings = {"sources": [str(small / "more")], "to": str(small / "cohort"), "key_file": str(small / "test.key")}
    command = [sys.executable, str(script), json.dumps({**settings, "workers": 1}), "3000"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout.startswith("disk-full") and "disk is full" in result.stdout
    assert result.stdout.count("\n") == 1
    assert open_cohort(small / "cohort").fingerprint == before
    ingest(small / "more", small / "cohort")
    assert len(open_cohort(small / "cohort").series) == 6


@pytest.mark.parametrize("allowed", range(0, 14, 2))
def test_a_disk_that_fills_up_at_any_write(small, monkeypatch, allowed):
    """`allowed` more files can be written, then none: the old cohort stays whole, and freeing space is all it takes."""
    before = open_cohort(small / "cohort").fingerprint
    left = [allowed]
    real = Path.replace

    def replace(self, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    try:
        ingest(small / "more", small / "cohort")
    except InputError as error:
        assert error.finding == "disk-full" and "\n" not in str(error)
    monkeypatch.undo()
    if left[0] < 0 and allowed < 8:  # later writes are those of the tables: the next run completes them
        assert open_cohort(small / "cohort").fingerprint == before
    made = ingest(small / "more", small / "cohort")
    assert open_cohort(small / "cohort").fingerprint == made.outputs["cohort"]
    assert len(open_cohort(small / "cohort").series) == 6
    assert not list((small / "cohort").rglob("*.partial"))


REAL_LOAD = intake.load_series


def test_an_error_of_our_own_costs_one_series_and_is_listed(small, monkeypatch):
    def fail(group, **options):
        if group[0].echo_time_ms == 10.0:
            raise ZeroDivisionError("secret words of the error")
        return REAL_LOAD(group, **options)

    monkeypatch.setattr(intake, "load_series", fail)
    ingest(small / "more", small / "cohort")
    monkeypatch.undo()
    assert len(open_cohort(small / "cohort").series) == 4
    rejected = read_table(small / "cohort" / "rejected.parquet", "rejected")
    assert {(row["reason"], row["what"]) for row in rejected} == {
        ("unexpected", "an error of this program (ZeroDivisionError)")
    }
    ingest(small / "more", small / "cohort")  # mended: the next run tries again
    assert len(open_cohort(small / "cohort").series) == 6
    assert not read_table(small / "cohort" / "rejected.parquet", "rejected")


def test_a_share_that_was_away_is_tried_again(small, monkeypatch):
    import radfoundry.data.inventory as inventory
    from radfoundry.data.sources import Source

    real = inventory.open_source
    away = str(small / "more" / "patient2")

    def gone(source: Source):
        if source.path.startswith(away):
            raise InputError("no such file", where=str(source), finding="missing-file")
        return real(source)

    monkeypatch.setattr(inventory, "open_source", gone)
    ingest(small / "more", small / "cohort")
    assert len(open_cohort(small / "cohort").series) == 4
    rejected = read_table(small / "cohort" / "rejected.parquet", "rejected")
    assert [row["reason"] for row in rejected] == ["missing-file"] * 10
    monkeypatch.undo()
    ingest(small / "more", small / "cohort")
    assert len(open_cohort(small / "cohort").series) == 6
    assert not read_table(small / "cohort" / "rejected.parquet", "rejected")


def test_a_file_among_the_folders_that_may_not_be_read(small):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = next((small / "more" / "patient2" / "a").iterdir())
    path.chmod(0)
    ingest(small / "more", small / "cohort")
    reasons = {row["reason"] for row in read_table(small / "cohort" / "rejected.parquet", "rejected")}
    assert "unreadable" in reasons


@pytest.mark.slow
def test_a_hundred_thousand_files(tmp_path):
    with_key(tmp_path)
    folder = tmp_path / "scans"
    for group in range(100):
        (folder / f"g{group}").mkdir(parents=True)
        for number in range(1000):
            (folder / f"g{group}" / f"{number}.txt").write_text(f"{group} {number}")
    dicom_patients(folder, (1, 2))
    config = Config(sources=(str(folder),), to=str(tmp_path / "cohort"), key_file=str(tmp_path / "test.key"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(config)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_000_000  # kilobytes: at most 10 kB per file
    cohort = open_cohort(tmp_path / "cohort")
    assert len(cohort.series) == 4 and cohort.provenance["counts"]["rejected"] == {"not-an-image": 100_000}
