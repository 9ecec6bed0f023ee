"""Probes: nobody is tested by a head that saw him, order does not matter, and permuted labels carry nothing."""

import numpy as np
import pytest

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.tasks import examples, fitted_files, heads, measure, probe, questions


def make(patients=40, *, seed=0, signal=2.0, visits=2):
    """Patients with several exams of two sequences each; every feature of a patient carries his identity."""
    rng = np.random.default_rng(seed)
    cases, series, vectors, answers = [], [], [], {}
    for number in range(patients):
        patient, answer = f"p{number:03d}", number % 2
        identity = rng.normal(size=12) * 3
        for visit in range(visits):
            case = f"{patient}-{visit}"
            own = []
            for sequence in ("T1w", "T2w"):
                item = Series(
                    f"{case}-{sequence}",
                    patient,
                    case,
                    Acquisition(modality="MR"),
                    (1, 8, 8, 8),
                    (1, 1, 1),
                    site=f"site-{number % 3}",
                    sequence=sequence,
                )
                own.append(item)
                vectors.append(np.concatenate([identity + rng.normal(size=12) * 0.1, [answer * signal + rng.normal()]]))
            series += own
            cases.append(Case(case, patient, tuple(own), labels={"finding": answer}, site=f"site-{number % 3}"))
            answers[case] = answer
    table = Embeddings(tuple(series), np.array(vectors, np.float32), "toy", "mark", "plan")
    return Cohort(tuple(cases)), table, answers


def ask(cohort, table, truth, *, head=None, **options):
    task, answers = questions.answers(cohort, questions.classify(target="finding"))
    design = probe.design({}, None, split=None, folds=5, seed=0)
    design = probe.Design(**{**design.__dict__, **options})
    found = probe.probe(
        cohort, table, task=task, truth=truth or answers, head=head or heads.logistic(strengths=[0.1]), design=design
    )
    return found, task


def test_a_signal_is_found_once_per_case():
    cohort, table, _ = make()
    found, task = ask(cohort, table, None)
    assert sorted(found.predictions.case) == sorted(case.key for case in cohort.cases)
    metrics = measure.measure(found.predictions, task)
    assert metrics["auroc"].low > 0.6
    assert "clustered by patient" in metrics["auroc"].method


@pytest.mark.parametrize(("labelled", "said"), [(12, False), (40, True), (90, True)])
def test_a_budget_above_all_patients_is_said(labelled, said):
    cohort, table, _ = make(visits=1)
    found, _ = ask(cohort, table, None, labelled=labelled)
    assert any(f"labelled={labelled}: all who may teach do, of 40 patients" in note for note in found.notes) == said


def test_a_head_that_remembers_patients_gets_nothing_from_random_labels():
    """One nearest neighbour on identity features would be perfect if a patient could be in both parts."""
    cohort, table, truth = make(60, signal=0.0)
    random = {key: int(np.random.default_rng(int(key[1:4])).integers(0, 2)) for key in truth}
    found, task = ask(cohort, table, random, head=heads.knn(strengths=[1]))
    estimate = measure.measure(found.predictions, task)["auroc"]
    assert estimate.low < 0.5 < estimate.high


def test_the_order_of_series_does_not_matter():
    cohort, table, _ = make(20)
    order = np.random.default_rng(1).permutation(len(table.series))
    shuffled = Embeddings(tuple(table.series[i] for i in order), table.vectors[order], "toy", "mark", "plan")
    first, _ = ask(cohort, table, None)
    second, _ = ask(cohort, shuffled, None)
    assert first.predictions.case.tolist() == second.predictions.case.tolist()
    assert np.allclose(first.predictions.score, second.predictions.score, atol=1e-4)


def test_train_and_test_on_different_sequences():
    cohort, table, _ = make()
    found, _ = ask(cohort, table, None, train_on={"sequence": ["T2w"]}, test_on={"sequence": ["T1w"]})
    assert len(found.predictions) == len(cohort)
    with pytest.raises(InputError, match=r"sequence here: T1w \(80\), T2w \(80\)"):
        ask(cohort, table, None, train_on={"sequence": ["FLAIR"]})
    with pytest.raises(InputError, match="unknown fact"):
        ask(cohort, table, None, train_on={"colour": ["red"]})


def test_a_named_split_is_used_and_a_leak_in_it_is_refused():
    cohort, table, _ = make()
    parts = {case.key: "train" if case.patient < "p020" else "test" for case in cohort.cases}
    honest = Cohort(cohort.cases, splits={"default": parts})
    found, _ = ask(honest, table, None, split="default")
    assert set(found.predictions.patient) == {f"p{n:03d}" for n in range(20, 40)}
    assert found.training_patients == 20
    leaking = Cohort(cohort.cases, splits={"default": {**parts, "p030-0": "train"}})
    with pytest.raises(InputError, match="1 patient is in train and in test"):
        ask(leaking, table, None, split="default")


def test_predictions_and_heads_survive_the_disk(tmp_path):
    cohort, table, _ = make(20)
    found, _task = ask(cohort, table, None)
    probe.write_predictions(found.predictions, tmp_path / "predictions.parquet")
    back = probe.read_predictions(tmp_path / "predictions.parquet")
    assert np.array_equal(back.score, found.predictions.score) and back.case.tolist() == found.predictions.case.tolist()
    fitted_files.write(found.fitted, tmp_path / "fitted.safetensors", probe=np.ones(3, np.float32))
    fitted, mark = fitted_files.read(tmp_path / "fitted.safetensors")
    assert np.array_equal(fitted.head.predict(table.vectors), found.head.predict(table.vectors))
    assert mark.tolist() == [1, 1, 1]
    (tmp_path / "bad.safetensors").write_bytes(b"not this")
    with pytest.raises(InputError, match="not a model"):
        fitted_files.read(tmp_path / "bad.safetensors")


def test_fewer_patients_than_folds_is_said():
    cohort, table, _ = make(8)
    found, _task = ask(cohort, table, None, folds=20)
    assert any("4 folds, not 20" in note for note in found.notes)


def test_permuted_answers_keep_their_count_and_move_whole_patients():
    cohort, _, truth = make(30)
    patients = {case.key: case.patient for case in cohort.cases}
    dealt = questions.permuted(truth, patients, rng=np.random.default_rng(0))
    assert sorted(dealt.values()) == sorted(truth.values()) and dealt != truth
    assert all(dealt[f"{patient}-0"] == dealt[f"{patient}-1"] for patient in cohort.patients)


def test_facts_that_no_series_has_are_answered_with_those_there_are():
    series = [Series("a", "p", "c", Acquisition(), (1, 2, 2, 1), (1, 1, 1)), make(2)[1].series[0]]
    said = str(examples.no_match(series, {"sequence": ["T1"]}, where="train_on"))
    assert said == "train_on: no series with an answer has sequence T1; sequence here: not stated (1), T1w (1)"
    with pytest.raises(InputError, match="did you mean 'sequence'"):
        examples.fact_of(series[0], "sequnce")
