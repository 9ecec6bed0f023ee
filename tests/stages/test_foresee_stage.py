"""The later state by the commands a user gives: learned from two visits, asked with one, refused in one line."""

import csv

import pytest
from adapt_samples import make_cohort

from radfoundry import runs
from radfoundry.cli.main import exit_code

pytestmark = pytest.mark.slow
WORDS = ["task=foresee", "task.target=size", "task.days=days", "encoder=intensity", "folds=3"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("foresee"), patients=26, visits=2) / "cohort"


def test_the_first_visit_says_what_comes_and_new_scans_are_answered(cohort, tmp_path):
    place = tmp_path / "run"
    assert exit_code(["adapt", f"cohort={cohort}", *WORDS, "--to", str(place)]) == 0
    metrics = runs.read(place).metrics
    assert {"mae", "gain-on-no-change", "gain-on-first-value", "interval-coverage"} <= set(metrics)
    assert metrics["interval-coverage"].high > 0.85
    with (place / "foreseen.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 26
    assert all(float(row["low"]) <= float(row["foreseen"]) <= float(row["high"]) for row in rows)
    assert exit_code(["predict", str(place), str(cohort), "--to", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "foreseen.csv").open(newline="") as handle:
        assert all(float(row["low"]) <= float(row["later"]) <= float(row["high"]) for row in csv.DictReader(handle))
    scans = str(cohort.parent / "scans")
    words = ["predict", str(place), scans, "modality=MR", "--to", str(tmp_path / "none")]
    assert exit_code(words) == 2  # plain scans have no value of this visit
    assert not (tmp_path / "none").exists()


def test_from_the_image_alone_the_change_is_said(cohort, tmp_path):
    place = tmp_path / "run"
    assert exit_code(["adapt", f"cohort={cohort}", *WORDS, "task.measured=false", "--to", str(place)]) == 0
    scans = str(cohort.parent / "scans")
    assert exit_code(["predict", str(place), scans, "modality=MR", "--to", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "foreseen.csv").open(newline="") as handle:
        assert "change" in next(csv.DictReader(handle))


def test_two_runs_are_paired_and_others_are_refused(cohort, tmp_path, capsys):
    for name, encoder in (("one", "intensity"), ("two", "vit3d-tiny")):
        words = [word for word in WORDS if not word.startswith("encoder")] + [f"encoder={encoder}"]
        assert exit_code(["adapt", f"cohort={cohort}", *words, "--to", str(tmp_path / name)]) == 0
    both = f"runs=[{tmp_path / 'one'},{tmp_path / 'two'}]"
    words = ["benchmark", f"cohort={cohort}", both, "names=[a,b]", "--to", str(tmp_path / "paired")]
    assert exit_code(words) == 0
    assert "a-minus-b/foreseen-mae" in runs.read(tmp_path / "paired").metrics
    for given, said in (
        ([both, "names=[a,a]"], "each run needs a name of its own"),
        ([f"runs=[{tmp_path / 'one'}]"], "name two or more"),
        ([both, "task=age"], "no effect on finished runs"),
        ([f"runs=[{tmp_path / 'one'},{tmp_path / 'paired'}]"], "no numbers of single exams"),
    ):
        assert exit_code(["benchmark", f"cohort={cohort}", *given, "--to", str(tmp_path / "no")]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.target=constant"], "is the same at both visits"),
        (["task.target=large"], "is not a number"),
        (["task.target=nothing"], "no case has it"),
        (["task.level=2"], "is not between"),
        (["task.days=nothing"], "the time between the visits of 26"),
        (["rung=full"], "frozen features"),
        (["task.sure=0.9"], "unknown option"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(cohort, tmp_path, capsys, words, said):
    assert exit_code(["adapt", f"cohort={cohort}", *WORDS, *words, "--to", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
