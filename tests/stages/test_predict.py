"""A predictor answers about files as it did about its own cohort, and refuses what it was not fitted for."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from adapt_samples import SHAPE, SPACING, make_cohort, nifti

from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.data.cohort import open_cohort
from radfoundry.nets import embedding, intensity
from radfoundry.records import Estimate, InputError
from radfoundry.stages import adapt, predict
from radfoundry.tasks import cautions
from radfoundry.tasks import predictor as predictors


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run of adapt on a tiny cohort of NIfTI files, with the folder of scans it came from."""
    folder = make_cohort(tmp_path_factory.mktemp("predictor"), extra=["sub-90_T1w"])
    config = adapt.Config(
        cohort=str(folder / "cohort"),
        task={"name": "classify", "target": "large"},
        encoder={"name": "intensity"},
        head={"name": "logistic", "strengths": [0.1]},
        train_on={"sequence": "FLAIR"},
        folds=3,
        to=str(folder / "run"),
    )
    adapt.run(config)
    return folder


def ask(fitted, *scans, to, **options):
    config = predict.Config(predictor=str(fitted / "run"), scans=[str(scan) for scan in scans], to=str(to), **options)
    run = predict.run(config)
    return run, pd.read_parquet(to / "predictions.parquet"), pd.read_parquet(to / "refused.parquet")


def test_own_files_get_the_fitted_models_answers_in_any_order(fitted, tmp_path):
    """Oracle: the fitted head applied by hand to the cohort's features, patient by patient in sorted order."""
    scans = sorted((fitted / "scans").iterdir())
    _, found, refused = ask(fitted, *scans, to=tmp_path / "a", modality="MR")
    _, turned, _ = ask(fitted, *scans[::-1], to=tmp_path / "b", modality="MR")
    pd.testing.assert_frame_equal(found, turned)
    assert list(found["case"]) == [path.name for path in scans if "FLAIR" in path.name]
    assert refused.values.tolist() == [["sub-90_T1w.nii.gz", "sequence T1w is not FLAIR"]]

    _, own, _ = ask(fitted, fitted / "cohort", to=tmp_path / "c")
    table = embedding.embed(open_cohort(fitted / "cohort"), intensity.build())
    model = predictors.read(fitted / "run")
    chosen = [row for row, series in enumerate(table.series) if series.sequence == "FLAIR"]
    by_hand = model.fitted.head.predict(table.vectors[chosen])
    expected = dict(zip([table.series[row].case for row in chosen], by_hand, strict=True))
    said = dict(zip(own["case"], own["score"], strict=True))
    assert {case: pytest.approx(score, abs=1e-5) for case, score in said.items()} == expected
    assert np.allclose(sorted(found["score"]), sorted(own["score"]), atol=1e-5)


@pytest.mark.slow
def test_dicom_folders_get_the_fitted_models_answers(simulated_cohort, tmp_path):
    shutil.copytree(simulated_cohort / "cohort", tmp_path / "cohort")
    options = {"task": {"name": "age"}, "encoder": {"name": "intensity"}, "train_on": {"sequence": "FLAIR"}}
    adapt.run(adapt.Config(cohort=str(tmp_path / "cohort"), folds=3, to=str(tmp_path / "run"), **options))
    scans = sorted((simulated_cohort / "scans").iterdir())[:3]
    _, found, refused = ask(tmp_path, *scans[::-1], to=tmp_path / "a")
    _, own, _ = ask(tmp_path, tmp_path / "cohort", to=tmp_path / "b")
    assert list(found["case"]) == [path.name for path in scans] and len(own) == 12
    assert all(np.isclose(own["score"], score, atol=1e-5).any() for score in found["score"])
    assert set(refused["reason"]) == {"sequence T1w is not FLAIR", "sequence T2w is not FLAIR"}


@pytest.mark.parametrize(
    ("metrics", "finished", "said"),
    [
        (
            {"auroc": (0.385, 0.22, 0.58)},
            "not calibrated",
            ["not calibrated", "not shown to answer better than chance"],
        ),
        ({"concordance": (0.6, 0.55, 0.65)}, "chance of the event by 545", ["chance of the event"]),
        ({"mae": (1.0, 0.8, 1.2), "r2": (0.1, -0.1, 0.3)}, "", ["r2 0.10 (-0.10 to 0.30)"]),
        ({"auroc": (math.nan, math.nan, math.nan)}, "", ["better than chance"]),
        ({"accuracy": (0.5, 0.4, 0.6)}, "", []),
        ({"localiser-minus-mean-place/error-mm": (0.6, 0.2, 0.9)}, "", ["better than the mean place"]),
        ({"localiser-minus-mean-place/error-mm": (-6.0, -9.0, -2.0)}, "", []),
        ({"dice": (0.8, 0.7, 0.9), "segmenter-minus-unet/dice": (-0.05, -0.09, -0.01)}, "", ["outlines better"]),
        ({"dice": (0.8, 0.7, 0.9), "segmenter-minus-unet/dice": (-0.05, -0.11, 0.01)}, "", []),
        ({"f1-template-without-floor-minus-drafts-of-others": (0.0, 0.0, 0.0)}, "", ["drafts of other patients"]),
    ],
)
def test_a_model_that_was_not_shown_to_know_anything_says_so(metrics, finished, said):
    found = cautions.cautions({name: Estimate(*value) for name, value in metrics.items()}, finished=finished)
    assert len(found) == len(said) and all(part in line for part, line in zip(said, found, strict=True))


def test_answers_say_probability_interval_and_call(fitted, tmp_path):
    run, found, _ = ask(fitted, fitted / "cohort", to=tmp_path / "a")
    assert {"case", "answer", "score", "called", "images"} <= set(found.columns)
    assert found["answer"].between(0, 1).all() and set(found["called"]) == {"False", "True"}
    if "low" in found:
        assert (found["low"] <= found["answer"]).all() and (found["answer"] <= found["high"]).all()
    assert run.metrics["cases-answered"].value == 24
    assert (tmp_path / "a" / "blocks.json").exists()


@pytest.mark.parametrize(
    ("shape", "spacing", "options", "said"),
    [
        (SHAPE, SPACING, {}, "its sequence is not known"),
        (SHAPE, SPACING, {"sequence": "T2w"}, "sequence T2w is not FLAIR"),
        (SHAPE, SPACING, {"sequence": "FLAIR", "modality": "CT"}, "modality CT is not MR"),
        ((64, 64, 1), (3.0, 3.0, 3.0), {"sequence": "FLAIR"}, "a 2D image"),
        ((9, 9, 9), (20.0, 20.0, 20.0), {"sequence": "FLAIR"}, "voxel spacing 20 x 20 x 20 mm is outside"),
        ((16, 16, 3), SPACING, {"sequence": "FLAIR"}, "extent 30 x 128 x 128 mm is outside"),
        (None, SPACING, {"sequence": "FLAIR"}, "the image is empty: every voxel is 0"),
    ],
)
def test_other_images_are_refused_with_the_reason_and_nothing_is_written(
    fitted, tmp_path, shape, spacing, options, said
):
    array = np.zeros(SHAPE) if shape is None else np.random.default_rng(0).random(shape)
    scan = nifti(tmp_path / "scan.nii.gz", array, spacing)
    with pytest.raises(InputError, match=said) as error:
        ask(fitted, scan, to=tmp_path / "out", **options)
    assert "\n" not in str(error.value) and "scan.nii.gz" in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nii.gz"]


def test_a_good_scan_beside_bad_ones_is_answered(fitted, tmp_path):
    (tmp_path / "scans").mkdir()
    shutil.copy(fitted / "scans" / "sub-03_FLAIR.nii.gz", tmp_path / "scans")
    (tmp_path / "scans" / "letter.txt").write_text("dear colleague")
    (tmp_path / "scans" / "cut.nii.gz").write_bytes((fitted / "scans" / "sub-03_FLAIR.nii.gz").read_bytes()[:300])
    run, found, refused = ask(fitted, tmp_path / "scans", to=tmp_path / "out")
    assert found["case"].tolist() == ["scans/sub-03_FLAIR.nii.gz"]
    assert refused["file"].tolist() == ["scans/cut.nii.gz", "scans/letter.txt"]
    assert len(run.notes) == 2


def test_an_unstated_modality_is_said(fitted, tmp_path):
    shutil.copy(fitted / "scans" / "sub-03_FLAIR.nii.gz", tmp_path / "scan.nii.gz")
    run, found, _ = ask(fitted, tmp_path / "scan.nii.gz", to=tmp_path / "out", sequence="FLAIR")
    assert run.notes == ("1 image without a modality taken for MR; modality= states it",) and len(found) == 1
    stated = ask(fitted, tmp_path / "scan.nii.gz", to=tmp_path / "stated", sequence="FLAIR", modality="MR")
    assert stated[0].notes == ()


def test_changed_or_foreign_predictors_are_refused(fitted, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(fitted / "run" / "predictor", model)
    assert predictors.read(model).task.name == "classify-large"
    card = (model / "card.md").read_text()
    assert "Intended use" in card and "auroc" in card and "sequence: FLAIR" in card
    (model / "card.md").write_text(card + "changed")
    with pytest.raises(InputError, match=r"card.md is missing or was changed"):
        predictors.read(model)
    with pytest.raises(InputError, match="no predictor here"):
        predictors.read(tmp_path)
    record = json.loads((model / "predictor.json").read_text())
    record["encoder"]["options"] = {"spacing_mm": 5.0}
    record["files"].pop("card.md")
    runs.write_json(model / "predictor.json", record)
    with pytest.raises(InputError, match="does not give the features"):
        predictors.read(model)


def test_the_command_line_says_one_line(fitted, tmp_path, capsys):
    words = ["predict", str(fitted / "run"), str(fitted / "cohort"), "--to", str(tmp_path / "out")]
    assert exit_code(words) == 0
    assert exit_code(words) == 2
    assert "already exists" in capsys.readouterr().err
    assert exit_code(["predict", str(tmp_path), str(fitted / "cohort"), "--to", str(tmp_path / "other")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
