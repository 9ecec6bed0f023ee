"""The verb benchmark with several questions and pipelines, outside its own patients, and by groups of patients."""

import json
from dataclasses import replace

import pytest
from adapt_samples import make_cohort

from radfoundry import config as settings
from radfoundry.cli.main import exit_code
from radfoundry.data import cohort as cohorts
from radfoundry.records import InputError
from radfoundry.stages import benchmark

LARGE, SMALL = {"name": "classify", "target": "large"}, {"name": "classify", "target": "small"}
BRIGHT = {"name": "intensity", "dimensions": 2}


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("nested"), flat=True, patients=20)


def run(folder, to, **values):
    given = {"cohort": str(folder / "cohort"), "encoders": [BRIGHT], "against": ["header"], "folds": 2, "draws": 100}
    values = {key: value for key, value in {**given, **values, "to": str(to)}.items() if value is not None}
    return benchmark.run(settings.check(benchmark.Config, values))


def kinds(folder):
    return [block["kind"] for block in json.loads((folder / "blocks.json").read_text())]


def test_questions_pipelines_and_features_on_one_board(flat, tmp_path):
    asked = [LARGE, {"name": "regress", "target": "size"}, {"name": "classify", "target": "constant"}]
    choices = {"scaling": ["zscore", "none"]}
    found = run(flat, tmp_path / "one", tasks=asked, choices=choices, inner_folds=2)
    assert found.metrics["intensity-minus-header/score"].low > 0
    assert found.metrics["intensity:best-minus-chosen/score"].defined
    assert found.metrics["intensity/score@classify-large"].value > 0.8
    assert found.metrics["intensity:scaling=none-minus-base/score"].defined
    assert any("classify-constant was not asked" in note for note in found.notes)
    again = run(flat, tmp_path / "two", tasks=asked, choices=choices, inner_folds=2)
    assert again.metrics == found.metrics
    assert kinds(tmp_path / "one")[:3] == ["text", "facts", "table"]


@pytest.mark.slow
def test_another_cohort_groups_and_survival_by_label(flat, tmp_path):
    other = make_cohort(tmp_path / "other", flat=True, patients=20, seed=5)
    found = run(flat, tmp_path / "out", task=LARGE, test={"name": "external", "path": str(other / "cohort")})
    assert found.metrics["intensity/external-auroc"].value > 0.8
    assert found.metrics["intensity/gap-auroc"].low <= 0.2
    curves = {"time": "days", "event": "died"}
    grouped = run(
        flat, tmp_path / "groups", task=LARGE, against=[BRIGHT], draws=None, survival=curves, subgroups=["grade"]
    )
    assert grouped.metrics["intensity/hazard-ratio-true-label"].defined
    assert kinds(tmp_path / "groups").count("kaplan-meier") == 2
    with pytest.raises(InputError, match="in both cohorts"):
        run(flat, tmp_path / "leak", task=LARGE, test={"name": "external", "path": str(flat / "cohort")})
    tuned = run(
        flat,
        tmp_path / "tuned",
        task=LARGE,
        encoders=["vit2d-tiny"],
        choices={"head": ["linear", "head"]},
        tune={"steps": 3, "inner_folds": 0},
    )
    assert tuned.metrics["vit2d-tiny:head=head-minus-base/auroc"].defined


@pytest.fixture
def dated(flat, monkeypatch):
    """The same cohort with 12 patients of 2019 and 8 of 2022, or with dates that were moved."""
    known = cohorts.open_cohort(flat / "cohort")

    def given(**facts):
        cases = [replace(case, **{key: value(n) for key, value in facts.items()}) for n, case in enumerate(known.cases)]
        monkeypatch.setattr(cohorts, "open_cohort", lambda path: replace(known, cases=tuple(cases)))

    return given


@pytest.mark.slow
def test_a_later_time_is_answered_by_earlier_patients_alone(flat, dated, tmp_path):
    dated(year=lambda number: 2019 if number < 12 else 2022)
    found = run(flat, tmp_path / "later", task=LARGE, test={"name": "later", "from": 2021})
    assert found.metrics["intensity/external-auroc"].value > 0.8
    assert found.metrics["intensity/external-auroc"].n == 8
    with pytest.raises(InputError, match="no exam falls into"):
        run(flat, tmp_path / "never", task=LARGE, test={"name": "later", "from": 2030})
    assert not (tmp_path / "never").exists()


def test_moved_dates_order_nobody(flat, dated, tmp_path):
    dated(date=lambda number: f"20{10 + number}-01-01")
    with pytest.raises(InputError, match="moved by a number of days"):
        run(flat, tmp_path / "later", task=LARGE, test={"name": "later", "from": 2020}, draws=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "one question or a list"),
        ({"task": LARGE, "tasks": [SMALL]}, "one question or a list"),
        ({"task": LARGE, "test": "outside"}, "unknown way outside"),
        ({"task": LARGE, "test": "external"}, "needs path"),
        ({"task": LARGE, "test": "sites"}, "1 site"),
        ({"task": LARGE, "test": {"name": "later", "from": 2020}}, "no date"),
        ({"task": LARGE, "workers": 2}, "needs choices, tasks or repeats"),
        ({"task": LARGE, "repeats": 2, "head": "knn"}, "no effect"),
        ({"task": LARGE, "repeats": 2, "against": [BRIGHT]}, "named twice"),
        ({"task": LARGE, "repeats": 2, "against": [{"name": "header", "alos": ["grade"]}]}, "did you mean 'also'"),
        ({"tasks": [LARGE, LARGE]}, "asked twice"),
        ({"task": {"name": "classify", "target": "constant"}, "repeats": 2}, "same value"),
        ({"task": LARGE, "against": ["header"], "choices": {"head": ["linear", "mona"]}}, "with weights to tune"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(flat, tmp_path, values, said):
    with pytest.raises(InputError, match=said):
        run(flat, tmp_path / "run", **{"draws": None, **values})
    assert not list(tmp_path.iterdir())


def test_a_wrong_word_is_one_line_and_exit_code_two(flat, capsys):
    words = ["benchmark", f"cohort={flat / 'cohort'}", "task=age", "choices={heads: [linear]}"]
    assert exit_code(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
