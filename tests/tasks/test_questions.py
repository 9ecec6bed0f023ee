"""Questions settle their kind from the labels, and refuse labels that answer nothing."""

import math

import pytest

from radfoundry import registry
from radfoundry.records import Case, Cohort, InputError
from radfoundry.tasks import questions


def cohort(values, name="finding"):
    return Cohort(tuple(Case(f"c{i}", f"p{i}", labels={} if v is None else {name: v}) for i, v in enumerate(values)))


@pytest.mark.parametrize(
    ("values", "kind", "coded"),
    [
        ([0, 1, 1], "binary", [0, 1, 1]),
        (["yes", "no", "yes"], "binary", [1, 0, 1]),
        (["positive", "negative"], "binary", [1, 0]),
        (["b", "a", "c", "a"], "multiclass", [1, 0, 2, 0]),
        ([True, False], "binary", [1, 0]),
    ],
)
def test_kinds_and_codes(values, kind, coded):
    task, truth = questions.answers(cohort(values), questions.classify(target="finding"))
    assert task.kind == kind and list(truth.values()) == coded


def test_unanswered_cases_are_left_out():
    _, truth = questions.answers(cohort([1.5, None, math.nan, 2.5]), questions.regress(target="finding"))
    assert truth == {"c0": 1.5, "c3": 2.5}


def test_unknown_is_no_class_of_its_own():
    task, truth = questions.answers(cohort(["yes", "unknown", "no", "?"]), questions.classify(target="finding"))
    assert task.kind == "binary" and truth == {"c0": 1, "c2": 0}


@pytest.mark.parametrize(
    ("values", "task", "said"),
    [
        ([None, None], questions.classify(target="finding"), "no case has it"),
        ([1, 1, 1], questions.classify(target="finding"), "all 3 cases have the same value 1"),
        (["a", "b"], questions.regress(target="finding"), "not a number"),
        ([1.0, math.inf], questions.regress(target="finding"), "not finite"),
        ([True, False], questions.regress(target="finding"), "yes or no, not a quantity"),
        (list(range(30)), questions.classify(target="finding"), "too many classes"),
        ([1.5, 2.25, 3.5, 4.75, 5.5, 6.5], questions.classify(target="finding"), "task regress .* finding>NUMBER"),
    ],
)
def test_labels_that_answer_nothing_are_refused(values, task, said):
    with pytest.raises(InputError, match=said):
        questions.answers(cohort(values), task)


def test_age_sex_and_site_may_be_asked_without_a_label_table():
    people = Cohort((Case("a", "p", age_years=30.0), Case("b", "q", age_years=60.0)))
    _, truth = questions.answers(people, questions.age())
    assert truth == {"a": 30.0, "b": 60.0}


@pytest.mark.parametrize(
    ("name", "said"), [("Finding", "did you mean 'finding'"), ("findng", "did you mean 'finding'")]
)
def test_a_label_of_nearly_the_same_name_is_named(name, said):
    with pytest.raises(InputError, match=said):
        questions.answers(cohort([0, 1]), questions.classify(target=name))


def test_one_label_of_closed_questions_is_a_word_and_not_its_letters():
    assert registry.build("tasks", "answer", targets="finding").target == "finding"
    assert registry.build("tasks", "classify", target="finding").target == "finding"


@pytest.mark.parametrize(
    "asked",
    [
        lambda name: questions.answer(targets=[name]),
        lambda name: questions.classify(target=[name, "b"]),
        lambda name: questions.survive(time=name, event="b"),
    ],
)
def test_a_name_with_a_comma_is_not_taken_for_two_labels(asked):
    with pytest.raises(InputError, match="cannot take a name with a comma"):
        asked("response, imaging")
    assert questions.classify(target="response, imaging").target == "response, imaging"
