"""The later state from the first visit: laws of the line, of the interval, and of what may not be learned."""

import numpy as np
import pytest

from radfoundry.records import Case, Cohort, InputError
from radfoundry.tasks import foresee, foresee_measures, heads


def seen_twice(patients=24, *, growth=1.0, wide=False, dates=True):
    cases = []
    for n in range(patients):
        first, later = float(n), n + growth * n
        days = ("20200101", "20200401" if n % 2 else "20210101") if dates else (None, None)
        told = [{"load": first, "load_2": later}] * 2 if wide else [{"load": first}, {"load": later}]
        for visit in range(2):
            key = f"p{n:02d}-{visit}"
            priors = (f"p{n:02d}-0",) if visit else ()
            cases.append(Case(key, f"p{n:02d}", labels=told[visit], date=days[visit], priors=priors))
    return Cohort(tuple(cases))


def test_one_table_of_patients_and_labels_of_exams_say_the_same():
    task = foresee.build(target="load")
    long, wide = (foresee.pairs(seen_twice(wide=wide), task) for wide in (False, True))
    assert long == wide
    assert long["p03-0"] == foresee.Pair("p03", "p03-0", "p03-1", 3.0, 6.0, 91.0)
    assert set(long) == {f"p{n:02d}-0" for n in range(24)}  # first visits alone are looked at


@pytest.mark.parametrize(
    ("cohort", "options", "said"),
    [
        (seen_twice(), {"target": "lood"}, "did you mean 'load'"),
        (seen_twice(12), {"target": "load"}, "12 patients have two visits"),
        (seen_twice(growth=0.0), {"target": "load"}, "is the same at both visits of everybody"),
        (seen_twice(dates=False), {"target": "load"}, "the time between the visits of 24 patients is not known"),
        (seen_twice(), {"target": "load", "level": 1.0}, "not between 0.5 and 0.99"),
        (seen_twice(), {"target": ["load"]}, "is no label"),
    ],
)
def test_what_cannot_be_foreseen_is_refused(cohort, options, said):
    with pytest.raises(InputError, match=said):
        foresee.pairs(cohort, foresee.build(**options))


def test_when_the_visits_are_equal_no_change_is_foreseen_and_the_interval_has_no_width():
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 9, 30)
    rows = foresee.Rows(rng.normal(size=(30, 4)), first, first.copy(), np.full(30, 0.5))
    made = foresee.fit(rows, head=heads.ridge(strengths=(10.0,)), level=0.9)
    later = made.later(rng.normal(size=(5, 4)), np.arange(5.0), np.full(5, 0.5))
    np.testing.assert_allclose(later, np.arange(5.0)[:, None].repeat(3, axis=1), atol=1e-6)


def test_growth_by_size_and_time_is_found_without_an_image():
    rng = np.random.default_rng(1)
    first, years = rng.uniform(1, 9, 60), rng.uniform(0.2, 2, 60)
    rows = foresee.Rows(np.zeros((60, 1)), first, first * (1 + 0.3 * years), years)
    made = foresee.fit(rows, head=None, level=0.9)
    said = made.later(np.zeros((1, 1)), np.array([10.0]), np.array([1.0]))
    assert said[0, 0] == pytest.approx(13.0)
    now = made.later(np.zeros((1, 1)), np.array([10.0]), np.array([0.0]))
    assert now[0, 0] == pytest.approx(10.0)  # no time, no change


def test_nobody_falls_below_zero_where_nobody_was():
    rng = np.random.default_rng(2)
    first = rng.uniform(0, 5, 40)
    rows = foresee.Rows(np.zeros((40, 1)), first, np.maximum(first + rng.normal(0, 4, 40), 0), np.ones(40))
    made = foresee.fit(rows, head=None, level=0.9)
    assert (made.later(np.zeros((9, 1)), np.zeros(9), np.ones(9)) >= 0).all()


def test_intervals_hold_as_many_new_patients_as_they_say():
    """Counted on 40 fresh draws of 60 patients who teach and 100 new ones: errors that grow with size, and skewed."""
    rng = np.random.default_rng(3)

    def draw(count):
        first, years = rng.gamma(2, 3, count), rng.uniform(0.3, 1.5, count)
        features = rng.normal(size=(count, 3))
        noise = (rng.gamma(1, 1, count) - 1) * (0.2 + 0.3 * first) * years
        return foresee.Rows(features, first, first + years * (0.5 + 0.2 * first + features[:, 0]) + noise, years)

    shares, widths = [], []
    for trial in range(40):
        made = foresee.fit(draw(60), head=None, level=0.8, seed=trial)
        new = draw(100)
        said = made.later(new.features, new.first, new.years)
        shares.append(np.mean((new.later >= said[:, 1]) & (new.later <= said[:, 2])))
        widths.append(np.corrcoef(said[:, 2] - said[:, 1], new.first * new.years)[0, 1])
    assert 0.78 < np.mean(shares) < 0.85  # 4,000 new patients; the standard error between trials is 0.01
    assert np.mean(widths) > 0.5  # wider for the larger and the later


def test_what_an_image_adds_is_found_and_lost_when_changes_are_dealt_out():
    rng = np.random.default_rng(4)
    first, years = rng.uniform(0, 9, 80), np.ones(80)
    features = rng.normal(size=(80, 2))
    rows = foresee.Rows(features, first, first + 3 * features[:, 0] + rng.normal(0, 0.3, 80), years)
    made = foresee.fit(rows, head=heads.ridge(strengths=(1.0,)), level=0.9)
    new = rng.normal(size=(50, 2))
    said = made.change(new, np.full(50, 4.0), np.ones(50))
    assert np.corrcoef(said, new[:, 0])[0, 1] > 0.98
    known = {f"c{n}": foresee.Pair(f"p{n}", f"c{n}", "", first[n], rows.later[n], 365.0) for n in range(80)}
    dealt = foresee_measures.dealt(known, np.random.default_rng(0))
    assert sorted(p.change for p in dealt.values()) == pytest.approx(sorted(p.change for p in known.values()))
    assert all(dealt[case].first == known[case].first for case in known)
    assert np.mean([dealt[case].change == known[case].change for case in known]) < 0.2


def test_too_few_patients_for_the_level_are_refused():
    rows = foresee.Rows(np.zeros((8, 1)), np.ones(8), np.ones(8), np.ones(8))
    with pytest.raises(InputError, match="8 patients are too few for an interval of 90%"):
        foresee.fit(rows, head=None, level=0.9)


def test_what_was_learned_survives_json():
    rng = np.random.default_rng(5)
    rows = foresee.Rows(rng.normal(size=(30, 2)), rng.uniform(1, 2, 30), rng.uniform(2, 3, 30), np.ones(30))
    made = foresee.fit(rows, head=heads.ridge(strengths=(1.0,)), level=0.9)
    assert made.head is not None
    again = foresee.restored(foresee.to_dict(made), made.head)
    asked = (rng.normal(size=(4, 2)), np.ones(4), np.ones(4))
    np.testing.assert_array_equal(made.later(*asked), again.later(*asked))


def test_skill_is_the_share_of_squared_error_saved():
    errors = np.abs(np.random.default_rng(6).normal(size=50))
    assert foresee_measures.skill(errors, errors).value == 0
    assert foresee_measures.skill(errors, 2 * errors).value == pytest.approx(0.75)
    assert foresee_measures.skill(2 * errors, errors).high < 0
    assert not foresee_measures.skill(errors, 0 * errors).defined
