"""Localising: votes of tokens, the laws they obey, and what the question refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from radfoundry.config import Component
from radfoundry.nets import untrained
from radfoundry.records import Acquisition, Case, Cohort, EncoderSpec, Features, InputError, Series
from radfoundry.tasks import localise, localise_fit, localise_measures
from radfoundry.volume import Volume

SPEC = EncoderSpec("blocks", ("MR",), "RAS", (2.0, 2.0, 2.0), (16, 16, 16), "zscore", 1, 3, width=3)
OBLIQUE = np.array([[0, -2.0, 0.3, 9], [-2.0, 0, 0, 4], [0, 0.3, 2.0, -7], [0, 0, 0, 1.0]])


class Blocks(torch.nn.Module):
    """Tokens of 4 voxels: the mean, and how bright it is to the right and above."""

    spec = SPEC

    def encode(self, x, present=None):
        mean = torch.nn.functional.avg_pool3d(x, 4)
        tokens = torch.cat([mean, mean.roll(1, 2), mean.roll(1, 4)], dim=1)
        return Features(tokens.mean(dim=(2, 3, 4)), tokens.flatten(2).transpose(1, 2), tuple(mean.shape[2:]))


def series_of(volume, key, **more):
    return Series(
        key=key,
        patient=key,
        case=key,
        acquisition=Acquisition(modality="MR"),
        shape=volume.array.shape,
        spacing_mm=volume.spacing_mm,
        loader=lambda _series: volume,
        **more,
    )


def scan(number, affine=OBLIQUE, shape=(16, 14, 12)):
    rng = np.random.default_rng(number)
    return Volume.of(rng.random(shape).astype(np.float32), affine)


def items_of(count):
    found = []
    for number in range(count):
        volume = scan(number)
        middle = localise.middle_mm(volume.geometry)
        place = middle + np.random.default_rng(99 + number).normal(0, 3, 3)
        found.append(localise.Asked(series_of(volume, f"s{number}"), f"s{number}", f"s{number}", place[None], middle))
    return found


def fitted(items):
    return localise_fit.fit(items, [localise_fit.see(item.series, Blocks()) for item in items], near_mm=12.0)


def answer(model, volume):
    return localise_fit.find(model, localise_fit.see(series_of(volume, "new"), Blocks())).points[0]


@pytest.fixture(scope="module")
def model():
    return fitted(items_of(8))


def test_moving_the_scan_moves_the_answer_by_as_much(model):
    volume, shift = scan(20), np.array([13.0, -40.5, 7.25])
    moved = volume.affine.copy()
    moved[:3, 3] += shift
    assert np.allclose(answer(model, replace(volume, affine=moved)), answer(model, volume) + shift, atol=1e-3)


@pytest.mark.parametrize("order", ["LPS", "IRA", "PSL"])
def test_the_order_in_which_voxels_are_stored_changes_nothing(model, order):
    volume = scan(21, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    assert np.allclose(answer(model, volume.reorient(order)), answer(model, volume), atol=1e-2)


def test_the_order_of_the_patients_changes_nothing(model):
    other = fitted(items_of(8)[::-1])
    for name in ("far", "near", "usual"):
        assert np.allclose(getattr(other, name), getattr(model, name), atol=1e-6)


def test_features_that_say_where_they_are_find_the_place_exactly():
    # Everybody is the same body, put elsewhere in the scan: tokens are places in the body.
    rng = np.random.default_rng(0)
    grid = np.indices((9, 9, 9)).reshape(3, -1).T * 10.0 - 40.0
    items, seen = [], []
    for number in range(9):
        shift = rng.normal(0, 15, 3)
        blank = series_of(Volume.of(np.zeros((2, 2, 2)), np.eye(4)), f"p{number}")
        points = np.array([[5.0, -3, 11]]) + shift
        items.append(localise.Asked(blank, blank.key, blank.key, points, np.zeros(3)))
        seen.append(localise_fit.Seen((grid - shift).astype(np.float32), grid))
    learned = localise_fit.fit(items[:8], seen[:8], near_mm=30.0)
    found = localise_fit.find(learned, seen[8])
    assert np.linalg.norm(found.points[0] - items[8].points[0]) < 0.1
    assert found.spread_mm < 0.1
    assert np.linalg.norm(localise_fit.usual_place(learned, items[8]) - items[8].points[0]) > 5


def test_a_ridge_from_sums_is_the_ridge_of_the_rows():
    # The punishment written as 3 more rows that ask for weights of 0, solved by least squares.
    rng = np.random.default_rng(3)
    rows, answers = rng.normal(2, [1, 5, 0.2], (60, 3)), rng.normal(size=(60, 2))
    own = localise_fit._ridge(localise_fit._sums(rows, answers), 0.1)
    spread = rows.std(axis=0)
    centred = np.vstack([(rows - rows.mean(axis=0)) / spread, np.sqrt(0.1 * 60) * np.eye(3)])
    wanted = np.vstack([answers - answers.mean(axis=0), np.zeros((3, 2))])
    oracle = np.linalg.lstsq(centred, wanted, rcond=None)[0] / spread[:, None]
    assert np.allclose(own[:-1], oracle, atol=1e-6)


def test_a_cut_keeps_the_place_and_what_is_left_of_the_scan():
    item = items_of(1)[0]
    left = localise.cut(item, 0.45, seed=5)
    volume = left.series.load()
    assert volume.array.size < scan(0).array.size
    assert localise.beyond_mm(volume.geometry, item.points[0]) == 0
    assert np.array_equal(left.points, item.points)
    assert np.isin(volume.array, scan(0).array).all()


def test_dealt_places_are_those_of_other_patients():
    items = items_of(6)
    given = localise.dealt(items, rng=np.random.default_rng(0))
    offsets = [tuple(np.round(item.points[0] - item.centre_mm, 6)) for item in items]
    dealt = [tuple(np.round(item.points[0] - item.centre_mm, 6)) for item in given]
    assert sorted(offsets) == sorted(dealt)
    assert all(own != other for own, other in zip(offsets, dealt, strict=True))


def test_errors_are_distances_and_identical_boxes_overlap_wholly():
    items = items_of(5)
    shift = np.array([3.0, 4.0, 12.0])
    assert np.allclose(localise_measures.errors_mm(items, [item.points + shift for item in items]), 13.0)
    box = np.array([[1.0, 1, 1], [0, 0, 0], [2, 2, 2]])
    assert localise_measures.overlap(box, box) == 1.0
    assert localise_measures.overlap(box, box + 5) == 0.0


def test_the_box_of_a_mask_goes_round_its_voxels():
    drawn = np.zeros((6, 6, 6), np.uint8)
    drawn[1:3, 2, 4] = 2
    mask = series_of(Volume.of(drawn, np.diag([2.0, 3.0, 4.0, 1.0])), "m")
    points = localise.box_points(mask, (2,))
    assert points is not None
    assert np.allclose(points, [[3, 6, 16], [1, 4.5, 14], [5, 7.5, 18]])
    assert localise.box_points(mask, (7,)) is None


def landmark_cohort(*places):
    cases = []
    for number, place in enumerate(places):
        labels = {} if place is None else dict(zip(("eye_x_mm", "eye_y_mm", "eye_z_mm"), place, strict=True))
        cases.append(Case(f"c{number}", f"c{number}", (series_of(scan(number), f"c{number}"),), labels=labels))
    return Cohort(tuple(cases))


def test_places_come_from_three_labels_and_missing_ones_are_noted():
    middle = tuple(localise.middle_mm(scan(0).geometry))
    items, notes = localise.asked(landmark_cohort(middle, None, middle), localise.build(target="eye"), {})
    assert [item.case for item in items] == ["c0", "c2"]
    assert notes == ["1 exam without the landmark left out"]


def test_exams_without_a_mask_and_masks_without_the_structure_are_told_apart():
    def exam(number, value):
        image = series_of(scan(number), f"c{number}")
        if value is None:
            return Case(f"c{number}", f"c{number}", (image,))
        drawn = Volume.of(np.full(image.shape[1:], value, np.uint8), scan(number).affine)
        mask = replace(series_of(drawn, f"m{number}"), acquisition=Acquisition(modality="SEG"))
        return Case(f"c{number}", f"c{number}", (image, mask))

    cohort = Cohort(tuple(exam(number, value) for number, value in enumerate((2, 1, None, 1, 2))))
    items, notes = localise.asked(cohort, localise.build(structure=2), {})
    assert [item.case for item in items] == ["c0", "c4"]
    assert notes == ["1 exam without a mask left out", "2 images whose mask lacks the structure left out"]


@pytest.mark.parametrize(
    ("cohort", "options", "said"),
    [
        (((None,)), {"target": "eye"}, "no case has eye_x_mm"),
        ((((1.0, float("nan"), 2.0),)), {"target": "eye"}, "is no place"),
        ((((1.0, "left", 2.0),)), {"target": "eye"}, "is no place"),
        ((((500.0, 0.0, 0.0),)), {"target": "eye"}, "outside 1 of 1 scans"),
        (((None,)), {}, "no image has a mask"),
        (((None,)), {"target": "eye", "structure": 1}, "both given"),
        (((None,)), {"structure": 0}, "task.structure"),
        (((None,)), {"target": "eye", "near_mm": -1}, "task.near_mm"),
        (((None,)), {"target": "eye", "cut": 0.6}, "task.cut"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(cohort, options, said):
    with pytest.raises(InputError, match=said) as caught:
        localise.asked(landmark_cohort(*cohort), localise.build(**options), {})
    assert "\n" not in str(caught.value)


def test_too_few_patients_for_the_folds_are_refused():
    with pytest.raises(InputError, match="3 patients"):
        localise.folds(["a", "b", "c"], 5, seed=0)


def test_an_encoder_has_an_untrained_twin_only_where_it_was_trained(tmp_path):
    from radfoundry import registry
    from radfoundry.nets import checkpoint

    assert untrained.twin(Component(name="conv3d-tiny")) is None
    trained = registry.build("encoders", "conv3d-tiny", seed=7)
    checkpoint.save(trained, tmp_path / "e.safetensors", builder="conv3d-tiny")
    twin = untrained.twin(Component(name=str(tmp_path / "e.safetensors")))
    assert twin.spec == trained.spec
    assert not torch.allclose(checkpoint.embed_probe(twin), checkpoint.embed_probe(trained))


def test_a_share_of_all_patients_has_an_interval_with_width():
    items = items_of(12)
    right = [item.points for item in items]
    answers = {localise_measures.OURS: right, localise_measures.USUAL: right}
    found = localise_measures.measures(items, answers, within_mm=10.0, seed=0)
    share, gap = found["within-10-mm"], found["localiser-minus-mean-place/within-10-mm"]
    assert share.value == 1.0 and share.low == pytest.approx(12 / (12 + 1.959964**2))  # Wilson, all of 12
    assert gap.value == 0.0 and gap.low < 0 < gap.high
