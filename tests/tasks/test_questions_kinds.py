"""Grades, lists of findings, survival, two visits, closed answers and similar patients, from labels to numbers."""

import dataclasses
import math

import numpy as np
import pytest

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Acquisition, Case, Cohort, InputError, Predictions, Series
from radfoundry.tasks import finish, heads, measure, probe, questions, similar, visits
from radfoundry.tasks.examples import examples


def make(patients=60, *, seed=0, exams=1):
    """Features that carry a severity; labels that follow it. With two exams the severity drifts."""
    rng = np.random.default_rng(seed)
    cases, series, vectors = [], [], []
    for number in range(patients):
        first, drift = rng.normal(), rng.normal()
        keys = [f"c{number:02d}-{exam}" for exam in range(exams)]
        for exam, key in enumerate(keys):
            severity = first + drift * exam
            item = Series(f"s-{key}", f"p{number:02d}", key, Acquisition(modality="MR"), (1, 4, 4, 4), (1, 1, 1))
            labels = {
                "grade": ["none", "mild", "severe"][int(np.digitize(severity, [-0.5, 0.7]))],
                "a": int(severity > 0),
                "b": bool(severity > 0.5),
                "months": float(rng.exponential(np.exp(-1.5 * severity)) + 0.1),
                "died": int(rng.random() < 0.7),
                "volume": severity,
                "worse": int(drift > 0),
                "constant": 3,
                "text": f"t{number}",
            }
            date = f"2020-01-{exam + 1:02d}"
            cases.append(Case(key, f"p{number:02d}", (item,), labels=labels, date=date, priors=tuple(keys[:exam])))
            series.append(item)
            vectors.append(np.concatenate([[severity], rng.normal(size=4)]) + 0.2 * rng.normal(size=5))
    return Cohort(tuple(cases)), Embeddings(tuple(series), np.array(vectors, np.float32), "toy", "mark", "plan")


def ask(cohort, table, task, **options):
    task, truth = questions.answers(cohort, task)
    if task.unit in visits.PAIRED:
        table = visits.paired(cohort, table)
    usual = heads.named(None, task.kind)
    head = dataclasses.replace(usual, strengths=usual.strengths[2:4], inner_folds=2)
    design = probe.Design({}, {}, folds=2)
    found = probe.probe(cohort, table, task=task, truth=truth, head=head, design=design)
    return task, found, measure.measure(found.predictions, task) | measure.trivial(found.predictions, task)


def test_grades_keep_their_order_and_beat_the_usual_grade():
    cohort, table = make()
    asked = questions.classify(target="grade", ordered=["none", "mild", "severe"])
    task, found, metrics = ask(cohort, table, asked)
    assert task.kind == "ordinal" and questions.class_names(cohort, task) == ("none", "mild", "severe")
    assert metrics["quadratic-kappa"].low > 0.4 and metrics["grades-off"].high < 0.6
    said = finish.finish(found.predictions.score, found.finish)
    assert np.allclose(said.value.sum(axis=1), 1)
    with pytest.raises(InputError, match="grade 'severe' is not in ordered"):
        questions.answers(cohort, questions.classify(target="grade", ordered=["none", "mild"]))


def test_grade_of_shares_is_their_median():
    assert measure.grade(np.array([[0.6, 0.3, 0.1], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]])).tolist() == [0, 1, 2]


def test_lists_of_findings_have_one_column_each():
    cohort, table = make()
    task, found, metrics = ask(cohort, table, questions.classify(target=["a", "b"]))
    assert found.predictions.score.shape == (60, 2) and found.predictions.target.shape == (60, 2)
    assert metrics["macro-auroc"].low > 0.7 and {"auroc-a", "auroc-b", "prevalence-a"} <= set(metrics)
    assert measure.difference(found.predictions, found.predictions, task)["macro-auroc"].value == 0
    with pytest.raises(InputError, match="not a yes-or-no label"):
        questions.answers(cohort, questions.classify(target=["a", "grade"]))


def test_survival_ranks_risks_and_says_chances():
    cohort, table = make()
    task, found, metrics = ask(cohort, table, questions.survive(time="months", event="died"))
    assert metrics["concordance"].low > 0.6 and metrics["trivial-concordance"].value == 0.5
    chance = finish.finish(found.predictions.score, found.finish).value
    assert ((chance >= 0) & (chance <= 1)).all()
    assert np.corrcoef(chance, found.predictions.score)[0, 1] > 0
    time, event = found.predictions.target.T
    assert chance[(time < found.finish.horizon) & (event > 0)].mean() > chance[time > found.finish.horizon].mean()
    flat = Predictions(found.predictions.case, found.predictions.patient, found.predictions.target, np.zeros(60))
    assert measure.difference(found.predictions, flat, task)["concordance"].low > 0
    with pytest.raises(InputError, match="give times from 0, events 0 or 1"):
        questions.answers(cohort, questions.survive(time="volume", event="died"))


def test_two_visits_tell_what_one_does_not():
    cohort, table = make(exams=2)
    _, found, metrics = ask(cohort, table, questions.progress(target="volume", change=True))
    assert len(found.predictions) == 60 and metrics["r2"].low > 0.3
    _, found, metrics = ask(cohort, table, questions.progress(target="worse"))
    assert metrics["auroc"].low > 0.8
    before = visits.last_visits(cohort)
    assert before["c05-1"] == "c05-0" and "c05-0" not in before
    pairs = visits.paired(cohort, table)
    assert len(pairs.refused) == 60 and "no earlier exam" in pairs.refused[0][1]
    with pytest.raises(InputError, match="two dated exams"):
        visits.paired(*make())


def test_closed_questions_are_answered_each_from_its_own_set():
    cohort, table = make()
    task, found, metrics = ask(cohort, table, questions.answer(targets=["a", "grade"]))
    assert task.target == "a=0,a=1,grade=mild,grade=none,grade=severe"
    assert metrics["accuracy"].low > metrics["usual-answer"].value
    true, given = measure.closed_answers(found.predictions, task)["grade"]
    assert set(np.unique(given)) <= {0, 1, 2} and metrics["accuracy-grade"].value == pytest.approx(
        (true == given).mean()
    )


def test_similar_patients_share_the_answer_and_are_never_oneself():
    cohort, table = make(exams=2)
    _, truth = questions.answers(cohort, questions.similar(target="grade"))
    rows = examples(table, truth, {})
    found = similar.search(rows, count=10)
    assert (rows.patient[found.places] != rows.patient[:, None]).all()
    metrics = similar.measure(found)
    assert metrics["recall@1"].low > metrics["chance-recall@1"].value
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = similar.search(rows.take(order), count=10)
    assert np.allclose(shuffled.likeness, found.likeness[order], atol=1e-5)


def test_exact_search_agrees_with_comparing_everything(monkeypatch):
    rng = np.random.default_rng(1)
    index, queries = similar.unit(rng.normal(size=(50, 6))), similar.unit(rng.normal(size=(9, 6)))
    owners = rng.integers(0, 8, 50), rng.integers(0, 8, 9)
    monkeypatch.setattr(similar, "ROWS_AT_ONCE", 7)  # many small blocks
    monkeypatch.setattr(similar, "QUERIES_AT_ONCE", 4)
    places, likeness = similar.nearest(index, queries, count=5, owners=owners)
    for query in range(9):
        alike = [(-float(queries[query] @ index[row]), row) for row in range(50) if owners[0][row] != owners[1][query]]
        assert places[query].tolist() == [row for _, row in sorted(alike)[:5]]
    assert (np.diff(likeness, axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (questions.survive(time="months", event="constant"), "same value 3"),
        (questions.classify(target=["a", "constant"]), "same value 3"),
        (questions.answer(targets=["a", "text"]), "60 different answers are too many"),
        (questions.progress(target="volume", change=True), "no change between visits"),
        (questions.similar(target="absent"), "no case has it"),
    ],
)
def test_labels_that_cannot_answer_are_refused(task, said):
    with pytest.raises(InputError, match=said):
        questions.answers(make()[0], task)


def test_a_number_above_a_limit_is_a_yes_or_no_question():
    cases = [Case(str(value), str(value), labels={"severity": value}) for value in (0.0, 0.2, 0.9, math.nan)]
    task, truth = questions.answers(Cohort(tuple(cases)), questions.classify(target="severity>0.2"))
    assert task.kind == "binary" and truth == {"0.0": 0, "0.2": 0, "0.9": 1}
    with pytest.raises(InputError, match="limit of label severity: 'much' is not a number"):
        questions.answers(Cohort(tuple(cases)), questions.classify(target="severity>much"))
