"""Laws of fusing images of one patient: what is absent adds nothing, order does not matter, contributions add up."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fusion_samples import make_rows

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Acquisition, Case, Cohort, InputError, Predictions, Series, Task
from radfoundry.stats import auc
from radfoundry.tasks import contributions, covariates, fitted_files, fusion, fusion_beside, heads, probe, slots
from radfoundry.tasks.examples import by_case

WAYS = tuple(registry.entries("fusions"))


def fitted(way, kind="binary", rows=None, *, by="sequence", also=(), **options):
    rows = make_rows(kind) if rows is None else rows
    asked = Component.model_validate({"name": way, "by": by, **options})
    usual = heads.named(None, kind)
    head = replace(usual, strengths=usual.strengths[3:4], inner_folds=2)
    learner = fusion.Fused(fusion.named(asked), head, rows.views, also)
    classes = 3 if kind in ("multiclass", "ordinal") else 2 if kind == "binary" else 0
    return learner.fit(rows, kind=kind, classes=classes)


@pytest.fixture(scope="module")
def models():
    """Every way fitted once to the same yes-or-no question."""
    rows = make_rows(patients=60, missing=0.1)
    return {way: fitted(way, rows=rows, **({"steps": 20} if way in fusion.NETS else {})) for way in WAYS}


@pytest.mark.parametrize("way", WAYS)
def test_absent_equals_removed(models, way):
    rows, model = make_rows(seed=1), models[way]
    kept = rows.take(np.array([rows.views.series[row].sequence != "DWI" for row in rows.row]))
    taken = model.exams(rows).without("DWI")
    whole = dict(zip(taken.case, model.scores(taken), strict=True))
    alone = by_case([(kept, model.predict(kept))])
    assert np.allclose(alone.score, [whole[case] for case in alone.case], atol=1e-6)
    # What the features of an absent image hold is never looked at.
    spoiled = replace(taken, features={**taken.features, "DWI": np.full_like(taken.features["DWI"], 1e6)})
    assert np.array_equal(model.scores(spoiled), model.scores(taken))


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_series_does_not_matter(models, way):
    rows, model = make_rows(seed=1), models[way]
    order = np.random.default_rng(0).permutation(len(rows))
    said, again = model.predict(rows), model.predict(rows.take(order))
    assert np.array_equal(said[order], again)


@pytest.mark.parametrize("way", WAYS)
def test_one_exam_is_answered_as_in_company(models, way):
    rows, model = make_rows(seed=1), models[way]
    mine = rows.case == rows.case[0]
    assert np.allclose(model.predict(rows.take(mine)), model.predict(rows)[mine], atol=1e-6)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "average"])
def test_two_halves_of_an_answer_are_put_together(models, way):
    model = models[way]
    exams = model.exams(make_rows(seed=1, missing=0.0, patients=200))

    def area(seen):
        return auc.auroc(Predictions.of(exams.answer, model.scores(seen))).value

    assert area(exams) > 0.8
    assert area(exams) > max(area(exams.without("DWI")), area(exams.without("T1w"))) + 0.05


@pytest.mark.parametrize("way", WAYS)
def test_contributions_add_up_and_strangers_add_nothing(models, way):
    rows, model = make_rows(seed=1), models[way]
    found = contributions.contributions(model, rows)
    assert np.allclose(found.parts.sum(axis=0), found.answer - found.nothing, atol=1e-9)
    absent = ~model.exams(rows).present
    assert np.all(found.parts.T[absent] == 0)
    assert absent.any() and all(("DWI" in said) == gone for said, gone in zip(found.missing, absent[:, 0], strict=True))


def test_shapley_values_agree_with_all_orders_of_arrival():
    worth = np.random.default_rng(0).normal(size=(16, 3))
    slow = np.zeros((4, 3))
    for order in itertools.permutations(range(4)):
        subset = 0
        for player in order:
            slow[player] += (worth[subset | 1 << player] - worth[subset]) / 24
            subset |= 1 << player
    assert np.allclose(contributions.shapley(worth), slow)


def test_shapley_values_are_symmetric_and_leave_dummies_out():
    size = np.array([subset.bit_count() for subset in range(8)], float)
    assert np.allclose(contributions.shapley(size**2), 3.0)  # alike players share 9 alike
    without_last = np.array([float(subset & 3 == 3) for subset in range(8)])
    assert np.allclose(contributions.shapley(without_last), [0.5, 0.5, 0.0])
    with pytest.raises(InputError, match="7 subsets"):
        contributions.shapley(np.zeros(7))


QUICK = {("early", "survival"), ("late", "multiclass"), ("experts", "regression")}
KINDS = ("multiclass", "ordinal", "multilabel", "regression", "survival")
PAIRS = [
    pytest.param(way, kind, marks=() if (way, kind) in QUICK else pytest.mark.slow)
    for way in ("early", "late", "attention", "experts")
    for kind in KINDS
]


@pytest.mark.parametrize(("way", "kind"), PAIRS)
def test_every_kind_of_question_and_the_disk(way, kind, tmp_path):
    rows = make_rows(kind, patients=30)
    model = fitted(way, kind, rows, also=("age_years", "sex"), **({"steps": 5} if way in fusion.NETS else {}))
    said = model.predict(rows)
    assert model.held_out is not None and model.held_out.shape == said.shape and np.isfinite(said).all()
    if kind in ("multiclass", "ordinal"):
        assert np.allclose(said.sum(axis=1), 1)
    fitted_files.write(model, tmp_path / "model.safetensors", probe=np.ones(1, np.float32))
    again, _ = fitted_files.read(tmp_path / "model.safetensors")
    assert np.allclose(again.predict(rows), said, atol=1e-6)
    assert again.slots == ("DWI", "T1w", "T2w", "covariates")
    found = contributions.contributions(model, rows)
    assert np.allclose(found.parts.sum(axis=0), found.answer - found.nothing)


def test_slots_are_told_by_what_is_asked_for():
    rows = make_rows()
    assert slots.names(rows, "plane") == ("axial", "sagittal")
    assert slots.names(rows, "laterality+plane") == ("L axial", "L sagittal", "R axial", "R sagittal")
    with pytest.raises(InputError, match="no series states its view"):
        slots.names(rows, "view")
    with pytest.raises(InputError, match="did you mean 'plane'"):
        slots.names(rows, "plain")


def test_covariates_that_are_missing_are_as_usual_and_marked():
    cases = [Case(str(age), str(age), age_years=age, labels={"psa": psa}) for age, psa in ((40.0, 1), (60.0, None))]
    columns = covariates.learn(["age_years", "psa"], cases)
    table, known = columns.table([*cases, Case("new", "new"), None])
    assert table[:, 0].tolist() == [40, 60, 50, 50] and table[:, 1].tolist() == [0, 1, 1, 1]
    assert known.tolist() == [True, True, False, False]
    assert covariates.Columns.from_list(columns.to_list()) == columns
    with pytest.raises(InputError, match="it is the answer itself"):
        covariates.check(["psa"], cases, target="psa")
    with pytest.raises(InputError, match="did you mean 'psa'"):
        covariates.check(["pas"], cases, target="grade")


def test_covariates_that_hold_the_answer_help():
    rows = make_rows(missing=0.5)
    with_age, without = (fitted("early", rows=rows, also=also) for also in (("age_years",), ()))
    loss = [heads.row_losses("binary", rows.answer, model.held_out).mean() for model in (with_age, without)]
    assert loss[0] < loss[1] - 0.05
    with pytest.raises(InputError, match="cannot be averaged"):
        fitted("average", rows=rows, also=("age_years",))


def test_few_exams_do_not_make_it_diverge():
    rows = make_rows(patients=6, missing=0.0)
    assert np.isfinite(fitted("experts", rows=rows, steps=30).predict(rows)).all()


def test_a_kind_of_image_that_few_have_is_not_asked_alone():
    rows = make_rows(patients=24, missing=0.0)
    sequence = np.array([series.sequence for series in rows.views.series])
    kept = rows.take((sequence != "T2w") | np.isin(rows.case, ["case003", "case009"]))
    series = tuple(rows.views.series[row] for row in kept.row)
    cohort = Cohort(tuple(rows.views.cases.values()))
    table = Embeddings(series, kept.features, "made", "made", "made")
    truth = {str(case): int(answer) for case, answer in zip(rows.case, rows.answer, strict=True)}
    head = heads.logistic(strengths=[0.1], inner_folds=2)
    views = SimpleNamespace(series=series, cases=rows.views.cases)
    learner = fusion.Fused(fusion.named(Component(name="late")), head, views)
    design = probe.Design({}, {}, folds=4)
    found, beside = fusion_beside.ask(cohort, table, learner, task=Task("large", "large"), truth=truth, design=design)
    assert found.fitted.slots == ("DWI", "T1w", "T2w") and "T2w" not in beside.found
    assert any(note.startswith("T2w alone is not answered: too few") for note in beside.notes)
    assert len(beside.added.case) == 24 and set(beside.found) == {"fused", "DWI", "T1w", "single"}


def test_what_cannot_be_fused_is_refused_before_any_image_is_looked_at():
    picture = Series("s", "p", "c", Acquisition(modality="US"), (1, 4, 4, 1), (1.0, 1.0, 1.0))
    cases = [Case("c", "p", (picture,), labels={"age_y": 3})]
    early = Component(name="early")
    with pytest.raises(InputError, match="no series states its sequence"):
        fusion.check(early, ["age_y"], cases, target="y")
    by_modality = Component.model_validate({"name": "early", "by": "modality"})
    fusion.check(by_modality, ["age_y"], cases, target="y")
    with pytest.raises(InputError, match="did you mean 'age_y'"):
        fusion.check(by_modality, ["age_z"], cases, target="y")
    with pytest.raises(InputError, match="the answer itself"):
        fusion.check(by_modality, ["age_y"], cases, target="age_y,died")
