"""Run folders: whole or not there, readable again, and comparable bit for bit."""

import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from radfoundry import runs
from radfoundry.records import Estimate, InputError


def write_run(folder, *, value=0.8, text="same"):
    with runs.writing("toy", {"cases": 3}, to=folder, seed=4) as writer:
        (writer.folder / "table.txt").write_text(text)
        writer.metrics["auroc"] = Estimate(value, 0.7, 0.9, method="DeLong", n=50)
        writer.metrics["empty"] = Estimate.undefined("no cases")
        writer.inputs["cohort"] = "abc"
    return writer.finished


def test_a_finished_run_reads_back(tmp_path):
    run = write_run(tmp_path / "run")
    assert runs.read(run.path) == run
    assert run.metrics["auroc"].text() == "0.80 (0.70-0.90)"
    assert math.isnan(run.metrics["empty"].value)
    assert run.outputs.keys() == {"table.txt"} and run.seed == 4 and run.versions["radfoundry"]


def test_an_error_inside_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), runs.writing("toy", {}, to=tmp_path / "run") as writer:
        (writer.folder / "half.txt").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_overwritten(tmp_path):
    write_run(tmp_path / "run")
    with pytest.raises(InputError, match="already exists"):
        write_run(tmp_path / "run", value=0.1)
    assert runs.read(tmp_path / "run").metrics["auroc"].value == 0.8


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    done = []

    @runs.working
    def stage(config):
        done.append(time.sleep(0.02))
        with runs.writing("toy", {}, to=config.to) as writer:
            pass
        return writer.finished

    finished = stage(SimpleNamespace(to=tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seconds"] >= 0.02
    (tmp_path / "file").touch()
    for folder, said in ((Path(finished.path), "already exists"), (tmp_path / "file" / "run", "is a file")):
        with pytest.raises(InputError, match=said):
            stage(SimpleNamespace(to=folder))
    assert len(done) == 1


def test_a_place_of_its_own_choice_is_looked_at_before_the_work_too(tmp_path, monkeypatch):
    (tmp_path / "cohort.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="lies inside the cohort"):
        runs.working(lambda config: pytest.fail("the work began"))(SimpleNamespace(to=None))


def test_differences_see_numbers_and_files_but_not_timings(tmp_path):
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    assert runs.differences(first.path, second.path) == []
    third = write_run(tmp_path / "c", value=np.nextafter(0.8, 1), text="other")
    found = runs.differences(first.path, third.path)
    assert [line.split(":")[0] for line in found] == ["metrics.auroc", "outputs.table.txt"]


def test_a_folder_that_is_no_run_and_a_damaged_record_are_named(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        runs.read(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        runs.read(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        runs.read(tmp_path)


def test_digest_depends_on_content_not_on_order():
    assert runs.digest({"a": 1, "b": [1.5, None]}) == runs.digest({"b": [1.5, None], "a": 1})
    assert runs.digest({"a": 1}) != runs.digest({"a": 2})


def test_atomic_keeps_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="full"), runs.atomic(target) as partial:
        partial.write_text("new")
        raise OSError("full")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_free_folder_counts_up(tmp_path):
    for expected in ("toy", "toy-2", "toy-3"):
        found = runs.free_folder("toy", within=tmp_path)
        assert found.name == expected
        found.mkdir()


def test_a_run_inside_a_cohort_is_refused(tmp_path):
    (tmp_path / "brains").mkdir()
    (tmp_path / "brains" / "cohort.json").write_text("{}")
    with (
        pytest.raises(InputError, match="lies inside the cohort brains"),
        runs.writing("adapt", {}, to=tmp_path / "brains" / "runs" / "one"),
    ):
        pass
    assert [path.name for path in (tmp_path / "brains").iterdir()] == ["cohort.json"]
