"""Slots: the right series, once, with reasons; people before rules; nothing is guessed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radfoundry.data.slots import Slot, fill
from radfoundry.records import Acquisition, Case, InputError, Series

T1 = Slot("T1", ("T1w",), contrast="without")
T1C = Slot("T1c", ("T1w",), contrast="with")


def series(key, sequence, *, spacing=(1.0, 1.0, 5.0), agent=None, plane="axial"):
    return Series(
        key,
        "p",
        "c",
        Acquisition(modality="MR", contrast_agent=agent),
        (1, 10, 10, 10),
        spacing,
        sequence=sequence,
        plane=plane,
    )


def case(*items):
    return Case("c", "p", tuple(items))


def test_contrast_tells_two_t1_apart():
    filled = fill(case(series("a", "T1w"), series("b", "T1w", agent="stated")), [T1, T1C])
    assert [(item.slot, item.series) for item in filled] == [("T1", "a"), ("T1c", "b")]
    assert dict(filled[0].refused) == {"b": "contrast agent given"}


def test_the_finer_one_wins_and_the_other_is_shown():
    (filled,) = fill(case(series("a", "T1w"), series("b", "T1w", spacing=(1.0, 1.0, 1.0))), [T1])
    assert filled.series == "b" and filled.alternatives[0][0] == "a" and "finest voxels of 2" in filled.reason


@pytest.mark.parametrize(
    ("slot", "reason"),
    [
        (Slot("x", ("T2w",)), "is T1w"),
        (Slot("x", ("T1w",), plane="sagittal"), "plane axial"),
        (Slot("x", ("T1w",), largest_spacing_mm=2), "voxels up to 5.0 mm"),
        (Slot("x", ("T1w",), contrast="with"), "no contrast agent stated"),
    ],
)
def test_every_refusal_has_its_reason(slot, reason):
    (filled,) = fill(case(series("a", "T1w")), [slot])
    assert filled.series is None and filled.refused == (("a", reason),)


def test_unknown_is_never_guessed():
    (filled,) = fill(case(series("a", None)), [T1])
    assert filled.series is None and filled.refused == (("a", "sequence unknown"),)


def test_a_person_goes_before_the_rules_and_keeps_the_series():
    exam = case(series("a", "T1w"), series("b", "T1w", spacing=(1.0, 1.0, 1.0)))
    filled = fill(exam, [T1, Slot("again", ("T1w",))], chosen={"again": "b"})
    assert [item.series for item in filled] == ["a", "b"] and filled[1].reason == "chosen by a person"
    with pytest.raises(InputError, match="not in exam"):
        fill(exam, [T1], chosen={"T1": "z"})


@given(st.lists(st.sampled_from(["T1w", "T2w", "FLAIR", None]), max_size=8), st.randoms())
def test_a_series_is_used_once_and_order_does_not_matter(sequences, shuffled):
    items = [series(f"s{index}", name) for index, name in enumerate(sequences)]
    slots = [T1, Slot("more", ("T1w", "T2w")), Slot("FLAIR", ("FLAIR",))]
    first = fill(case(*items), slots)
    shuffled.shuffle(items)
    second = fill(case(*items), slots)
    assert [item.series for item in first] == [item.series for item in second]
    used = [item.series for item in first if item.series]
    assert len(used) == len(set(used))


def test_bad_slots_are_refused():
    for change in ({"contrast": "maybe"}, {"plane": "flat"}, {"prefer": "luck"}, {"sequence": ()}):
        with pytest.raises(InputError):
            replace(T1, **change)
    with pytest.raises(InputError, match="same name"):
        fill(case(), [T1, T1])
