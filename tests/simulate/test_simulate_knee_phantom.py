"""Film phantoms of the knee: which film shows what, and reports that say what is there."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.simulate import knee_phantom
from radfoundry.simulate.knee_phantom import VIEWS, BroadFilms, KneeFilms

HEALTHY = {"line": {"AP": 0.0, "LATERAL": 0.0}, "pouch": 0.0, "gap": 1.0, "size": 1.0, "tissue": 0.3}
DRAWN = {"AP": knee_phantom._frontal, "LATERAL": knee_phantom._lateral, "SKYLINE": knee_phantom._skyline}


def drawn(view, **changed):
    x, y = np.meshgrid(np.linspace(-1, 1, 32), np.linspace(-1, 1, 32), indexing="ij")
    return DRAWN[view](x, y, knee_phantom._Knee(**{**HEALTHY, **changed}), np.random.default_rng(0))


def film(view, **changed):
    return drawn(view, **changed)[0]


@pytest.mark.parametrize(
    ("changed", "shown_in"),
    [
        ({"gap": 0.3}, {"AP"}),
        ({"line": {"AP": 0.3, "LATERAL": 0.3}}, {"AP", "LATERAL"}),
        ({"pouch": 0.2}, {"AP", "LATERAL", "SKYLINE"}),
    ],
)
def test_each_finding_shows_where_it_is_said_to(changed, shown_in):
    change = {view: np.abs(film(view, **changed) - film(view)).mean() for view in VIEWS}
    assert {view for view, size in change.items() if size > 1e-6} == shown_in
    if "pouch" in changed:  # next to nothing in the frontal film
        assert change["AP"] < change["LATERAL"] / 3


def test_the_truth_marks_a_fracture_in_both_films_that_show_it_and_an_effusion_in_the_lateral_one():
    for view in VIEWS:
        assert not drawn(view)[1].any()
        assert drawn(view, line={"AP": 0.3, "LATERAL": 0.3})[1].any() == (view != "SKYLINE")
        assert drawn(view, pouch=0.1)[1].any() == (view == "LATERAL")


def test_three_films_of_a_patient_and_a_report_of_what_is_there():
    made = [KneeFilms(pixels=32).simulate(case, seed=1) for case in range(6)]
    for one in made:
        assert tuple(series.acquisition.view_position for series in one.series) == VIEWS
        present = {span.finding for span in one.report.spans if span.state == "present"}
        named = {"joint-effusion": "effusion", "fracture": "fracture", "joint-narrowing": "narrowing"}
        assert present == {finding for finding, label in named.items() if one.labels[label]}
    again = KneeFilms(pixels=32).simulate(2, seed=1)
    assert np.array_equal(again.series[1].volume.array, made[2].series[1].volume.array)


def test_broad_films_are_no_knees_and_report_what_they_show():
    made = [BroadFilms(pixels=32).simulate(case, seed=1) for case in range(2)]
    assert [one.series[0].acquisition.body_part for one in made] == ["CHEST", "CHEST"]
    assert {"both", "blots"} <= set(made[0].labels) and "trapping" in made[1].labels
    present = {span.finding for span in made[1].report.spans if span.state == "present"}
    assert ("air-trapping" in present) == bool(made[1].labels["trapping"])


def test_a_share_beyond_one_is_refused():
    with pytest.raises(InputError, match="rate"):
        KneeFilms(rate=1.5)
