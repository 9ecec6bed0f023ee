"""The engine ray gives what the local engine gives; without its library one clear line names the extra."""

import csv
import importlib.util
import math
import os
import shutil

import pytest

from radfoundry.cli.main import exit_code
from radfoundry.data.pool import BrokenProcessPool, each, worker_count
from radfoundry.records import InputError

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
