"""`adapt task=segment` and `predict`: masks come back in the geometry of the scans; bad input is one line."""

import csv
import json

import numpy as np
import pytest
import segment_samples as samples

from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.data.nifti import read_nifti
from radfoundry.volume import Volume

SMALL = [
    "task=segment",
    "task.plan.width=8",
    "tune.steps=50",
    "tune.rate=0.01",
    "encoder=vit3d-tiny",
    "head=light",
    "folds=3",
]


def adapt(folder, *words, to="run"):
    return exit_code(["adapt", f"cohort={folder / 'cohort'}", *SMALL, *words, "--to", str(folder / to)])


def overlap(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A cohort too small, and a network taught too shortly, to outline well: what is tested is where masks lie."""
    folder = samples.make_cohort(tmp_path_factory.mktemp("segment"), patients=6, shape=(12, 14, 10), radius=(3, 4))
    assert adapt(folder) == 0
    return folder


def test_a_run_holds_plan_scores_measures_pictures_and_two_predictors(fitted):
    run = runs.read(fitted / "run")
    assert {"dice", "hd95_mm", "surface_dice", "unet/dice", "segmenter-minus-unet/dice"} <= set(run.metrics)
    assert json.loads((fitted / "run" / "plan.json").read_text())["labels"] == {"1": [1]}
    with (fitted / "run" / "measures.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {row["by"] for row in rows} == {"drawn", "true", "unet"}
    assert any(note.startswith("the light decoder began fresh: its voxels are flat or") for note in run.notes)
    for name in ("predictor/card.md", "comparator/predictor.json", "overlay-worst.png", "report.html"):
        assert (fitted / "run" / name).is_file()


def test_masks_lie_on_flipped_and_oblique_scans_as_they_were_given(fitted, tmp_path):
    """The same anatomy stored in other directions gives the same mask at the same place."""
    image, _ = samples.ball(np.random.default_rng(5), (12, 14, 10), radius=3.5)
    straight = Volume.of(image, samples.OBLIQUE)
    kinds = {"same": straight, "flipped": straight.reorient("LPI"), "swapped": straight.reorient("SAR")}
    for name, volume in kinds.items():
        samples.write_pair(tmp_path / "new", name, volume.array[0], None, volume.affine)
    place = str(fitted / "run" / "predictor")
    words = ["predict", place, str(tmp_path / "new"), "sequence=T1w", "modality=MR"]
    assert exit_code([*words, "--to", str(tmp_path / "out")]) == 0
    found = {}
    for name, volume in kinds.items():
        drawn = read_nifti(next((tmp_path / "out" / "masks").glob(f"*{name}*.nii.gz"))).volume
        assert drawn.geometry.matches(volume.geometry)
        found[name] = drawn.reorient(straight.orientation).array[0] > 0
    assert found["same"].any()
    assert np.array_equal(found["same"], found["flipped"])
    assert np.array_equal(found["same"], found["swapped"])
    with (tmp_path / "out" / "measures.csv").open() as handle:
        volumes = {row["volume_ml"] for row in csv.DictReader(handle)}
    assert len(volumes) == 1


def test_a_changed_predictor_is_refused(fitted, tmp_path):
    import shutil

    shutil.copytree(fitted / "run" / "predictor", tmp_path / "predictor")
    with (tmp_path / "predictor" / "plan.json").open("a") as handle:
        handle.write(" ")
    words = ["predict", str(tmp_path / "predictor"), str(fitted / "scans"), "--to", str(tmp_path / "out")]
    assert exit_code(words) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["head=heavy"], "unknown decoder 'heavy'"),
        (["tune.stepz=3"], "did you mean 'steps'"),
        (["head.start=warm"], "unknown start 'warm'"),
        (["head.stert=fresh"], "did you mean 'start'"),
        (["head.start=bundled"], "no bundled weights to begin with: its voxels are flat or its images too small"),
        (["task.labels={liver: 4}"], "is not among the labels of the plan"),
        (["task.several=vote"], "several='vote'"),
        (["encoder=vit2d-tiny"], "reads 2D images"),
        (["train_on.sequence=T2w"], "no image has a mask"),
        (["split=nowhere"], "no split named 'nowhere'"),
        (["ladder=true"], "segment has no ladder"),
        (["task.plan.spacing_mm=[1, 1]"], "three positive lengths"),
        (["task.plan.spacing_mm=[0.01, 0.01, 0.01]"], "give a larger task.plan.spacing_mm"),
        (["task.plan.voxels=many"], "a whole number from 512"),
        (["task.labels=[1, 2]"], "is not a mapping"),
        (["cohort=simulated", "task.simulate={name: thigh-dixon, cases: x}"], "a whole number from 4"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_leaves_nothing(fitted, words, said, capsys):
    assert adapt(fitted, *words, to="bad") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert said in lines[-1]
    assert not (fitted / "bad").exists()


@pytest.mark.slow
def test_balls_are_outlined_where_they_are(tmp_path):
    folder = samples.make_cohort(tmp_path, patients=6)
    assert adapt(folder, "tune.steps=80") == 0
    assert runs.read(folder / "run").metrics["dice"].value > 0.7
    image, mask = samples.ball(np.random.default_rng(5), radius=6.0)
    samples.write_pair(tmp_path / "new", "p99", image, None, samples.OBLIQUE)
    words = ["predict", str(folder / "run"), str(tmp_path / "new"), "sequence=T1w", "modality=MR"]
    assert exit_code([*words, "--to", str(tmp_path / "out")]) == 0
    drawn = read_nifti(next((tmp_path / "out" / "masks").glob("*.nii.gz"))).volume.array[0]
    assert overlap(drawn > 0, mask > 0) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["head=multi-block", "rung=full"], ["rung=adapter"], ["head=unet"], ["permute_labels=true"]]
)
def test_other_decoders_rungs_and_the_control(fitted, words, tmp_path):
    assert adapt(fitted, *words, to=f"run-{words[0]}") == 0
    assert runs.read(fitted / f"run-{words[0]}").metrics["dice"].defined
    out = ["predict", str(fitted / f"run-{words[0]}"), str(fitted / "cohort"), "--to", str(tmp_path / "out")]
    assert exit_code(out) == 0


@pytest.mark.slow
def test_pictures_are_outlined_too(tmp_path):
    folder = samples.make_cohort(tmp_path, patients=8, flat=True)
    words = ["encoder=vit2d-tiny", "tune.steps=80", "tune.batch=4"]
    assert adapt(folder, *words) == 0
    run = runs.read(folder / "run")
    assert run.metrics["dice"].value > 0.6
    assert "bias-area_cm2-1" not in run.metrics or run.metrics["bias-area_cm2-1"].defined
