"""The loop: it learns, it goes on bit for bit, it survives numbers that are not finite."""

import json

import pytest
import torch
from train_samples import tiny_learner, tiny_source

from radfoundry.records import InputError
from radfoundry.train import loop
from radfoundry.train.processes import Place

BOTH = (
    {"name": "contrast", "width": 16, "places": 4},
    {"name": "masked", "width": 32},
    {"name": "translate", "width": 32},
)


def course_in(folder, *, steps, source=None, components=BOTH, settings="s", check=None, **options):
    plan = loop.Plan(steps=steps, warmup_steps=2, log_steps=1, **options)
    course = loop.begin(tiny_learner(*components), plan, place=Place(), folder=folder, settings=settings)
    return loop.run(course, source or tiny_source(), check=check)


def weights(course):
    return {**course.learner.state_dict(), **{f"average.{k}": v for k, v in course.trained.average.weights.items()}}


class Repeated:
    """The same patients at every step."""

    def __init__(self):
        self.one = tiny_source().batch(0)

    def batch(self, step):
        return self.one


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["translate", pytest.param("masked", marks=slow), pytest.param("contrast", marks=slow)]
)
def test_the_loss_falls_on_patients_seen_again_and_again(name, tmp_path):
    course = course_in(tmp_path, steps=40, learning_rate=1e-2, components=(name,), source=Repeated())
    losses = [line["terms"]["loss"] for line in course.history]
    assert losses[-1] < 0.85 * losses[0]


def test_a_run_killed_and_resumed_equals_the_uninterrupted_one_bit_for_bit(tmp_path):
    whole = course_in(tmp_path / "whole", steps=6)
    # Stopped after three steps of six, as a kill just after a save would leave it.
    course_in(tmp_path / "parts", steps=6, check=lambda step, _: step == 3)
    resumed = course_in(tmp_path / "parts", steps=6)
    assert resumed.at.step == 6
    first, second = weights(whole), weights(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [line["terms"] for line in whole.history] == [line["terms"] for line in resumed.history]
    written = [json.loads(line) for line in (tmp_path / "parts" / loop.LOG).read_text().splitlines()]
    assert [line["step"] for line in written] == [1, 2, 3, 4, 5, 6]


def test_a_state_of_other_settings_is_refused(tmp_path):
    course_in(tmp_path, steps=1)
    with pytest.raises(InputError, match="other settings"):
        course_in(tmp_path, steps=2, settings="others")


class Poisoned:
    """A source whose acquisition settings are not numbers at chosen steps."""

    def __init__(self, steps):
        self.inner, self.steps = tiny_source(), steps

    def batch(self, step):
        batch = self.inner.batch(step)
        if step in self.steps:
            batch.settings[:] = torch.nan
        return batch


def test_a_step_without_finite_numbers_moves_nothing(tmp_path):
    before = {name: value.clone() for name, value in tiny_learner(*BOTH).state_dict().items()}
    poisoned = course_in(tmp_path / "a", steps=1, source=Poisoned({0}))
    assert poisoned.at.skipped == 1 and poisoned.at.step == 1
    after = poisoned.learner.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    later = course_in(tmp_path / "b", steps=2, source=Poisoned({0}))
    assert later.at.skipped == 1
    assert any(not torch.equal(before[name], value) for name, value in later.learner.state_dict().items())


def test_numbers_that_stay_not_finite_end_the_run_with_a_reason(tmp_path):
    with pytest.raises(InputError, match=r"10 steps in a row gave no finite number .*translate.*learning_rate"):
        course_in(tmp_path, steps=20, source=Poisoned(set(range(20))))


def test_accumulated_micro_batches_give_the_gradient_of_the_whole(tmp_path):
    components = ({"name": "masked", "width": 32}, {"name": "translate", "width": 32})
    one = course_in(tmp_path / "one", steps=2, components=components, source=tiny_source(4))
    two = course_in(tmp_path / "two", steps=2, components=components, source=tiny_source(2), accumulate=2)
    assert one.history[-1]["terms"]["loss"] == pytest.approx(two.history[-1]["terms"]["loss"], abs=2e-5)


def test_worker_processes_change_nothing_but_the_waiting(tmp_path):
    here = course_in(tmp_path / "here", steps=2)
    ahead = course_in(tmp_path / "ahead", steps=2, workers=1)
    assert [line["terms"] for line in here.history] == [line["terms"] for line in ahead.history]


@pytest.mark.slow
def test_half_precision_learns_nearly_the_same(tmp_path):
    full = course_in(tmp_path / "full", steps=3)
    half = course_in(tmp_path / "half", steps=3, precision="bf16")
    assert half.history[-1]["terms"]["loss"] == pytest.approx(full.history[-1]["terms"]["loss"], rel=0.1)
    assert all(weight.dtype == torch.float32 for weight in half.learner.parameters())
