"""Report drafts: what reports teach, what is stated, what is left open, and how drafts are scored."""

import numpy as np
import pytest

from radfoundry.records import Case, Cohort, InputError
from radfoundry.tasks import drafts, drafts_measures, drafts_scores


def cohort(texts):
    return Cohort(tuple(Case(f"c{n}", f"p{n}", reports=(text,)) for n, text in enumerate(texts)))


LEFT = "FINDINGS: Effusion on the left. Heart size is normal."
RIGHT = "FINDINGS: Effusion on the right. Cardiomegaly."
NONE = "FINDINGS: No effusion. Heart size is normal."


def test_reports_teach_findings_and_sides():
    made = drafts.taught(cohort([LEFT, LEFT, RIGHT, RIGHT, NONE, NONE]), drafts.build(region="chest", fewest=2))
    assert set(made.findings) == {"cardiomegaly", "pleural-effusion"}
    place = {name: n for n, name in enumerate(made.columns)}
    assert made.truth["c0"][place["pleural-effusion|left"]] == 1
    assert made.truth["c2"][place["pleural-effusion|left"]] == 0
    assert made.truth["c4"].sum() == 0


def test_a_report_in_another_language_is_left_out_and_named():
    german = "Kein Nachweis eines Ergusses. Das Herz ist nicht vergrößert und die Lunge ist frei."
    made = drafts.taught(cohort([LEFT, LEFT, NONE, NONE, german]), drafts.build(region="chest", fewest=2))
    assert list(made.refused) == ["c4"]
    assert "c4" not in made.truth


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        ([], {}, "no case has a report"),
        ([NONE, NONE, NONE], {"fewest": 2}, "no finding is stated"),
        ([LEFT, NONE], {"findings": ["pneumothorax"]}, "pneumothorax is stated in fewer"),
        ([LEFT], {"floor": 0.2}, "not between"),
        ([LEFT], {"region": "chast"}, "unknown region"),
        ([LEFT], {"findings": ["efusion"]}, "unknown finding"),
    ],
)
def test_what_cannot_be_taught_is_refused(texts, options, said):
    with pytest.raises(InputError, match=said):
        drafts.taught(cohort(texts), drafts.build(**options))


def test_a_draft_says_what_is_sure_and_reads_back_as_it_was_meant():
    columns = ["pleural-effusion", "pleural-effusion|left", "pleural-effusion|right", "cardiomegaly", "atelectasis"]
    made = drafts.template(columns, np.array([0.9, 0.85, 0.1, 0.1, 0.5]), floor=0.7)
    assert [(item.finding, item.state, item.side) for item in made.sentences] == [
        ("pleural-effusion", "present", "left"),
        ("cardiomegaly", "absent", ""),
    ]
    assert made.open == {"atelectasis": 0.5}
    assert "NOT STATED, too uncertain: atelectasis" in made.text
    (said,) = drafts_measures.said_by([made.text], region="chest")
    assert said["pleural-effusion"].state == "present"
    assert said["pleural-effusion"].sides == ("left",)
    assert said["cardiomegaly"].state == "absent"


def test_a_draft_is_withheld_when_what_must_be_acted_on_is_unsure():
    made = drafts.template(["pneumothorax", "cardiomegaly"], np.array([0.5, 0.9]), floor=0.7)
    assert made.text == ""
    assert made.refused.startswith("pneumothorax is too uncertain")


def test_the_nearest_case_is_of_another_patient():
    teaching = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    rows = drafts.nearest(teaching, teaching[:1], owners=np.array(["a", "b", "c"]), patients=np.array(["a"]))
    assert rows.tolist() == [1]
    with pytest.raises(InputError, match="no other patient"):
        drafts.nearest(teaching, teaching[:1], owners=np.array(["a"] * 3), patients=np.array(["a"]))


def test_scores_against_counts_done_by_hand():
    truth = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)
    said = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], bool)
    made = drafts_scores.finding_scores(truth, said, ["a", "b"])
    assert made["a"]["precision"].value == pytest.approx(2 / 3)
    assert made["a"]["recall"].value == pytest.approx(2 / 3)
    assert made["b"]["f1"].value == 1
    assert made["micro"]["f1"].value == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert made["macro"]["f1"].value == pytest.approx((2 / 3 + 1) / 2)
    assert drafts_scores.f1_difference(truth, said, said).value == 0
    empty = drafts_scores.finding_scores(truth[:, 1:] & False, truth[:, 1:] & False, ["b"])
    assert not empty["b"]["f1"].defined


def test_nothing_right_and_everything_right_still_have_a_width():
    """Nothing right in n patients may be up to z²/(n+z²) of them (Wilson with no hit); F1 is 2J/(1+J) of that share."""
    truth = np.ones((10, 1), bool)
    none = drafts_scores.finding_scores(truth, ~truth, ["a"])["a"]
    upper = 1.96**2 / (10 + 1.96**2)
    assert none["recall"].low == 0 and none["recall"].high == pytest.approx(upper, abs=1e-4)
    assert none["f1"].high == pytest.approx(2 * upper / (1 + upper), abs=1e-4) and not none["precision"].defined
    every = drafts_scores.finding_scores(truth, truth, ["a"])["a"]
    assert every["precision"].high == 1 and every["precision"].low == pytest.approx(1 - upper, abs=1e-4)
    two = drafts_scores.finding_scores(truth, truth, ["a"], patient=np.repeat(["p", "q"], 5))["a"]
    assert two["recall"].low < every["recall"].low


def test_errors_of_drafts_are_counted_by_kind():
    read = drafts_measures.said_by([LEFT, NONE, RIGHT], region="chest")
    wrong = drafts_measures.said_by([RIGHT, RIGHT, ""], region="chest")
    judged = drafts_measures.Judged(
        ("pleural-effusion", "cardiomegaly"), read, {"a": wrong, "b": read}, np.array(["p", "q", "r"])
    )
    metrics = drafts_measures.measure(judged, main="b", against={"b": ("a",)})
    assert metrics["wrong-side-a"].value == pytest.approx(1 / 3)
    assert metrics["invented-a"].value == pytest.approx(3 / 3)  # cardiomegaly twice, an effusion once
    assert metrics["omitted-a"].value == pytest.approx(2 / 3)
    assert metrics["f1-b"].value == 1
    assert metrics["f1-b-minus-a"].value > 0.5
