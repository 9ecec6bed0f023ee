"""What masks measure against geometry, and whether two outlines agree on it."""

import numpy as np
import pytest

from radfoundry.records import Acquisition, Case, Series
from radfoundry.tasks import segment_measures, segment_scores
from radfoundry.volume import Volume

LABELS = {"ball": (1,)}


def ball(radius, spacing, shape=(40, 40, 24)):
    away = sum(
        ((axis - (n - 1) / 2) * step) ** 2 for axis, n, step in zip(np.indices(shape), shape, spacing, strict=True)
    )
    return (away < radius**2).astype(np.uint8)


def test_a_ball_has_the_volume_and_surface_of_a_ball():
    spacing = (1.0, 1.0, 1.5)
    found = segment_measures.measures(ball(14.0, spacing), LABELS, spacing_mm=spacing)["ball"]
    assert found["volume_ml"] == pytest.approx(4 / 3 * np.pi * 14**3 / 1000, rel=0.02)
    # The surface through voxel midpoints is stepped: some 9 % above a smooth one.
    assert found["surface_cm2"] == pytest.approx(4 * np.pi * 14**2 / 100, rel=0.12)


def test_a_picture_has_area_and_outline_and_nothing_has_volume_zero():
    square = np.zeros((12, 12, 1), np.uint8)
    square[2:8, 2:8] = 1
    found = segment_measures.measures(square, LABELS, spacing_mm=(10.0, 10.0, 1.0))["ball"]
    assert found["area_cm2"] == 36.0
    assert found["outline_cm"] == pytest.approx(24.0, rel=0.1)
    empty = segment_measures.measures(np.zeros((4, 4, 4), np.uint8), LABELS, spacing_mm=(1.0, 1.0, 1.0))["ball"]
    assert empty["volume_ml"] == 0
    assert np.isnan(empty["surface_cm2"])


def series(key, array, name):
    volume = Volume.of(array, np.eye(4))
    return Series(
        key, "p", "c", Acquisition(modality="MR"), volume.array.shape, (1, 1, 1), sequence=name, loader=lambda _: volume
    )


def test_fat_comes_from_a_fraction_image_or_from_fat_and_water_without_the_border():
    mask = ball(9.0, (1.0, 1.0, 1.0))
    fat = np.where(mask > 0, 20.0, 90.0)
    like = Volume.of(mask, np.eye(4))
    whole = Case("c", "p", (series("a", fat, "fat-fraction"),))
    pair = Case("c", "p", (series("a", fat, "Dixon-fat"), series("b", 100 - fat, "Dixon-water")))
    for case in (whole, pair):
        image = segment_measures.fat_image(case, like)
        assert segment_measures.measures(mask, LABELS, spacing_mm=(1, 1, 1), fat=image)["ball"][
            "fat_fraction"
        ] == pytest.approx(0.2)
    assert segment_measures.fat_image(Case("c", "p", (series("a", fat, "T1w"),)), like) is None


def test_growth_is_since_the_last_earlier_exam():
    cases = {
        "c1": Case("c1", "p", date="20200101"),
        "c2": Case("c2", "p", date="20210101", priors=("c1",)),
        "c3": Case("c3", "p", date="20220101", priors=("c1", "c2")),
    }
    rows = [
        {"case": key, "structure": "a", "by": "true", "volume_ml": size}
        for key, size in (("c1", 10.0), ("c2", 20.0), ("c3", 15.0))
    ]
    grown = [row["growth_ml"] for row in segment_measures.with_growth(rows, cases)]
    assert np.isnan(grown[0])
    assert grown[1:] == [10.0, -5.0]


def test_agreement_knows_a_bias_and_one_row_a_patient():
    rows = []
    for number in range(6):
        for by, bias in (("true", 0.0), ("drawn", 2.0)):
            key = {"case": f"c{number}", "patient": f"p{number}", "image": f"i{number}", "structure": "a", "by": by}
            rows.append({**key, "volume_ml": 10.0 * number + bias})
    numbers, limits = segment_measures.agreement(rows, first="drawn", second="true")
    assert numbers["bias-volume_ml-a"].value == pytest.approx(2.0)
    assert 0.95 < numbers["icc-volume_ml-a"].value < 1.0
    assert set(limits) == {"volume_ml-a"}


def test_scores_are_perfect_for_the_truth_and_undefined_for_what_is_not_there():
    truth = ball(6.0, (1.0, 1.0, 1.0), (16, 16, 16))
    labels = {"ball": (1,), "absent": (2,)}
    found = segment_scores.score(truth, truth, labels, spacing_mm=(1, 1, 1), tolerance_mm=1.0)
    table = segment_scores.together([("c", "p", found), ("d", "q", found)], labels)
    assert table.of_image("dice").tolist() == [1.0, 1.0]
    assert table.of_image("hd95_mm").tolist() == [0.0, 0.0]
    assert np.isnan(table.values["dice"][:, 1]).all()
    assert segment_scores.differences(table, table, names=("a", "b"))["a-minus-b/dice"].value == 0.0
    assert set(segment_scores.ranked(table)) == {"best", "median", "worst"}


def test_of_images_with_nothing_on_them_the_share_left_empty_is_told():
    rows = [
        {"patient": who, "image": who, "by": by, "structure": "1", "volume_ml": size}
        for who, true, drawn in (("a", 0.0, 0.0), ("b", 0.0, 2.0), ("c", 3.0, 3.0))
        for by, size in (("true", true), ("drawn", drawn))
    ]
    assert segment_measures.left_empty(rows, drawn="drawn", true="true")["left-empty"].value == 0.5
    assert segment_measures.left_empty(rows[4:], drawn="drawn", true="true") == {}
    all_of_one = segment_measures.left_empty(rows[:2], drawn="drawn", true="true")["left-empty"]
    assert all_of_one.value == 1.0 and all_of_one.low is not None and all_of_one.low < 0.5
