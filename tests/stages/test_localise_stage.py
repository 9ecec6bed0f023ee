"""Localising from a cohort with masks to places in new scans: answers move with the scan, wrong words are refused."""

import json

import numpy as np
import pandas as pd
import pytest
from segment_samples import make_cohort

from radfoundry.cli.main import exit_code
from radfoundry.data.nifti import read_nifti, write_nifti

pytestmark = pytest.mark.slow
ENCODER = "encoder=conv3d-tiny"


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = make_cohort(tmp_path_factory.mktemp("localise"), patients=10)
    words = ["adapt", f"cohort={folder / 'cohort'}", "task=localise", ENCODER, "--to", str(folder / "run")]
    assert exit_code(words) == 0
    return folder


def test_a_run_holds_numbers_beside_the_trivial_answers_and_a_page(learned):
    found = json.loads((learned / "run" / "run.json").read_text(encoding="utf-8"))["metrics"]
    for name in ("error-mm", "within-10-mm", "box-overlap"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        for other in ("mean-place", "scan-centre")[: 1 if name == "box-overlap" else 2]:
            assert {f"{other}/{name}", f"localiser-minus-{other}/{name}"} <= set(found)
    places = pd.read_csv(learned / "run" / "places.csv")
    own = places[places.by == "localiser"]
    assert len(own) == own.case.nunique() == 10
    assert np.isclose(own.error_mm.median(), found["error-mm"]["value"], rtol=1e-4)
    assert (learned / "run" / "report.html").is_file()
    assert len(list((learned / "run" / "pictures").glob("*.png"))) == 3


def test_a_predictor_answers_about_new_scans_and_moves_with_them(learned, tmp_path):
    volume = read_nifti(learned / "scans" / "p03_T1w.nii.gz").volume
    moved = volume.affine.copy()
    moved[:3, 3] += [30, -12, 5]
    (tmp_path / "new").mkdir()
    write_nifti(volume, tmp_path / "new" / "a_T1w.nii.gz")
    write_nifti(type(volume)(volume.array, moved), tmp_path / "new" / "b_T1w.nii.gz")
    words = ["predict", str(learned / "run"), str(tmp_path / "new"), "modality=MR", "sequence=T1w"]
    assert exit_code([*words, "--to", str(tmp_path / "said")]) == 0
    table = pd.read_csv(tmp_path / "said" / "places.csv").sort_values("case")
    first, second = table[["x_mm", "y_mm", "z_mm"]].to_numpy()
    assert np.allclose(second - first, [30, -12, 5], atol=0.01)
    voxels = table[["i", "j", "k"]].to_numpy()
    assert np.allclose(voxels[0], voxels[1], atol=0.01)
    assert np.allclose(volume.affine @ [*voxels[0], 1], [*first, 1], atol=0.01)


def test_scans_it_was_not_made_for_are_refused(learned, tmp_path, capsys):
    volume = read_nifti(learned / "scans" / "p03_T1w.nii.gz").volume
    write_nifti(type(volume)(volume.array, volume.affine @ np.diag([5, 5, 5, 1])), tmp_path / "coarse_T1w.nii.gz")
    words = ["predict", str(learned / "run"), str(tmp_path), "modality=MR", "sequence=T1w"]
    assert exit_code([*words, "--to", str(tmp_path / "said")]) == 2
    assert "voxel spacing" in capsys.readouterr().err
    assert exit_code([*words[:3], "modality=CT", "--to", str(tmp_path / "said")]) == 2
    assert "modality CT is not MR" in capsys.readouterr().err
    assert not (tmp_path / "said").exists()


def test_places_dealt_to_others_are_named_as_a_control(learned, tmp_path):
    words = ["adapt", f"cohort={learned / 'cohort'}", "task=localise", ENCODER, "permute_labels=true"]
    assert exit_code([*words, "--to", str(tmp_path / "run")]) == 0
    assert "Not for use" in (tmp_path / "run" / "predictor" / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.target=eye_left"], "no case has eye_left_x_mm"),
        (["task.structure=9"], "no mask has the value 9"),
        (["rung=full"], "frozen features"),
        (["head=svm"], "ridge"),
        (["encoder=intensity"], "gives no places"),
        (["encoder=conv2d-tiny"], "reads"),
        (["folds=11"], "10 patients"),
        (["task.sructure=1"], "structure"),
        (["train_on.sequence=T2w"], "no image has a mask"),
        (["split=none"], "no split named"),
    ],
)
def test_wrong_words_cost_one_line_and_leave_nothing(learned, tmp_path, capsys, words, said):
    asked = ["adapt", f"cohort={learned / 'cohort'}", "task=localise", ENCODER, "--to", str(tmp_path / "run")]
    assert exit_code([*asked, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_simulated_landmarks_lie_where_the_eyes_are():
    from radfoundry import registry
    from radfoundry.simulate.tissues import index
    from radfoundry.volume import points_to_world

    preset = registry.build("cohorts", "brain-multisequence", landmarks=True, tissues=True, sequences=["T2w"])
    case = preset.simulate(0, seed=4)
    tissues = case.series[0].truth["tissues"]
    places = points_to_world(tissues.affine, np.argwhere(tissues.array[0] == index("vitreous")))
    for side, mine in (("left", places[:, 0] < 0), ("right", places[:, 0] > 0)):
        eye = [case.labels[f"eye_{side}_{axis}_mm"] for axis in "xyz"]
        assert np.linalg.norm(places[mine].mean(axis=0) - eye) < 4
