"""Cohorts over people, time and hospitals: every option does what it says, shown on a block instead of a patient."""

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.exams import Patient, Scene, assemble
from radfoundry.simulate.options import CohortOptions
from radfoundry.simulate.sites import Part
from radfoundry.simulate.time import follow_up
from radfoundry.simulate.words import Statement

PART = Part("BLOCK", "MRI block", (0.0, 0.0, 0.0), (60.0, 60.0, 60.0))


def block(lesion_mm=12.0):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -30
    cube = torch.zeros(16, 16, 16)
    cube[2:14, 2:14, 2:14] = 1
    lesion = torch.zeros_like(cube)
    half = round(lesion_mm / 8)
    lesion[8 - half : 8 + half, 8 - half : 8 + half, 8 - half : 8 + half] = 1
    return Body(("white", "plaque"), torch.stack([cube - lesion, lesion]), affine, {"lesion": lesion})


def draw(rng, rate, days):
    diseased = bool(rng.random() < rate)
    body = block() if diseased else block(0.0)
    scenes = [[Scene(lambda: body, PART, ("T1w",))] for _ in days]
    stated = [Statement("tumour", "present" if diseased else "absent")]
    return Patient(50.0, "F", diseased, scenes, {"lesion_present": int(diseased)}, stated, conspicuity=5.0)


def cohort(count=1, **options):
    made = CohortOptions(sequences=("T1w",), **options)
    return [assemble(made, draw, case=case, seed=1) for case in range(count)]


def test_visits_follow_each_other_by_days_and_exams():
    (one,) = cohort(visits=3, visit_interval_days=42.0)
    days = [series.days for series in one.series]
    assert days[0] == 0 and np.all(np.diff(days) > 20) and [series.exam for series in one.series] == [1, 2, 3]


def test_travelling_people_are_scanned_everywhere_with_one_anatomy():
    (one,) = cohort(travelling=True, low_field=True)
    assert len(one.series) == 5 and {series.site for series in one.series} >= {"Harbour Practice"}
    assert len({series.acquisition.field_strength_t for series in one.series}) == 3
    assert [series.exam for series in one.series] == [1, 2, 3, 4, 5] and one.labels["site"] == "travelling"


def test_prevalence_follows_site_and_period():
    people = cohort(16, lesion_rate=0.0, drift_date=20211201, later_lesion_rate=1.0)
    later = np.array([person.person.study_date >= "20211201" for person in people])
    ill = np.array([person.labels["lesion_present"] for person in people])
    assert np.array_equal(later, ill == 1) and 0.2 < later.mean() < 0.8


def test_images_drift_from_their_date_on():
    people = cohort(8, drift_date="20220101", drift_size=1.0)
    plain = cohort(8)
    for drifted, before in zip(people, plain, strict=True):
        ratio = drifted.series[0].degradations["noise"] / before.series[0].degradations["noise"]
        assert ratio == pytest.approx(2.0 if drifted.person.study_date >= "20220101" else 1.0, rel=1e-3)


def test_the_marker_is_tied_to_the_disease():
    people = cohort(10, marker_rate=1.0)
    assert all(person.labels["marker"] == person.labels["lesion_present"] for person in people)


def test_status_only_exists_in_the_diseased_and_changes_their_images_alone():
    ill = cohort(12, lesion_rate=1.0, signal="core", signal_strength=0.5)
    assert 1 < sum(person.labels["status"] for person in ill) < 11
    assert all(person.labels["status"] == 0 for person in cohort(6, lesion_rate=0.0, signal="core"))


def test_follow_up_has_its_median_and_its_censoring():
    rng = np.random.default_rng(0)
    seen = np.array([follow_up(0.0, rng=rng, median_days=700, censored=0.0) for _ in range(3000)])
    assert np.median(seen[:, 0]) == pytest.approx(700, rel=0.05) and seen[:, 1].all()
    hazards = rng.normal(0, 0.6, 3000)
    lost = [follow_up(float(value), rng=rng, censored=0.3)[1] == 0 for value in hazards]
    assert np.mean(lost) == pytest.approx(0.3, abs=0.03)


def test_a_higher_hazard_shortens_follow_up():
    rng = np.random.default_rng(0)
    high, low = ([follow_up(value, rng=rng, censored=0.0)[0] for _ in range(800)] for value in (1.0, -1.0))
    # Weibull with shape 1.2: medians differ by exp(-2 / 1.2) = 0.189 for log hazard ratios of 2.
    assert np.median(high) / np.median(low) == pytest.approx(np.exp(-2 / 1.2), rel=0.2)


def test_labels_of_survival_judges_and_drafts_come_when_asked():
    (one,) = cohort(survival=True, readers=3, vendor="subtle", omission_rate=1.0, lesion_rate=1.0, annotators=2)
    assert {"survival_days", "died", "log_hazard"} <= set(one.labels)
    assert {"vendor", "reader_3_says", "reader_3_aided_score"} <= set(one.judged)
    assert one.draft is not None and one.draft.omitted == ("tumour",)
    assert {"lesion", "lesion-by-accurate", "lesion-by-generous"} == set(one.series[0].truth)
    (plain,) = cohort(lesion_rate=1.0)
    assert not plain.judged and plain.draft is None and "died" not in plain.labels


def test_asking_judges_does_not_change_the_images():
    (one,), (other,) = cohort(), cohort(readers=4, vendor="random", omission_rate=0.5)
    assert np.array_equal(one.series[0].volume.array, other.series[0].volume.array)


def test_a_plane_can_be_asked_for():
    options = CohortOptions(sequences=("T1w",))
    seen = {}
    for plane in ("axial", "sagittal", "coronal"):

        def drawn(rng, rate, days, plane=plane):
            return Patient(50.0, "F", False, [[Scene(block, PART, (f"T1w@{plane}",))]], {}, [])

        made = assemble(options, drawn, case=0, seed=1)
        seen[made.series[0].name] = made.series[0].volume.orientation
    assert seen == {"T1w-axial": "LPS", "T1w-sagittal": "PIL", "T1w-coronal": "LIP"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"lesion_rate": 1.5},
        {"size": "huge"},
        {"visits": 0},
        {"sequences": ["T3w"]},
        {"sequences": ["T1w@upside"]},
        {"signal": "rim"},
        {"vendor": "evil"},
        {"drift_date": "tomorrow"},
        {"annotators": 9},
        {"signal_spread": -1},
    ],
)
def test_requests_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        CohortOptions(**wrong)
