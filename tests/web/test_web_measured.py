"""Bland-Altman, Kaplan-Meier, FROC and critical difference: from a result of `stats` to a block of a report."""

import numpy as np
import pytest

from radfoundry import runs
from radfoundry.records import InputError, Predictions, Task
from radfoundry.stats.bland_altman import bland_altman
from radfoundry.stats.critical_difference import critical_difference
from radfoundry.stats.froc import froc
from radfoundry.stats.marks import Marks
from radfoundry.stats.survival import kaplan_meier
from radfoundry.tasks import pages
from radfoundry.web import figures
from radfoundry.web.blocks import views


def measured():
    rng = np.random.default_rng(3)
    return bland_altman(volume := rng.uniform(20, 60, 40), volume + rng.normal(1, 2, 40))


def followed():
    rng = np.random.default_rng(4)
    named = {}
    for name, mean in (("radiotherapy", 30.0), ("observation", 18.0)):
        event, censor = rng.exponential(mean, 60), rng.uniform(5, 40, 60)
        named[name] = kaplan_meier(np.minimum(event, censor), event <= censor)
    return named


def marked(seed, shift):
    rng = np.random.default_rng(seed)
    lesions = dict(enumerate([0, 1, 2] * 20))
    case = [name for name, count in lesions.items() for _ in range(count)]
    lesion = [number for count in lesions.values() for number in range(count)]
    false = rng.integers(0, 60, 70)
    rating = np.r_[rng.normal(shift, 1, len(case)), rng.normal(0, 1, 70)]
    return Marks.of(np.r_[case, false], rating, np.r_[lesion, np.full(70, -1)], lesions=lesions)


def blocks():
    found = {"detector": froc(marked(1, 1.6), draws=100), "older detector": froc(marked(2, 0.7), draws=100)}
    rng = np.random.default_rng(5)
    tasks = {name: gain + rng.normal(0, 0.05, 14) for name, gain in (("a", 0.8), ("b", 0.79), ("c", 0.7), ("d", 0.6))}
    return [
        pages.limits_of_agreement("Two readers", measured(), unit="mL"),
        pages.survival_curves("Time to progression", followed(), time_unit="months", event="progression"),
        pages.free_response("Lesions found", found),
        pages.ranking("Models over 14 tasks", critical_difference(tasks, draws=100)),
    ]


def test_each_is_drawn_with_its_numbers_beside_it_and_survives_its_file(tmp_path):
    runs.write_json(tmp_path / "blocks.json", plain := runs.plain(blocks()))
    shown = views(plain, folder=tmp_path)
    assert [view.kind for view in shown] == ["bland-altman", "kaplan-meier", "froc", "critical-difference"]
    for view in shown:
        drawing = view.body["drawing"]
        assert drawing.svgs[0].startswith("<svg") and view.body["reading"]
    listed = [dict(view.body["listed"]) for view in shown]
    assert set(listed[0]) == {"Bias", "Lower limit of agreement", "Upper limit of agreement"}
    assert set(listed[2]) == {"detector", "older detector"} and set(listed[3]) == {"a", "b", "c", "d"}


def test_survival_starts_at_one_and_the_numbers_at_risk_are_those_still_followed():
    times, events = [2.0, 4.0, 4.0, 6.0, 10.0], [1, 0, 1, 1, 0]
    block = pages.survival_curves("t", {"all": kaplan_meier(times, events)}, time_unit="months", event="death")
    curve = block["curves"][0]
    assert (curve["time"][0], curve["survival"][0]) == (0.0, 1.0)
    shown = np.array(curve["at_risk"]["time"])
    assert curve["at_risk"]["n"] == [sum(time >= at for time in times) for at in shown]
    assert curve["censored"] == [4.0, 10.0]


def test_a_regression_page_shows_the_limits_of_agreement_of_predicted_minus_true():
    rng = np.random.default_rng(6)
    age = rng.uniform(20, 80, 30)
    found = Predictions.of(age, age + 3 + rng.normal(0, 4, 30))
    kinds = {block["kind"]: block for block in pages.curves({"ridge": found}, Task("age", "age_years", "regression"))}
    assert list(kinds) == ["agreement", "bland-altman"]
    assert 1 < kinds["bland-altman"]["bias"]["value"] < 5 and kinds["bland-altman"]["unit"] == "age years"
    few = pages.curves({"ridge": found.take(np.arange(2))}, Task("age", "age_years", "regression"))
    assert [block["kind"] for block in few] == ["agreement"]


def test_numbers_at_risk_stand_at_round_times():
    for end, places in ((37.4, [0, 10, 20, 30]), (5.0, [0, 1, 2, 3, 4, 5]), (1100.0, [0, 200, 400, 600, 800, 1000])):
        curve = kaplan_meier([end / 2, end], [1, 0])
        block = pages.survival_curves("t", {"all": curve}, time_unit="days", event="death")
        assert block["curves"][0]["at_risk"]["time"] == pytest.approx(places)


@pytest.mark.parametrize("place", range(4))
def test_a_block_without_its_content_is_refused_by_name(place):
    block = runs.plain(blocks()[place])
    key = {"bland-altman": "bias", "critical-difference": "ranks"}.get(block["kind"], "curves")
    with pytest.raises(InputError, match=key):
        figures.draw({**block, key: []}, name="f")
