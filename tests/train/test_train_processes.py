"""Two processes learn as one with the batch of both; sharded weights give the same numbers."""

import json
import multiprocessing
import os
import signal
import socket

import pytest
import torch
from train_samples import CROP, tiny_learner, tiny_source

from radfoundry import registry
from radfoundry.train import checks, loop, processes, reports
from radfoundry.train.processes import Place, gather
from radfoundry.train.sources import QUALITY, Simulated

ALL = (
    {"name": "contrast", "width": 16, "places": 4},
    {"name": "masked", "width": 32},
    {"name": "translate", "width": 32},
)


def in_processes(function, folder, *, count=2):
    """Run `function(place, folder)` in processes that form a group; their exit codes have to be 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tiny_source(1).batch(0)  # the template is built once, before the processes part
    started = [
        multiprocessing.get_context("fork").Process(target=_one, args=(function, rank, count, port, folder))
        for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    assert [process.exitcode for process in started] == [0] * count


def _one(function, rank, count, port, folder):
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    with processes.joined("cpu") as place:
        function(place, folder)


def train(place, folder, *, steps=4, size=2, shard=False):
    plan = loop.Plan(steps=steps, warmup_steps=1, log_steps=1, shard=shard)
    course = loop.begin(tiny_learner(*ALL), plan, place=place, folder=folder)
    return loop.run(course, tiny_source(size, place=place))


def curve(folder):
    return [json.loads(line)["terms"] for line in (folder / loop.LOG).read_text().splitlines()]


def check_equal(folder, *, shard):
    in_processes(lambda place, where: train(place, where, shard=shard), folder / "two")
    train(Place(), folder / "one", size=4)
    for two, one in zip(curve(folder / "two"), curve(folder / "one"), strict=True):
        assert two == pytest.approx(one, abs=2e-3)


def test_two_processes_give_the_loss_curve_of_one_with_the_double_batch(tmp_path):
    check_equal(tmp_path, shard=False)


@pytest.mark.slow
def test_sharded_weights_give_the_same_curve_and_a_whole_state(tmp_path):
    check_equal(tmp_path, shard=True)
    resumed = train(Place(), tmp_path / "two", steps=4)
    assert resumed.at.step == 4


def every_objective(place, folder):
    """All objectives at once, with reports; the batch of four patients is shared by however many processes."""
    tokeniser = reports.learned_tokeniser(CROP, seed=5, size=300, patients=40)
    facts = {"vocabulary": tokeniser.size, "text_width": 32, "findings": len(reports.FINDINGS), "quality": len(QUALITY)}
    learner = tiny_learner(*registry.entries("objectives"), **facts)
    course = loop.begin(learner, loop.Plan(steps=2, warmup_steps=1, log_steps=1), place=place, folder=folder)
    source = Simulated(CROP, 4 // place.world, 0, "zscore", place, tokeniser=tokeniser, report_length=96)
    loop.run(course, source)


@pytest.mark.slow
def test_every_objective_gives_the_same_loss_on_two_processes(tmp_path):
    in_processes(every_objective, tmp_path / "two")
    every_objective(Place(), tmp_path / "one")
    for step, (two, one) in enumerate(zip(curve(tmp_path / "two"), curve(tmp_path / "one"), strict=True)):
        apart = {
            name: (two[name], one[name]) for name in one if two[name] != pytest.approx(one[name], abs=2e-3, rel=2e-3)
        }
        assert not apart, step


def checked(place, folder, *, shard=True):
    plan = loop.Plan(steps=2, warmup_steps=1, log_steps=1, shard=shard)
    course = loop.begin(tiny_learner(*ALL), plan, place=place, folder=folder)
    asked = checks.prepare(tiny_source(seed=77), patients=8, every=1, stop_on="position", patience=9)
    asked(0, course)
    loop.run(course, tiny_source(2 if place.world == 2 else 4, place=place), check=asked)


@pytest.mark.slow
def test_sharded_weights_are_put_together_for_the_live_checks(tmp_path):
    in_processes(checked, tmp_path / "two")
    checked(Place(), tmp_path / "one", shard=False)
    two, one = (
        [json.loads(line) for line in (tmp_path / name / checks.CHECKS).read_text().splitlines()]
        for name in ("two", "one")
    )
    assert [line["step"] for line in two] == [0, 1, 2]
    for here, there in zip(two, one, strict=True):
        assert here["position"]["value"] == pytest.approx(there["position"]["value"], rel=0.02)


def killed(folder):
    """A run that saves after every step and dies without warning in its fourth."""

    def die(step, _course):
        if step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    plan = loop.Plan(steps=6, warmup_steps=1, log_steps=1, save_minutes=1e-9)
    loop.run(loop.begin(tiny_learner(*ALL), plan, place=Place(), folder=folder), tiny_source(2), check=die)


def test_a_process_killed_in_the_middle_is_taken_up_bit_for_bit(tmp_path):
    tiny_source(1).batch(0)
    process = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path / "killed",))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    # The fourth step was logged but not saved: it has to be made again.
    assert len(curve(tmp_path / "killed")) == 4
    resumed, whole = (train(Place(), tmp_path / name, steps=6) for name in ("killed", "whole"))
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    for (name, one), other in zip(
        resumed.learner.state_dict().items(), whole.learner.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def one_interrupted(place, folder):
    """Only one of the processes hears the signal; both have to stop in the same step."""

    def raise_in_first(step, _course):
        if step == 2 and place.first:
            signal.raise_signal(signal.SIGINT)
        return False

    plan = loop.Plan(steps=5, warmup_steps=1, log_steps=1)
    course = loop.begin(tiny_learner(*ALL), plan, place=place, folder=folder)
    with pytest.raises(KeyboardInterrupt):
        loop.run(course, tiny_source(2, place=place), check=raise_in_first)
    assert course.at.step == 3


def test_a_signal_that_one_process_hears_stops_all_in_the_same_step(tmp_path):
    in_processes(one_interrupted, tmp_path)


def gathered_gradient(place, folder):
    rows = torch.arange(6.0).reshape(3, 2)
    mine = (rows[:2] if place.first else rows[1:]).clone().requires_grad_()
    whole = gather(mine)
    whole.square().sum().backward()
    # Each process computed the same sum, so the gradient of a row is twice that of one process.
    assert whole.shape == (4, 2) and torch.allclose(mine.grad, 2 * 2 * mine.detach())


def test_gathered_rows_carry_their_gradients_home(tmp_path):
    in_processes(gathered_gradient, tmp_path)
