"""`adapt task=annotators`: every way is taught and compared; wrong questions are one line and leave nothing."""

import numpy as np
import pytest
import segment_samples as samples

from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.data.nifti import write_nifti
from radfoundry.volume import Volume

TINY = ["task.width=4", "tune.steps=2", "tune.batch=2"]


def adapt(to, *words):
    return exit_code(["adapt", "task=annotators", *TINY, *words, "--to", str(to)])


@pytest.mark.slow
def test_ways_are_compared_on_simulated_annotators(tmp_path):
    words = ["cohort=simulated", "task.simulate={train: 4, test: 4}", "task.methods=[uncertain, majority]"]
    assert adapt(tmp_path / "run", *words) == 0
    metrics = runs.read(tmp_path / "run").metrics
    assert {"uncertain/dice", "majority/dice", "uncertain-minus-majority/dice", "doubt-auroc"} <= set(metrics)
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cohort=simulated", "task.simulate={train: 2}"], "a whole number from 4"),
        (["cohort=simulated", "task.simulate={degraded: much}"], "a share from 0 to 1"),
        (["cohort=simulated", "task.simulate=5"], "is not a mapping"),
        (["cohort=simulated", "task.simulate={trian: 20}"], "unknown key 'trian'"),
        (["cohort=simulated", "task.methods=[vote]"], "methods vote"),
        (["cohort=simulated", "tune.stepz=1"], "did you mean 'steps'"),
        (["cohort=nowhere"], "not a cohort"),
        (["cohort=nowhere", "permute_labels=true"], "permute_labels: masks of a cohort are not dealt out here"),
    ],
)
def test_wrong_questions_are_one_line(tmp_path, words, said, capsys):
    assert adapt(tmp_path / "run", *words) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_cohort_with_several_masks_is_learned_from_and_one_with_single_ones_refused(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(6):
        image, mask = samples.ball(rng)
        samples.write_pair(tmp_path / "scans", f"p{number:02d}", image, mask, samples.OBLIQUE)
        for other in (2, 3):
            moved = np.roll(mask, other - 2, axis=0)
            write_nifti(Volume.of(moved, samples.OBLIQUE), tmp_path / "scans" / f"p{number:02d}_seg{other}.nii.gz")
    samples.ingest(tmp_path)
    assert adapt(tmp_path / "run", f"cohort={tmp_path / 'cohort'}", "folds=3") == 0
    assert "staple/dice" in runs.read(tmp_path / "run").metrics
    words = ["adapt", f"cohort={tmp_path / 'cohort'}", "task=segment", "task.several=staple", "tune.steps=3", "folds=3"]
    assert exit_code([*words, "--to", str(tmp_path / "fused")]) == 0
    single = samples.make_cohort(tmp_path / "single", patients=4)
    capsys.readouterr()
    assert adapt(tmp_path / "bad", f"cohort={single / 'cohort'}", "folds=2") == 2
    assert "one mask lies on it" in capsys.readouterr().err
