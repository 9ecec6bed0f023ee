"""Rungs beside one another: same folds, few labels, sites left out, and what an encoder still knows afterwards."""

from dataclasses import replace

import ladder_samples
import numpy as np
import pytest
import torch

from radfoundry.records import InputError, Task
from radfoundry.tasks import probe, rungs_beside
from radfoundry.tasks.examples import examples
from radfoundry.tasks.tuned import Tuning

QUICK = Tuning("head", steps=8, batch=8, rate=1e-2, size=4, inner_folds=0)
LARGE = Task("large", "large", "binary")
SIZE = Task("size", "size", "regression")


@pytest.fixture(scope="module")
def small():
    torch.set_num_threads(1)
    return ladder_samples.make(patients=24, header=lambda number, _: f"site-{number % 3}")


def asked(small, **design):
    cohort, table, views, _ = small
    truth = {case.key: case.labels["large"] for case in cohort.cases}
    return rungs_beside.Asked(cohort, table, views, LARGE, truth, probe.Design({}, {}, folds=2, **design))


def test_few_labels_are_a_part_of_every_class_and_of_the_same_patients(small):
    ask = asked(small)
    rows = examples(ask.table, ask.truth, {}, views=ask.views)
    design = replace(ask.design, labelled=8)
    chosen = probe.few(rows, design, kind="binary")
    assert 7 <= len(chosen) <= 9 and set(chosen.answer) == {0, 1}
    assert set(chosen.case) == set(probe.few(rows.take(np.arange(len(rows))[::-1]), design, kind="binary").case)
    assert len(probe.few(rows, replace(design, labelled=0), kind="binary")) == len(rows)
    assert len(probe.few(rows, replace(design, labelled=500), kind="binary")) == len(rows)


def test_a_site_left_out_taught_nothing_and_every_patient_is_tested_once(small):
    ask = asked(small, held_out="sites")
    rows = examples(ask.table, ask.truth, {}, views=ask.views)
    parts = probe.pairs(ask.cohort, rows, rows, kind="binary", design=ask.design)
    assert len(parts) == 3
    for teaching, testing in parts:
        assert len(set(testing.site)) == 1 and not set(testing.site) & set(teaching.site)
        assert not set(testing.patient) & set(teaching.patient)
    assert sorted(case for _, testing in parts for case in testing.case) == sorted(rows.case)
    one = rows.take(rows.site == "site-0")
    with pytest.raises(InputError, match="all patients are of one site"):
        probe.pairs(ask.cohort, one, one, kind="binary", design=ask.design)


@pytest.mark.slow
def test_adapters_taken_out_leave_nothing_behind_and_a_head_forgets_nothing(small):
    ask = asked(small, labelled=8)
    words = ("mona", "head", "full", "frozen", "head-balanced")
    found = {word: rungs_beside.answered(ask, rungs_beside.learner_named(word, ask, QUICK)) for word in words}
    made = rungs_beside.numbers(found, LARGE, seed=0)
    for name in words[1:]:
        gap = made[f"mona-minus-{name}/auroc"].value
        one = rungs_beside.measure.measure(found["mona"][0].predictions, LARGE)["auroc"].value
        assert gap == pytest.approx(one - made[f"{name}/auroc"].value, abs=1e-9)
        assert 0 <= made[f"{name}/recall"].value <= 1
    truth = {case.key: case.labels["size"] for case in ask.cohort.cases}
    kept = rungs_beside.remembered(ask, found, task=SIZE, truth=truth)
    assert kept["removed-minus-before/features"].value == 0
    assert kept["before-minus-head/mae-remembered"].value == 0
    assert kept["before-minus-mona/mae-remembered"].value != 0
    assert kept["mona/mae-remembered"].value > 0


def test_names_there_are_not_are_refused(small):
    ask = asked(small)
    for word, said in (
        ("mon", "did you mean 'mona'"),
        ("head-balance", "did you mean 'balanced'"),
        ("frozen-plain", "unknown way"),
    ):
        with pytest.raises(InputError, match=said):
            rungs_beside.learner_named(word, ask, QUICK)
