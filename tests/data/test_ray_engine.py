"""The engine ray gives what the local engine gives; without its library one clear line names the extra."""

import csv
import importlib.util
import math
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from radfoundry.cli.main import exit_code
from radfoundry.data import cohort as cohorts
from radfoundry.data.pool import BrokenProcessPool, each, worker_count
from radfoundry.records import InputError

SIMULATED = ("--cohort", "brain-multisequence", "cases=4", "seed=5", "cohort.sequences=[T1w, T2w]")
CURATED = {"quality": "quality.csv", "types": "types.csv"}


def test_without_the_library_one_line_names_the_extra(tmp_path, monkeypatch, simulated_cohort, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the library ray"):
        worker_count(2, engine="ray")
    with pytest.raises(InputError, match=r"radfoundry\[scale\]"):
        list(each(math.isqrt, [4], workers=2, engine="ray"))
    where = shutil.copytree(simulated_cohort / "cohort", tmp_path / "cohort")
    for what in CURATED:
        words = ["curate", what, f"cohort={where}", "engine=ray", "--to", str(tmp_path / "run")]
        assert exit_code(words) == 2
        assert "radfoundry[scale]" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_without_the_library_nothing_is_made_or_changed(tmp_path, monkeypatch, simulated_cohort, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    made = str(tmp_path / "made")
    for words in (
        ["ingest", str(simulated_cohort / "scans")],
        ["simulate", "cases=8"],
        ["embed", f"cohort={simulated_cohort / 'cohort'}"],
    ):
        assert exit_code([*words, "engine=ray", "--to", made]) == 2
        assert "radfoundry[scale]" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_an_unknown_engine_is_refused(tmp_path, simulated_cohort, capsys):
    words = ["curate", "quality", f"cohort={simulated_cohort / 'cohort'}", "engine=rey", "--to", str(tmp_path / "run")]
    assert exit_code(words) == 2 and "'local' or 'ray'" in capsys.readouterr().err


@pytest.mark.slow
def test_every_task_is_answered_and_only_the_guilty_one_blamed():
    pytest.importorskip("ray")
    found = {answer.task: answer for answer in each(math.isqrt, range(-3, 20), workers=2, engine="ray")}
    local = {answer.task: answer for answer in each(math.isqrt, range(-3, 20), workers=1)}
    assert {task: answer.result for task, answer in found.items()} == {
        task: answer.result for task, answer in local.items()
    }
    assert {task for task, answer in found.items() if isinstance(answer.error, ValueError)} == {-3, -2, -1}
    (died,) = each(os._exit, [3], workers=1, engine="ray")
    assert isinstance(died.error, BrokenProcessPool)
    assert list(each(math.isqrt, [], workers=2, engine="ray")) == []


@pytest.mark.slow
def test_two_workers_of_a_cluster_curate_as_one_process_does(simulated_cohort, tmp_path):
    pytest.importorskip("ray")
    for what, table in CURATED.items():
        for engine, workers in (("local", 1), ("ray", 2)):
            cohort = shutil.copytree(simulated_cohort / "cohort", tmp_path / f"{what}-{engine}")
            words = [f"cohort={cohort}", f"engine={engine}", f"workers={workers}"]
            assert exit_code(["curate", what, *words, "--to", str(tmp_path / f"run-{what}-{engine}")]) == 0
        one, other = ((tmp_path / f"run-{what}-{engine}") for engine in ("local", "ray"))
        assert (one / table).read_bytes() == (other / table).read_bytes()
        assert (one / "corrections.csv").read_bytes() == (other / "corrections.csv").read_bytes()
        with (one / table).open(newline="") as handle:
            assert len(list(csv.DictReader(handle))) >= 12


@pytest.mark.slow
@pytest.mark.timeout(900)  # six commands in processes of their own, three of which begin a cluster
def test_two_workers_of_a_cluster_simulate_ingest_and_embed_as_one_process_does(tmp_path):
    pytest.importorskip("ray")
    for engine, workers in (("ray", 2), ("local", 1)):
        place = tmp_path / engine
        spread = [f"engine={engine}", f"workers={workers}"]
        cohort = ["--to", place / "cohort", "--key-file", tmp_path / "key"]
        _command("simulate", *SIMULATED, *spread, "--to", place / "made")
        _command("ingest", place / "made" / "dicom", *spread, *cohort)
        _command("embed", f"cohort={place / 'cohort'}", *spread, "index=false", "--to", place / "run")
    one, other = tmp_path / "local", tmp_path / "ray"
    assert _bytes(one / "made" / "dicom") == _bytes(other / "made" / "dicom")
    assert _bytes(one / "cohort" / "volumes") == _bytes(other / "cohort" / "volumes")
    tables = [pd.read_parquet(place / "run" / "embeddings.parquet") for place in (one, other)]
    assert len(tables[0]) >= 8 and tables[0].equals(tables[1])
    assert (
        cohorts.open_cohort(str(one / "cohort")).fingerprint == cohorts.open_cohort(str(other / "cohort")).fingerprint
    )


def _command(*words):
    """Each in a process of its own, as a user gives it: a cluster begins and ends with it."""
    call = "import sys; from radfoundry.cli.main import exit_code; sys.exit(exit_code(sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", call, *map(str, words)], check=True, capture_output=True)


def _bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_processes_of_this_machine_embed_as_one_does(simulated_cohort, tmp_path):
    for workers in (1, 2):
        cohort = shutil.copytree(simulated_cohort / "cohort", tmp_path / f"cohort-{workers}")
        words = [f"cohort={cohort}", f"workers={workers}", "index=false", "--to", str(tmp_path / f"run-{workers}")]
        assert exit_code(["embed", *words]) == 0
    one, other = (pd.read_parquet(tmp_path / f"run-{workers}" / "embeddings.parquet") for workers in (1, 2))
    assert one.equals(other)
