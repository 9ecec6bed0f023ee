"""Free-response curves and figures of merit against hand-worked cases, slow counting, RJafroc, and laws."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.auc import auroc
from radfoundry.stats.froc import froc
from radfoundry.stats.jafroc import FIGURES, jackknife, jafroc, jafroc_difference, jafroc_table
from radfoundry.stats.marks import Marks, box_overlap, hits_by_rank, marks_from_boxes, marks_from_points
from radfoundry.stats.mrmc import compare_arms

# Two normal cases and three with lesions; ratings chosen so that every rule is touched.
WORKED = Marks.of(
    case=["n1", "n1", "a", "a", "b", "c", "c"],
    rating=[4, 1, 5, 3, 2, 4, 4],
    lesion=[-1, -1, 0, -1, 0, 1, -1],
    lesions={"n1": 0, "n2": 0, "a": 1, "b": 1, "c": 2},
)


def simulate(seed, normal=25, diseased=25, skill=1.0):
    rng = np.random.default_rng(seed)
    case, rating, lesion, lesions = [], [], [], {}
    for index in range(normal + diseased):
        name = f"case{index}"
        lesions[name] = 0 if index < normal else int(rng.integers(1, 4))
        for _ in range(rng.poisson(0.8)):
            case.append(name)
            rating.append(round(rng.normal(), 1))
            lesion.append(-1)
        for number in range(lesions[name]):
            if rng.random() < 0.75:
                case.append(name)
                rating.append(round(rng.normal(skill), 1))
                lesion.append(number)
    return Marks.of(case, rating, lesion, lesions=lesions)


def slow_figure(marks, figure):
    """The definition, one comparison at a time."""

    def highest(index, false_only):
        rows = (marks.case == index) & ((marks.lesion == -1) if false_only else True)
        return marks.rating[rows].max() if rows.any() else -np.inf

    controls = [i for i in range(len(marks.cases)) if figure.endswith("1") or marks.lesions[i] == 0]
    diseased = [i for i in range(len(marks.cases)) if marks.lesions[i] > 0]
    total = weight_sum = 0.0
    for case in diseased:
        if figure == "highest":
            ratings, weights = [highest(case, False)], [1.0]
        else:
            ratings = []
            for number in range(marks.lesions[case]):
                rows = (marks.case == case) & (marks.lesion == number)
                ratings.append(marks.rating[rows].max() if rows.any() else -np.inf)
            weights = [1 / len(ratings) if figure.startswith("w") else 1.0] * len(ratings)
        for rating, weight in zip(ratings, weights, strict=True):
            weight_sum += weight
            for control in controls:
                other = highest(control, figure != "highest")
                total += weight * (1.0 if rating > other else 0.5 if rating == other else 0.0)
    return total / (weight_sum * len(controls))


def test_worked_figures_of_merit():
    # Surest false marks: n1 4, n2 none. Lesions: a 5, b 2, c1 unmarked, c2 4. By hand:
    # against n1: a 1, b 0, c1 0, c2 1/2; against n2: a 1, b 1, c1 1/2, c2 1. AFROC = 5 / 8.
    assert jafroc(WORKED, figure="afroc").value == pytest.approx(5 / 8)
    # Case weights: c's lesions count half each. (1 + 0 + 1/4) + (1 + 1 + 3/4) over 6.
    assert jafroc(WORKED, figure="wafroc").value == pytest.approx(4 / 6)
    # Surest marks: n1 4, n2 none; a 5, b 2, c 4: (1 + 0 + 1/2) + 3 over 6.
    assert jafroc(WORKED, figure="highest").value == pytest.approx(4.5 / 6)


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_slow_counting(figure, seed):
    marks = simulate(seed)
    assert jafroc(marks, figure=figure).value == pytest.approx(slow_figure(marks, figure))


@pytest.mark.parametrize("figure", FIGURES)
def test_jackknife_really_leaves_patients_out(figure):
    marks = simulate(7, 8, 8)
    value, left_out = jackknife(marks, figure=figure)
    assert value == pytest.approx(slow_figure(marks, figure))
    for place, name in enumerate(np.unique(marks.cases)):
        rest = [case for case in marks.cases if case != name]
        rows = marks.cases[marks.case] != name
        counts = dict(zip(marks.cases, marks.lesions.tolist(), strict=True))
        fewer = Marks.of(
            marks.cases[marks.case][rows], marks.rating[rows], marks.lesion[rows], lesions={c: counts[c] for c in rest}
        )
        assert left_out[place] == pytest.approx(slow_figure(fewer, figure))


def test_highest_is_the_area_under_the_roc_curve():
    marks = simulate(1)
    highest = np.where(np.isinf(marks.highest()), -99, marks.highest())
    assert jafroc(marks, figure="highest").value == pytest.approx(auroc((marks.lesions > 0).astype(int), highest).value)


def test_laws_of_the_figures():
    marks = simulate(3)
    moved = Marks(marks.case, np.exp(marks.rating), marks.lesion, marks.cases, marks.lesions, marks.patient)
    silent = Marks.of([], [], [], lesions=dict(zip(marks.cases, marks.lesions.tolist(), strict=True)))
    for figure in FIGURES:
        assert jafroc(moved, figure=figure).value == pytest.approx(jafroc(marks, figure=figure).value)
        assert jafroc(silent, figure=figure).value == 0.5
    perfect = Marks.of(["a", "n"], [2, 1], [0, -1], lesions={"a": 1, "n": 0})
    assert jafroc(perfect, figure="afroc").value == 1.0
    sick = Marks.of(["a"], [2], [0], lesions={"a": 1, "b": 1})
    found = jafroc(sick, figure="wafroc")
    assert not found.defined and "wafroc1" in found.note
    assert jafroc(sick, figure="wafroc1").defined
    assert not jafroc(Marks.of([], [], [], lesions={"a": 0})).defined


def test_cases_of_one_patient_leave_together():
    marks = simulate(5)
    doubled_names = [f"{name}{side}" for side in "LR" for name in marks.cases]
    lesions = dict(zip(doubled_names, np.tile(marks.lesions, 2).tolist(), strict=True))
    patient = {name: name[:-1] for name in doubled_names}
    case = [f"{name}{side}" for side in "LR" for name in marks.cases[marks.case]]
    doubled = Marks.of(case, np.tile(marks.rating, 2), np.tile(marks.lesion, 2), lesions=lesions, patient=patient)
    one, two = jafroc(marks), jafroc(doubled)
    assert two.value == pytest.approx(one.value)
    assert two.high - two.low == pytest.approx(one.high - one.low, rel=0.05)


def test_paired_test_finds_a_difference_and_needs_the_same_truth():
    good, poor = simulate(11, 60, 60, skill=2.5), simulate(11, 60, 60, skill=0.3)
    found = jafroc_difference([good], [poor])
    assert found.low > 0 and found.p_value < 0.001
    turned = jafroc_difference([poor], [good])
    assert turned.value == pytest.approx(-found.value) and turned.p_value == pytest.approx(found.p_value)
    assert jafroc_difference([good], [good]).value == 0
    with pytest.raises(InputError, match="different cases"):
        jafroc_difference([good], [simulate(1)])


def test_worked_curve():
    # By falling rating: lesion a; then c2 beside false marks on n1 and c; then false a; then lesion b; then false n1.
    found = froc(WORKED, rates=(0.4, 0.6, 5.0), draws=200)
    assert found.threshold.tolist() == [5, 4, 3, 2, 1]
    assert found.sensitivity.tolist() == [0.25, 0.5, 0.5, 0.75, 0.75]
    assert found.false_positives.tolist() == pytest.approx([0, 0.4, 0.6, 0.6, 0.8])
    assert found.at[0.4].value == 0.5 and found.at[0.6].value == 0.75
    # No extrapolation beyond the last mark, and the mean is the mean.
    assert found.at[5.0].value == 0.75
    assert found.mean.value == pytest.approx((0.5 + 0.75 + 0.75) / 3)
    halfway = froc(WORKED, rates=(0.2,), draws=200).at[0.2]
    assert halfway.value == pytest.approx(0.375)
    normal = froc(WORKED, rates=(1.0,), per="normal", draws=200)
    assert normal.false_positives.tolist() == [0, 0.5, 0.5, 0.5, 1.0]


def test_curve_is_monotone_with_a_band_around_it():
    found = froc(simulate(2), draws=500)
    assert (np.diff(found.sensitivity) >= 0).all() and (np.diff(found.false_positives) >= 0).all()
    assert (found.low <= found.middle + 1e-12).all() and (found.high >= found.middle - 1e-12).all()
    assert found.mean.low < found.mean.value < found.mean.high
    assert set(found.curve("reader")) >= {"name", "false_positives", "sensitivity", "low", "high"}
    assert not froc(Marks.of([], [], [], lesions={"a": 0})).mean.defined
    assert froc(Marks.of([], [], [], lesions={"a": 1, "b": 2}), draws=50).mean.value == 0.0


def test_a_lesion_hit_twice_counts_once_and_not_as_false():
    twice = Marks.of(["a", "a", "a"], [1, 3, 2], [0, 0, -1], lesions={"a": 1})
    assert twice.rating.tolist() == [3, 2] and twice.false.tolist() == [False, True]


def test_matching_of_boxes_and_points():
    overlap = box_overlap([[0, 0, 0, 2, 2, 2]], [[1, 1, 1, 3, 3, 3], [0, 0, 0, 2, 2, 2]])
    assert overlap.tolist() == [[pytest.approx(1 / 15), 1.0]]
    marks = marks_from_boxes(
        [[[0, 0, 10, 10], [0, 0, 9, 10], [50, 50, 60, 60]], []],
        [[0.6, 0.9, 0.3], []],
        [[[0, 0, 10, 10]], [[5, 5, 8, 8]]],
        threshold=0.5,
    )
    # The surer box takes the lesion; the better one is its duplicate and disappears; the third is false.
    assert sorted(marks.rating.tolist()) == [0.3, 0.9] and marks.lesions.tolist() == [1, 1]
    points = marks_from_points([[[0.0, 0, 0], [0, 0, 4.0]]], [[1, 2]], [[[0.0, 0, 3.0], [0, 0, 30]]], radius_mm=5.0)
    assert points.lesion.tolist() == [0] and points.rating.tolist() == [2]
    # The surest chooses its nearest; the next takes what is left within reach.
    table = np.array([[0.9, 0.6], [0.8, 0.1]])
    assert hits_by_rank(table, np.array([2.0, 1.0]), 0.5).tolist() == [0, 0]
    assert hits_by_rank(table, np.array([1.0, 2.0]), 0.5).tolist() == [1, 0]
    with pytest.raises(InputError, match="upside down"):
        box_overlap([[2, 2, 1, 1]], [[0, 0, 1, 1]])
    with pytest.raises(InputError, match="unknown case"):
        Marks.of(["x"], [1], [-1], lesions={"a": 0})
    with pytest.raises(InputError, match="does not have"):
        Marks.of(["a"], [1], [1], lesions={"a": 1})


@pytest.mark.data
def test_five_readers_two_modalities_equal_rjafroc():
    # FROC dataset01 ("TONY") with the figures of merit and the Obuchowski-Rockette analysis of RJafroc.
    import pandas as pd

    folder = Path(os.environ.get("RADFOUNDRY_DATA", "")) / "stats_reference"
    if not folder.is_dir():
        pytest.skip("set RADFOUNDRY_DATA")
    rows = pd.read_csv(folder / "froc_dataset01_tony.csv")
    reference = json.loads((folder / "references.json").read_text())["froc_dataset01"]
    truth = rows[rows.type == "LL"].groupby("case").lesion.max()
    lesions = {case: int(truth.get(case, 0)) for case in range(1, 186)}
    assert sum(lesions.values()) == reference["lesions_total"]
    arms = []
    for modality in reference["modalities"]:
        arm = []
        for reader in sorted(rows.reader.unique()):
            one = rows[(rows.modality == modality) & (rows.reader == reader) & rows.rating.notna()]
            lesion = np.where(one.type == "LL", one.lesion.fillna(0) - 1, -1).astype(int)
            arm.append(Marks.of(one.case, one.rating, lesion, lesions=lesions))
        arms.append(arm)
    tables = reference["rows_are_modalities_columns_are_readers"]
    for figure, name in (("highest", "HrAuc"), ("wafroc1", "wAFROC1"), ("afroc1", "AFROC1")):
        assert jafroc_table(arms, figure=figure)[0] == pytest.approx(np.array(tables[name]), abs=1e-9)
    analysis = reference["obuchowski_rockette_hr_auc"]
    for figure in ("wafroc", "afroc", "highest"):
        figures, covariance = jafroc_table(arms, figure=figure)
        if np.allclose(figures, analysis["FOMs"]["foms"]):
            break
    else:
        pytest.fail("no figure of merit gives the published table")
    assert figure == "wafroc"
    found = compare_arms(figures, covariance, arms=("BT", "DM"), cases=185)
    expected = analysis["RRRC"]["ciDiffTrt"][0]
    estimate = found.differences[0].estimate
    assert estimate.value == pytest.approx(expected["Estimate"], abs=1e-9)
    assert [estimate.low, estimate.high] == pytest.approx([expected["CILower"], expected["CIUpper"]], abs=1e-8)
    assert estimate.p_value == pytest.approx(expected["PrGTt"], rel=1e-6)
    # Fixed readers give the same difference with a narrower interval.
    fixed = jafroc_difference(arms[0], arms[1])
    assert fixed.value == pytest.approx(expected["Estimate"]) and fixed.p_value < expected["PrGTt"]


def test_nothing_found_in_few_patients_is_not_known_to_be_nothing():
    cases = {f"c{n}": int(n < 6) for n in range(10)}
    nothing = froc(Marks.of(["c7"], [1.0], [-1], lesions=cases), rates=(1.0,), draws=50)
    everything = froc(Marks.of([f"c{n}" for n in range(6)], [1.0] * 6, [0] * 6, lesions=cases), rates=(1.0,), draws=50)
    z2 = 1.959964**2  # Wilson's limits of 0 and of 6 of 6 patients with lesions
    assert nothing.at[1.0].low == 0 and nothing.at[1.0].high == pytest.approx(z2 / (6 + z2))
    assert everything.at[1.0].high == 1 and everything.at[1.0].low == pytest.approx(6 / (6 + z2))
    assert nothing.mean.high > 0
