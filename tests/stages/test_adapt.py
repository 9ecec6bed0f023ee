"""The verb adapt over tiny cohorts of files: rungs, ladder, other kinds of questions, and what is refused."""

import pandas as pd
import pytest
from adapt_samples import make_cohort

from radfoundry import config as settings
from radfoundry.records import InputError
from radfoundry.stages import adapt, benchmark, predict
from radfoundry.tasks import predictor as predictors


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("flat"), flat=True, patients=20)


def run(folder, to, **values):
    given = {"cohort": str(folder / "cohort"), "encoder": {"name": "intensity", "dimensions": 2}, "folds": 2}
    return adapt.run(settings.check(adapt.Config, {**given, **values, "to": str(to)}))


def test_many_kinds_of_questions_end_to_end(flat, tmp_path):
    asked = {
        "grades": {"name": "classify", "target": "grade", "ordered": True},
        "survival": {"name": "survive", "time": "days", "event": "died"},
        "similar": {"name": "similar", "target": "large"},
    }
    main = {"grades": "quadratic-kappa", "survival": "concordance", "similar": "recall@5"}
    for name, task in asked.items():
        found = run(flat, tmp_path / name, task=task)
        assert found.metrics[main[name]].defined
        assert (tmp_path / name / "blocks.json").exists()
    answers = predict.Config(
        predictor=str(tmp_path / "survival"), scans=[str(flat / "cohort")], to=str(tmp_path / "answers")
    )
    predict.run(answers)
    table = pd.read_csv(tmp_path / "answers" / "predictions.csv")
    assert len(table) == 20 and table["answer"].between(0, 1).all()
    grades = predictors.read(tmp_path / "grades")
    assert grades.classes == ("0", "1", "2")
    assert not (tmp_path / "similar" / "predictor").exists()


def test_adapt_and_benchmark_call_the_number_of_a_class_by_its_name(flat, tmp_path):
    task, head = {"name": "classify", "target": "grade"}, {"name": "logistic", "strengths": [1.0]}
    found = run(flat, tmp_path / "adapt", task=task, head=head)
    encoder = {"name": "intensity", "dimensions": 2}
    given = {
        "cohort": str(flat / "cohort"),
        "task": task,
        "head": head,
        "encoders": [encoder],
        "against": [],
        "folds": 2,
    }
    beside = benchmark.run(settings.check(benchmark.Config, {**given, "to": str(tmp_path / "benchmark")}))
    for name in ("auroc-0", "auroc-1", "auroc-2"):
        ((_, same),) = [item for item in beside.metrics.items() if item[0].endswith(f"/{name}")]
        assert found.metrics[name] == same
    assert not [key for key in beside.metrics if "-minus-" in key]  # nothing stands against it
    assert "no difference is told" in (tmp_path / "benchmark" / "blocks.json").read_text()
    with pytest.raises(InputError, match="need a yes-or-no question"):
        benchmark.run(settings.check(benchmark.Config, {**given, "survival": {"time": "days", "event": "died"}}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"task": {"name": "classify", "target": "constant"}}, "all 20 cases have the same value 1"),
        ({"task": {"name": "classify", "target": "absent"}}, "no case has it"),
        ({"task": {"name": "classify", "target": "noise"}}, "too many classes"),
        ({"task": {"name": "regress", "target": "size"}, "encoder": "intensity"}, "no series fits encoder intensity"),
        ({"task": {"name": "regress", "target": "size"}, "folds": 21, "head": "ordinal"}, "does not answer"),
        ({"task": {"name": "progress", "target": "growth", "change": True}}, "no change between visits"),
        ({"task": {"name": "retrieve"}}, "ask it with radfoundry benchmark"),
        (
            {
                "task": {"name": "classify", "target": "large"},
                "beside": ["full"],
                "remember": {"name": "regress", "target": "absent"},
            },
            "no case has it",
        ),
        ({"task": {"name": "classify", "target": "large"}, "rung": "adapter", "head": "full"}, "none of rung=adapter"),
        (
            {"task": {"name": "classify", "target": "large"}, "rung": "head", "tune": {"step": 3}},
            "did you mean 'steps'",
        ),
        ({"task": {"name": "classify", "target": "large"}, "rung": "full"}, "has no weights to tune"),
        ({"task": {"name": "classify", "target": "large"}, "cut_off": "yuden"}, "did you mean 'youden'"),
        ({"task": {"name": "classify", "target": "large"}, "ladder": True, "rungs": ["hed"]}, "unknown rung 'hed'"),
    ],
)
def test_what_cannot_be_answered_is_one_line_and_leaves_nothing(flat, tmp_path, values, said):
    with pytest.raises(InputError, match=said) as error:
        run(flat, tmp_path / "out", **values)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("rung", ["head", "adapter", "full"])
def test_upper_rungs_predict_new_files_as_their_own_cohort(flat, tmp_path, rung):
    options = {"encoder": "vit2d-tiny", "rung": rung, "tune": {"steps": 4, "inner_folds": 2}}
    run(flat, tmp_path / "run", task={"name": "regress", "target": "size"}, **options)
    model = predictors.read(tmp_path / "run")
    assert model.fitted.tuning.steps == 4
    scores = []
    for name, scans in (("own", flat / "cohort"), ("files", flat / "scans")):
        config = predict.Config(
            predictor=str(tmp_path / "run"),
            scans=[str(scans)],
            to=str(tmp_path / name),
            modality="US",
            sequence="FLAIR",
        )
        predict.run(config)
        scores.append(sorted(pd.read_parquet(tmp_path / name / "predictions.parquet")["score"]))
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


@pytest.mark.slow
def test_the_ladder_as_a_command(flat, tmp_path):
    tune = {"steps": 3, "inner_folds": 2, "batch": 8}
    task = {"name": "regress", "target": "size"}
    found = run(
        flat, tmp_path / "run", task=task, encoder="vit2d-tiny", ladder=True, rungs=["frozen", "head"], tune=tune
    )
    assert {"chosen/mae", "trivial/mae", "radiomics/mae", "header/mae", "frozen-ridge/mae", "head/mae"} <= set(
        found.metrics
    )
    assert any("-minus-trivial/" in name for name in found.metrics)
    assert predictors.read(tmp_path / "run").about["trained"]["patients"] == 20


def test_options_of_a_head_without_its_name_are_those_of_the_question():
    from radfoundry import config
    from radfoundry.stages.adapt.settings import Config

    given = {"cohort": "c", "task": "segment", "head": {"start": "fresh"}}
    head = config.load(Config, given).head
    assert head is not None and (head.name, head.options) == ("light", {"start": "fresh"})
    with pytest.raises(InputError, match=r"head\.name: is required \(write head=NAME beside its options\)"):
        config.load(Config, given | {"task": "classify"})
