"""Groups across a cohort and an outside one: found when there, none when not, counted even when zero."""

import numpy as np
import pytest

from radfoundry.data.same_patient import REASONS, counts, groups, linked_cases
from radfoundry.data.splits import by_patient
from radfoundry.records import Acquisition, Case, Cohort, Series
from radfoundry.volume import Volume


def picture(seed):
    return np.random.default_rng(seed).random((40, 40)).cumsum(0).cumsum(1)


def cohort(*pictures, patients=None, contents=None):
    """One patient and one exam per 2D picture, unless told otherwise."""
    cases = []
    for number, array in enumerate(pictures):
        volume = Volume.of(array, np.eye(4))
        series = Series(
            key=f"s{number}",
            patient=(patients or [f"p{i}" for i in range(len(pictures))])[number],
            case=f"c{number}",
            acquisition=Acquisition(),
            shape=(1, *array.shape, 1),
            spacing_mm=(1, 1, 1),
            content=(contents or [str(i) for i in range(len(pictures))])[number],
            loader=lambda _, volume=volume: volume,
        )
        cases.append(Case(key=series.case, patient=series.patient, series=(series,)))
    return Cohort(tuple(cases))


def reasons(found):
    return [(group.reason, tuple(member.case for member in group.members)) for group in found]


def test_nothing_shared_gives_no_group_and_every_count_zero():
    found = groups(cohort(picture(0), picture(1)), outside=cohort(picture(2), patients=["q"], contents=["z"]))
    assert found == []
    table = counts(found, {"c0": "train"})
    assert list(table) == list(REASONS)
    assert all(value == 0 for row in table.values() for value in row.values())


def test_same_pixels_mirrored_picture_and_two_exams_of_a_patient():
    here = cohort(picture(0), picture(1), picture(2)[::-1], picture(2), patients=list("aabc"), contents=list("xyzw"))
    assert reasons(groups(here)) == [("patient", ("c0", "c1")), ("near", ("c2", "c3"))]
    assert linked_cases(here) == [("c2", "c3")]
    same = cohort(picture(0), picture(1), contents=["x", "x"])
    assert ("pixels", ("c0", "c1")) in reasons(groups(same))


def test_an_outside_set_that_shares_a_patient_and_a_picture():
    here, outside = (
        cohort(picture(0), picture(1)),
        cohort(picture(5), picture(1) + 3, patients=["p0", "q"], contents=["u", "v"]),
    )
    found = groups(here, outside=outside)
    assert [(group.reason, group.crosses) for group in found] == [("patient", True), ("near", True)]
    assert counts(found)["near"]["shared with outside"] == 1
    assert found[1].parts({"c1": "train"}) == ("outside", "train")


def test_features_that_point_the_same_way():
    here = cohort(picture(0), picture(1), picture(2))
    rng = np.random.default_rng(0)
    first = rng.normal(size=8)
    vectors = {"s0": first, "s1": first * 1.0001, "s2": rng.normal(size=8)}
    assert reasons(groups(here, vectors=vectors)) == [("embedding", ("c0", "c1"))]


@pytest.mark.parametrize("seed", range(5))
def test_splits_keep_groups_on_one_side(seed):
    here = cohort(*(picture(number // 2) for number in range(12)), contents=[str(number) for number in range(12)])
    together = linked_cases(here)
    assert len(together) == 6
    parts = by_patient(here.cases, parts={"train": 0.5, "test": 0.5}, seed=seed, together=together)
    found = counts(groups(here), parts)
    assert found["near"]["groups"] == 6 and found["near"]["crossing the split"] == 0
