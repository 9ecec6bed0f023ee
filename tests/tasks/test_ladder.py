"""The ladder: every rung learns a planted answer, and the choice is made without the tested patients."""

import dataclasses

import ladder_samples
import numpy as np
import pytest
import torch

from radfoundry.nets import intensity
from radfoundry.records import InputError, Task
from radfoundry.tasks import baselines, fitted_files, heads, ladder, leaks, probe
from radfoundry.tasks.examples import by_case, examples
from radfoundry.tasks.tuned import Tuning
from radfoundry.tasks.tuning import Tuned, train

QUICK = {"steps": 12, "batch": 16, "rate": 5e-3, "size": 4, "inner_folds": 0}
DESIGN = probe.Design({}, {}, folds=2)


@pytest.fixture(scope="module")
def small():
    torch.set_num_threads(1)
    return ladder_samples.make()


def rows_of(small, target="size"):
    cohort, table, views, _ = small
    truth = {case.key: case.labels[target] for case in cohort.cases}
    return examples(table, truth, {}, views=views), truth


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("lora", "mona", "partial", "full", "scratch")]


@pytest.mark.parametrize("rung", ["head", *SLOW])
def test_every_rung_learns_comes_back_from_disk_and_leaves_the_encoder_alone(small, rung, tmp_path):
    rows, _ = rows_of(small)
    views = rows.views
    before = {name: value.clone() for name, value in views.encoder.state_dict().items()}
    features = views.encoder.encode(views.images([0])).pooled
    fitted = train(Tuning(rung, **QUICK), rows, kind="regression", classes=0)
    said = fitted.predict(rows)
    start = np.abs(rows.answer - rows.answer.mean()).mean()
    assert np.abs(said - rows.answer).mean() < 0.95 * start
    assert all(torch.equal(value, before[name]) for name, value in views.encoder.state_dict().items())
    assert torch.equal(views.encoder.encode(views.images([0])).pooled, features)

    fitted_files.write(fitted, tmp_path / "fitted.safetensors", probe=np.ones(2, np.float32))
    again, _ = fitted_files.read(tmp_path / "fitted.safetensors", encoder=views.encoder)
    assert np.allclose(again.predict(rows), said, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(rows))
    assert np.allclose(again.predict(rows.take(order)), said[order], atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("binary", ()), ("multiclass", (3,)), ("ordinal", (3,)), ("multilabel", (2,)), ("survival", ())],
)
def test_every_kind_of_answer_has_its_shape(small, kind, shape):
    rows, _ = rows_of(small)
    size = rows.answer
    answer = {
        "binary": (size > 4).astype(int),
        "multiclass": np.digitize(size, [3, 5]),
        "ordinal": np.digitize(size, [3, 5]),
        "multilabel": np.column_stack([size > 4, size > 3]).astype(int),
        "survival": np.column_stack([10 - size, size > 2]),
    }[kind]
    asked = ladder_samples.with_answer(rows, answer)
    options = {**QUICK, "steps": 3, "focal": 2.0, "mixup": 0.2, "balanced": True, "weighted": True}
    said = train(Tuning("head", **options), asked, kind=kind, classes=3 if shape == (3,) else 2).predict(asked)
    assert said.shape == (len(rows), *shape) and np.isfinite(said).all()
    if shape == (3,):
        assert np.allclose(said.sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_held_out_scores_are_of_fits_without_the_patient(small):
    """One step cannot generalise from noise: with permuted answers held-out rows are not better than chance."""
    rows, _ = rows_of(small)
    noise = np.random.default_rng(1).integers(0, 2, len(rows))
    asked = ladder_samples.with_answer(rows, noise)
    learner = Tuned(Tuning("head", **{**QUICK, "steps": 40, "inner_folds": 2}), rows.views)
    fitted = learner.fit(asked, kind="binary", classes=2)
    inside = heads.row_losses("binary", noise, fitted.predict(asked)).mean()
    outside = heads.row_losses("binary", noise, fitted.held_out).mean()
    assert inside < 0.6 < outside


def test_the_simplest_of_equals_is_chosen_and_a_clear_winner_wins():
    rng = np.random.default_rng(0)
    plain = rng.normal(1.0, 0.2, 60)
    losses = {"trivial": plain, "frozen": plain + rng.normal(0, 0.1, 60), "full": plain - 0.5, "broken": None}
    assert ladder.choose({**losses, "full": plain}, ["trivial", "frozen", "full", "broken"]) == "trivial"
    assert ladder.choose(losses, ["trivial", "frozen", "full", "broken"]) == "full"
    with pytest.raises(InputError, match="could be judged"):
        ladder.choose({"broken": None}, ["broken"])


def climb(small, truth, *, kind="regression", rungs=("frozen",)):
    cohort, table, views, _ = small
    task = Task("size", "size", kind)
    steps = ladder.candidates(cohort, views, task, tuning=Tuning("head", **{**QUICK, "inner_folds": 2}), rungs=rungs)
    return ladder.climb(ladder.Asked(cohort, table, views, task, truth), steps, design=DESIGN), task


@pytest.mark.slow
def test_on_noise_the_answer_is_that_no_model_is_worth_it(small):
    cohort = small[0]
    noise = np.random.default_rng(3).normal(size=len(cohort))
    found, _ = climb(small, {case.key: float(value) for case, value in zip(cohort.cases, noise, strict=True)})
    assert found.name == "trivial"
    assert "not worth it" in ladder.verdict(found, {}, metric="MAE")
    assert set(found.found) >= {"trivial", "header", "radiomics", "frozen-ridge", "chosen"}


@pytest.mark.slow
def test_the_choice_does_not_look_at_the_tested_patients(small):
    """Other answers for the tested patients of a fold change their error, not the choice nor their predictions."""
    cohort, _, _, sizes = small
    parts = {case.key: "train" if number < 22 else "test" for number, case in enumerate(cohort.cases)}
    split = ladder_samples.with_split(cohort, parts)
    other = {case: size if parts[case] == "train" else 100 - size for case, size in sizes.items()}
    design = probe.Design({}, {}, split="default")
    results = []
    for truth in (sizes, other):
        _, table, views, _ = small
        task = Task("size", "size", "regression")
        steps = ladder.candidates(split, views, task, tuning=Tuning("head"), rungs=["frozen"])
        asked = ladder.Asked(split, table, views, task, truth)
        results.append(ladder.climb(asked, steps, design=design))
    assert results[0].name == results[1].name and results[0].losses == results[1].losses
    assert np.array_equal(results[0].found["chosen"].score, results[1].found["chosen"].score)


def test_header_baseline_leaves_the_target_out_and_finds_a_leak(monkeypatch):
    monkeypatch.setattr(leaks, "TELLING", {"auroc": 0.8})  # 24 patients cannot show more
    leaking = ladder_samples.make(24, header=lambda number, size: "north" if size > 4 else "south")
    cohort, table, _, sizes = leaking
    truth = {case: int(size > 4) for case, size in sizes.items()}
    task = Task("large", "large", "binary")
    said = leaks.suspicion(cohort, table, task=task, truth=truth, design=probe.Design({}, {}, folds=3))
    assert len(said) == 1 and "the header alone" in said[0]
    rng = np.random.default_rng(0)
    noise = {case: int(rng.random() < 0.5) for case in truth}
    assert leaks.suspicion(cohort, table, task=task, truth=noise, design=probe.Design({}, {}, folds=3)) == []
    named = [dataclasses.replace(case, labels={**case.labels, "kind": f"k{truth[case.key]}"}) for case in cohort.cases]
    told = leaks.suspicion(
        dataclasses.replace(cohort, cases=tuple(named)),
        table,
        task=task,
        truth=truth,
        design=probe.Design({}, {}, folds=3),
        covariates=["kind"],
    )
    assert len(told) == 2 and "the covariates alone (kind)" in told[1]
    rows = examples(table, truth, {})
    with_site = baselines.header_features(cohort)(rows)
    without = baselines.header_features(cohort, without=["site"])(rows)
    assert with_site.shape[1] == without.shape[1] + 2
    assert baselines.header_features(cohort, also=["size"])(rows).shape[1] == with_site.shape[1] + 1
    with pytest.raises(InputError, match="covariate weight: no case has it"):
        baselines.header_features(cohort, also=["weight"])


def test_radiomics_follow_the_balls_size(small):
    rows, _ = rows_of(small)
    learner = baselines.Measured("radiomics", heads.ridge(), baselines.Radiomics())
    fitted = learner.fit(rows, kind="regression", classes=0)
    held = by_case([(rows, fitted.held_out)])
    assert np.corrcoef(held.score, held.target)[0, 1] > 0.5


def test_an_encoder_without_weights_climbs_only_without_tuning(small):
    views = dataclasses.replace(rows_of(small)[0].views, encoder=intensity.build(dimensions=2))
    task = Task("size", "size", "regression")
    with pytest.raises(InputError, match=r"intensity has no weights to tune; .*rungs=\[frozen\]"):
        ladder.candidates(small[0], views, task, tuning=Tuning("head", **QUICK))
    assert ladder.candidates(small[0], views, task, tuning=Tuning("head", **QUICK), rungs=["frozen"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rung": "stairs"}, "use one of"),
        ({"rung": "head", "steps": 0}, "steps from 1"),
        ({"rung": "head", "batch": 1}, "batch"),
    ],
)
def test_wrong_settings_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        Tuning(**options)


@pytest.mark.slow
def test_a_whole_ladder(small):
    found, _ = climb(small, small[3], rungs=ladder.RUNGS)
    assert {"head", "lora", "mona", "partial", "full", "scratch"} <= set(found.found)
    errors = {name: np.abs(held.score - held.target).mean() for name, held in found.found.items()}
    assert errors["chosen"] < errors["trivial"]
