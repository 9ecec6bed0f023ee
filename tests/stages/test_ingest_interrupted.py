"""Killed at any moment, ingest goes on where it stopped and ends in the identical cohort."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ingest_samples import dicom_patients, ingest, mixed_archive, pictures, with_key

from radfoundry.data.cohort import open_cohort
from radfoundry.records import InputError

SCRIPT = """
import json, sys
from radfoundry.stages.ingest import Config, run

if __name__ == "__main__":
    print(run(Config(**json.loads(sys.argv[1]))).outputs["cohort"])
"""


def start(folder, workers):
    script = folder / "start.py"
    script.write_text(SCRIPT)
    settings = {
        "sources": [str(folder / "scans")],
        "to": str(folder / "cohort"),
        "key_file": str(folder / "test.key"),
        "workers": workers,
    }
    return subprocess.Popen([sys.executable, str(script), json.dumps(settings)], stdout=subprocess.PIPE, text=True)


def kill_and_finish(folder, *, kills, workers, seed, extra):
    """Start and kill at random points of the time a whole ingest takes, then let one finish."""
    with_key(folder)
    mixed_archive(folder / "scans")
    pictures(folder / "scans" / "many", range(100, 100 + extra))
    expected = ingest(folder / "scans", folder / "reference")
    begin = time.monotonic()
    assert ingest(folder / "scans", folder / "timed", workers=1).outputs == expected.outputs
    usual = time.monotonic() - begin
    rng = np.random.default_rng(seed)
    killed = 0
    for _ in range(kills):
        process = start(folder, workers)
        wait_for_start(process, folder)
        time.sleep(rng.uniform(0, usual * 0.6))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if (folder / "cohort" / "cohort.json").exists():
            assert open_cohort(folder / "cohort").fingerprint == expected.outputs["cohort"]
    process = start(folder, workers)
    printed, _ = process.communicate(timeout=120)
    assert printed.strip() == expected.outputs["cohort"]
    compare_folders(folder / "cohort", folder / "reference")
    return killed


def wait_for_start(process, folder):
    """Kills count only once the ingest itself has begun; importing takes longer than all of it."""
    limit = time.monotonic() + 60
    lock = folder / "cohort" / ".ingest" / "lock"
    before = lock.stat().st_atime_ns if lock.exists() else None
    while process.poll() is None and time.monotonic() < limit:
        if before is None and lock.exists():
            return
        if before is not None and held(lock):
            return
        time.sleep(0.005)


def held(lock):
    import fcntl

    with lock.open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def compare_folders(one, other):
    """The same files with the same bytes, except what states settings or times of its own."""
    names = [
        {str(p.relative_to(f)) for p in f.rglob("*") if p.is_file() and ".ingest" not in p.parts} for f in (one, other)
    ]
    assert names[0] == names[1]
    for name in names[0]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_three_kills_end_in_the_identical_cohort(tmp_path):
    kill_and_finish(tmp_path, kills=3, workers=1, seed=0, extra=10)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_twenty_kills_end_in_the_identical_cohort(tmp_path, workers):
    killed = kill_and_finish(tmp_path, kills=20, workers=workers, seed=workers, extra=60)
    assert killed >= 3  # later starts find most of the work done and may end before their kill


def test_two_ingests_at_once_do_not_mix(tmp_path):
    import fcntl

    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", (1,))
    made = ingest(tmp_path / "scans", tmp_path / "cohort")
    with (tmp_path / "cohort" / ".ingest" / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another ingest is writing to it"):
            ingest(tmp_path / "scans", tmp_path / "cohort")
    assert ingest(tmp_path / "scans", tmp_path / "cohort").outputs == made.outputs


def test_a_power_cut_that_spoils_the_working_folder_costs_time_only(tmp_path):
    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", (1, 2))
    made = ingest(tmp_path / "scans", tmp_path / "cohort")
    work = tmp_path / "cohort" / ".ingest"
    (work / "done").mkdir()
    (work / "done" / "d-123.json").write_text("")
    for part in (work / "inventory").iterdir():
        part.write_bytes(part.read_bytes()[:100])
    assert ingest(tmp_path / "scans", tmp_path / "cohort").outputs == made.outputs
    assert open_cohort(tmp_path / "cohort").fingerprint == made.outputs["cohort"]


def test_a_cohort_without_its_working_folder_is_not_added_to(tmp_path):
    import shutil

    with_key(tmp_path)
    dicom_patients(tmp_path / "scans", (1,))
    dicom_patients(tmp_path / "more", (2,))
    made = ingest(tmp_path / "scans", tmp_path / "cohort")
    shutil.rmtree(tmp_path / "cohort" / ".ingest")
    with pytest.raises(InputError, match="nothing can be added"):
        ingest(tmp_path / "more", tmp_path / "cohort")
    assert open_cohort(tmp_path / "cohort").fingerprint == made.outputs["cohort"]
