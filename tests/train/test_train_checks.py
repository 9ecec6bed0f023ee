"""Live checks: they read what is there, raise alarms when features die, and stop a run that no longer improves."""

import json

import pytest
import torch
from train_samples import tiny_learner, tiny_source

from radfoundry.records import Estimate, InputError
from radfoundry.train import checks, curves, loop, probes
from radfoundry.train.processes import Place


def probed(*, noise=0.0, count=80, seed=0):
    """Features that hold the place, the sequence and the lesion in plain sight, mixed and with noise."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(count, 3, generator=generator).double() * 100
    sequence = torch.randint(0, 3, (count, 2), generator=generator)
    lesion = torch.rand(count, generator=generator) > 0.5
    shared = torch.cat([place.float() / 50, lesion[:, None].float()], dim=1)[:, None].expand(-1, 2, -1)
    facts = torch.cat([shared, torch.nn.functional.one_hot(sequence, 3).float()], dim=2)
    mixed = facts @ torch.randn(7, 12, generator=generator)
    features = mixed + noise * torch.randn(count, 2, 12, generator=generator)
    return probes.Probed(features, place_mm=place, sequence=sequence, lesion=lesion)


def test_what_is_in_the_features_is_read():
    found = probes.measures(probed(noise=0.01))
    assert found["position"].value < 3 and found["sequence"].value == 1 and found["lesion"].value > 0.99
    assert 4 < found["effective-rank"].value < 9
    assert found["position"].low <= found["position"].value <= found["position"].high


def test_what_is_not_in_the_features_is_not_read():
    clear = probed()
    empty = probes.Probed(
        torch.randn(80, 2, 12, generator=torch.Generator().manual_seed(5)), clear.place_mm, clear.sequence, clear.lesion
    )
    found = probes.measures(empty)
    assert found["position"].value > 30 and found["sequence"].low < 0.4 and found["lesion"].low < 0.5
    assert found["retrieval"].value < 0.1


def test_ridge_is_least_squares_where_nothing_has_to_be_shrunk():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(60, 4, generator=generator)
    target = (features @ torch.tensor([[1.0], [2], [-1], [0.5]]) + 3).double()
    answers = probes.ridge(features[:30], target[:30], features[30:])
    assert torch.allclose(answers, target[30:], atol=1e-2)


def test_the_median_lies_in_its_interval_as_often_as_it_says():
    generator = torch.Generator().manual_seed(2)
    covered = 0
    for _ in range(400):
        ordered = torch.randn(25, generator=generator).sort().values.numpy()
        found = probes.median(ordered)
        covered += found.low <= 0 <= found.high
    assert covered / 400 > 0.93


def test_dead_features_raise_the_alarm_and_living_ones_do_not():
    dead = probes.Probed(torch.ones(20, 2, 8) + torch.randn(20, 2, 8) * 1e-4)
    assert set(checks.alarms_of(probes.measures(dead))) == {"collapse"}
    assert checks.alarms_of(probes.measures(probed(noise=0.1))) == {}


def test_features_that_give_the_hospital_away_raise_the_alarm():
    site = torch.arange(60) % 2
    features = torch.randn(60, 2, 8, generator=torch.Generator().manual_seed(3))
    features[:, :, 0] += 4 * site[:, None]
    assert "site-leak" in checks.alarms_of(probes.measures(probes.Probed(features, site=site)))
    blind = probes.Probed(torch.randn(60, 2, 8, generator=torch.Generator().manual_seed(4)), site=site)
    assert "site-leak" not in checks.alarms_of(probes.measures(blind))


def checked_course(folder, *, every=1, stop_on=None, patience=2, steps=6, rate=1e-3):
    plan = loop.Plan(steps=steps, warmup_steps=1, log_steps=1, learning_rate=rate)
    course = loop.begin(tiny_learner("masked"), plan, place=Place(), folder=folder)
    asked = checks.prepare(tiny_source(seed=77), patients=8, every=every, stop_on=stop_on, patience=patience)
    asked.resume(folder, up_to=course.at.step)
    loop.run(course, tiny_source(), check=asked)
    return course, asked


def test_a_run_ends_when_its_probe_stops_improving_and_keeps_the_best(tmp_path, monkeypatch):
    values = iter([30.0, 20.0, 25.0, 21.0, 22.0, 23.0])
    monkeypatch.setattr(checks.probes, "measures", lambda _: {
        "position": Estimate(next(values)), "effective-rank": Estimate(9.0), "uniformity": Estimate(-2.0)
    })  # fmt: skip
    course, asked = checked_course(tmp_path, stop_on="position", patience=2, steps=50)
    assert course.at.step == 4 and asked.best_step == 2 and "best 20.000 at step 2" in course.stopped
    assert all(torch.isfinite(weight).all() for weight in asked.best_weights.values())


def test_checks_change_nothing_in_what_is_learned(tmp_path):
    with_checks, _ = checked_course(tmp_path / "a", every=2)
    without, _ = checked_course(tmp_path / "b", every=0)
    for (name, one), other in zip(
        with_checks.learner.state_dict().items(), without.learner.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    lines = [json.loads(line) for line in (tmp_path / "a" / checks.CHECKS).read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6] and lines[0]["position"]["n"] == 4


def test_checks_of_an_interrupted_run_are_kept_up_to_its_state(tmp_path):
    checked_course(tmp_path, every=2, steps=4)
    again = checks.Checks([], 2)
    again.resume(tmp_path, up_to=3)
    assert [line["step"] for line in again.history] == [2]
    assert isinstance(again.history[0]["position"], Estimate)


def test_an_unknown_probe_to_stop_on_is_refused():
    with pytest.raises(InputError, match="no probe 'loss'"):
        checks.prepare(tiny_source(), patients=4, every=1, stop_on="loss", patience=1)


@pytest.mark.slow
def test_pictures_of_a_course_are_drawn(tmp_path):
    course, asked = checked_course(tmp_path, every=2)
    made = curves.blocks(course.history, asked.history, asked.held_out[0], tmp_path)
    pngs = [item["png"] for block in made for item in block["images"]]
    assert pngs == ["losses.png", "probes.png", "crops.png"]
    assert all((tmp_path / png).read_bytes().startswith(b"\x89PNG") for png in pngs)
