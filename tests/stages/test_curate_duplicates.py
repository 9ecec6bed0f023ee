"""`curate duplicates` on a folder of pictures: the table, the counts, and what an outside set shares."""

import csv

import numpy as np
from PIL import Image

from radfoundry.config import load
from radfoundry.data import cohort as cohorts
from radfoundry.records import Run
from radfoundry.stages import curate, ingest


def pictures(folder, seeds):
    folder.mkdir()
    for name, seed in seeds.items():
        array = np.random.default_rng(seed).random((48, 48)).cumsum(0).cumsum(1)
        Image.fromarray((255 * array / array.max()).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def cohort(tmp_path, name, seeds):
    source = pictures(tmp_path / f"{name}-scans", seeds)
    settings = {"sources": [str(source)], "to": str(tmp_path / name), "workers": 1, "modality": "MR"}
    ingest.run(load(ingest.Config, {**settings, "key_file": str(tmp_path / "key")}))
    return str(tmp_path / name)


def test_duplicates_across_a_split_and_an_outside_set(tmp_path):
    here = cohort(tmp_path, "here", {"a": 0, "b": 1, "c": 0, "d": 3})
    outside = cohort(tmp_path, "outside", {"e": 3, "f": 9})
    cohorts.split(here, name="default", by="patient", parts={"train": 0.5, "test": 0.5}, seed=0)
    assert cohorts.kept_together(here, "default") == 1
    settings = {
        "what": "duplicates",
        "cohort": here,
        "outside": outside,
        "split": "default",
        "to": str(tmp_path / "run"),
    }
    run = curate.run(load(curate.Config, settings))
    assert isinstance(run, Run)
    told = {name: value.value for name, value in run.metrics.items()}
    assert told["pixels: groups"] == 2 and told["pixels: shared with outside"] == 1
    assert told["near: groups"] == 2 and told["accession: groups"] == 0
    assert told["near: crossing the split"] == 1  # the picture shared with the outside set
    rows = list(csv.DictReader((tmp_path / "run" / "duplicates.csv").open()))
    assert {row["part"] for row in rows} <= {"train", "test", "outside"}
    assert len(rows) == 8
    alone = {name: settings[name] for name in ("what", "cohort")} | {"to": str(tmp_path / "alone")}
    plain = curate.run(load(curate.Config, alone))
    assert "near: crossing the split" not in plain.metrics and "near: shared with outside" not in plain.metrics
    assert sum("not looked for" in note for note in plain.notes) == 2  # not 0: nobody looked
