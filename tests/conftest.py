"""What many tests share: a small simulated cohort, made once a session from DICOM by the same commands a user gives."""

import csv
import fcntl
import gc
import os
import shutil

import numpy as np
import pytest


@pytest.fixture(scope="session", autouse=True)
def one_processor():
    """Whoever asks for one process per processor gets one: the test processes side by side use them all already.

    A process of its own costs seconds (it imports everything again). Tests of work in many processes name their number.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
        yield


# The command that the README shows: what it makes is also what many tests share.
SIMULATE = ["simulate", "--cohort", "brain-multisequence", "--cases", "12", "--seed", "3", "--to", "simulation"]
SIMULATE.append("cohort.sequences=[T1w, T2w, FLAIR]")
FEW = 4  # exams of the smaller cohort, for what is measured series by series


@pytest.fixture(scope="session")
def simulated_cohort(tmp_path_factory, worker_id):
    """A folder with `scans/` (simulated DICOM), `cohort/` (labelled), `labels.csv`, `predictions.csv` and `key`.

    Beside them `few/`, a cohort of the first four of the twelve patients without labels.

    Test processes side by side share one: the first makes it while the others wait. Read it, never write into it.
    """
    if worker_id == "master":
        return _make_cohort(tmp_path_factory.mktemp("simulated"))
    folder = tmp_path_factory.getbasetemp().parent / "simulated"
    with (folder.parent / "simulated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "predictions.csv").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _make_cohort(folder)
    return folder


def _make_cohort(folder):
    from radfoundry.cli.main import exit_code

    simulate = [str(folder / word) if word == "simulation" else word for word in SIMULATE]
    assert exit_code(simulate) == 0
    (folder / "simulation" / "dicom").rename(folder / "scans")
    (folder / "simulation" / "labels.csv").rename(folder / "labels.csv")
    # A known key: who is drawn into which fold must not differ from one run of the tests to the next.
    (folder / "key").write_text("5a" * 32 + "\n")
    key = ["--key-file", str(folder / "key")]
    assert exit_code(["ingest", str(folder / "scans"), "--to", str(folder / "cohort"), *key]) == 0
    few = [str(patient) for patient in sorted((folder / "scans").iterdir())[:FEW]]
    assert exit_code(["ingest", *few, "--to", str(folder / "few"), *key]) == 0
    assert exit_code(["label", str(folder / "cohort"), str(folder / "labels.csv"), "--on", "patient", *key]) == 0
    rng = np.random.default_rng(0)
    with (folder / "predictions.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["case", "patient", "site", "target", "score", "other"])
        for index in range(120):
            target = int(rng.random() < 0.4)
            score, other = (round(float(1 / (1 + np.exp(-(target * gain - 1 + rng.normal())))), 4) for gain in (2, 1))
            writer.writerow([f"c{index}", f"p{index // 2}", f"site-{index % 3}", target, score, other])
    return folder


def pytest_collection_modifyitems(items):
    """The longest first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: not item.nodeid.endswith("[README]"))


def pytest_collection_finish():
    """What was imported stays: it need not be looked through again whenever garbage is collected."""
    gc.collect()
    gc.freeze()
