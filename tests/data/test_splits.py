"""Laws of splits: every patient on one side, shares kept, the order of cases without effect, leaks refused."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.data.splits import by_date, by_patient, by_site, by_table, check_split, patient_groups
from radfoundry.records import Case, InputError

PARTS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def cohort(sizes, labels=None):
    """One patient per entry of `sizes`, with that many exams."""
    return [
        Case(f"c{patient}-{exam}", f"p{patient}", labels={} if labels is None else {"y": labels[patient]})
        for patient, size in enumerate(sizes)
        for exam in range(size)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=3, max_size=60), st.integers(0, 1000), st.randoms())
def test_patients_never_cross_and_order_does_not_matter(sizes, seed, random):
    cases = cohort(sizes)
    split = by_patient(cases, parts=PARTS, seed=seed)
    assert set(split) == {case.key for case in cases}
    assert sum(check_split(cases, split).values()) == len(cases)
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert by_patient(shuffled, parts=PARTS, seed=seed) == split
    assert set(split.values()) == set(PARTS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2]), min_size=40, max_size=150), st.integers(0, 99))
def test_shares_hold_in_every_class(labels, seed):
    labels[:2] = [0, 1]
    cases = cohort([1] * len(labels), labels)
    split = by_patient(cases, parts=PARTS, seed=seed, stratify_by="y")
    counts = Counter((case.labels["y"], split[case.key]) for case in cases)
    classes = Counter(labels)
    for value, size in classes.items():
        for part, share in PARTS.items():
            assert abs(counts[value, part] - share * size) <= 2
    for part, share in PARTS.items():
        assert abs(sum(counts[value, part] for value in classes) - share * len(labels)) < 2


def test_another_seed_gives_another_split_and_all_seeds_are_fair():
    cases = cohort([1] * 50)
    tests = Counter(key for seed in range(300) for key, part in by_patient(cases, seed=seed).items() if part == "test")
    # 300 draws with p = 0.2: mean 60, standard deviation 7
    assert len(tests) == 50 and min(tests.values()) > 30 and max(tests.values()) < 90


def test_groups_join_through_patients_and_given_groups():
    cases = cohort([2, 1, 1, 1])
    groups = patient_groups(cases, together=[("c0-0", "c1-0"), ("c1-0", "c3-0"), ("unknown", "c2-0")])
    assert groups == [("c0-0", "c0-1", "c1-0", "c3-0"), ("c2-0",)]


@given(st.integers(0, 50))
def test_near_duplicates_stay_together(seed):
    cases = cohort([1] * 30)
    together = [("c0-0", "c9-0", "c17-0"), ("c9-0", "c20-0")]
    split = by_patient(cases, seed=seed, together=together)
    assert len({split[key] for key in ("c0-0", "c9-0", "c17-0", "c20-0")}) == 1
    check_split(cases, split, together=together)


def test_leaks_are_refused_by_name():
    cases = cohort([2, 1])
    with pytest.raises(InputError, match="1 patient is in more than one part, first p0") as caught:
        check_split(cases, {"c0-0": "train", "c0-1": "test", "c1-0": "train"})
    assert caught.value.finding == "leak"
    with pytest.raises(InputError, match="near-duplicate"):
        check_split(cases, {"c0-0": "train", "c0-1": "train", "c1-0": "test"}, together=[("c0-1", "c1-0")])
    with pytest.raises(InputError, match="not in the cohort"):
        check_split(cases, {"other": "train"})
    check_split(cases, {"c0-0": "train", "c1-0": "test"})  # an exam left out leaks nothing


def test_sites_go_whole_and_a_patient_of_two_sites_is_refused():
    cases = [Case("a", "1", site="x"), Case("b", "2", site="y"), Case("c", "3", site="z"), Case("d", "2", site="y")]
    parts = by_site(cases, test_sites=["y"], validation_sites=["z"])
    assert parts == {"a": "train", "b": "test", "c": "validation", "d": "test"}
    with pytest.raises(InputError, match="no site named w"):
        by_site(cases, test_sites=["w"])
    with pytest.raises(InputError, match="more than one part"):
        by_site([*cases, Case("e", "1", site="y")], test_sites=["y"])
    with pytest.raises(InputError, match="1 case has no site"):
        by_site([*cases, Case("e", "9")], test_sites=["y"])


def test_dates_split_in_time_and_drop_early_exams_of_later_patients():
    cases = [
        Case("a", "1", year=2015),
        Case("b", "2", year=2016),
        Case("c", "2", year=2021),
        Case("d", "3", year=2019),
        Case("e", "4", year=2020),
    ]
    assert by_date(cases, test_from="2020", validation_from="2018") == {
        "a": "train",
        "c": "test",
        "d": "validation",
        "e": "test",
    }
    with pytest.raises(InputError, match="no exam falls into test"):
        by_date(cases, test_from="2030")
    with pytest.raises(InputError, match="has no date"):
        by_date([*cases, Case("f", "9")], test_from="2020")
    with pytest.raises(InputError, match="lies after"):
        by_date(cases, test_from="2018", validation_from="2020")


def test_a_given_table_is_checked():
    cases = cohort([2, 1, 1])
    assert by_table(cases, {"p0": "train", "c1-0": "test"}) == {"c0-0": "train", "c0-1": "train", "c1-0": "test"}
    with pytest.raises(InputError, match="not in the cohort, first 'p9'"):
        by_table(cases, {"p9": "train"})
    with pytest.raises(InputError, match="more than one part"):
        by_table(cases, {"c0-0": "train", "c0-1": "test"})
    with pytest.raises(InputError, match="is given to"):
        by_table(cases, {"p0": "train", "c0-0": "test"})


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="2 independent patients cannot fill 3 parts"):
        by_patient(cohort([5, 5]))
    with pytest.raises(InputError, match="add up to 1"):
        by_patient(cohort([1] * 9), parts={"train": 0.5, "test": 0.2})
    with pytest.raises(InputError, match="'y' is 1 for all 9 cases"):
        by_patient(cohort([1] * 9, [1] * 9), stratify_by="y")
    with pytest.raises(InputError, match="unknown label 'z'"):
        by_patient(cohort([1] * 9), stratify_by="z")


def test_a_misspelt_label_to_stratify_by_names_the_near_one():
    cases = [Case(f"c{i}", f"p{i}", labels={"tumour": i % 2}) for i in range(8)]
    with pytest.raises(InputError, match="did you mean 'tumour'"):
        by_patient(cases, stratify_by="tumor")
    with pytest.raises(InputError, match="did you mean 'tumour'"):
        by_patient(cases, stratify_by="TUMOUR")


def test_a_table_that_gives_nobody_a_part_is_no_split():
    with pytest.raises(InputError, match="no case to a part"):
        by_table(cohort([1, 1]), {})
