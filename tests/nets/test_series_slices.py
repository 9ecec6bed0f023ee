"""Reading slices: the same picture however it is stored, what cannot be seen, and files that are refused."""

import numpy as np
import pytest
import torch

from radfoundry.data.series_types import SEQUENCES
from radfoundry.nets import series_slices
from radfoundry.nets.series_slices import SIDE, SliceNet, SliceReader, slices_of
from radfoundry.records import InputError
from radfoundry.volume import Volume

SPACING = np.diag([0.75, 0.75, 4.0, 1.0])


def ball(shape=(200, 240, 11), bright=400.0):
    grid = np.indices(shape, np.float32)
    centre = np.array(shape)[:, None, None, None] / 2
    apart = np.sqrt((((grid - centre) / (np.array(shape)[:, None, None, None] / 2.4)) ** 2).sum(axis=0))
    return np.where(apart < 1, bright * (1.2 - apart), 0).astype(np.float32)


def test_slices_lie_across_the_thick_axis_and_are_scaled_to_the_brightest():
    values = ball()
    seen = slices_of(Volume.of(values, SPACING))
    assert seen.shape[1:] == (SIDE, SIDE) and 3 <= len(seen) <= 9
    assert seen.max() > 200 and seen[:, 0, 0].max() == 0
    moved = slices_of(Volume.of(np.moveaxis(values, 2, 0), np.diag([4.0, 0.75, 0.75, 1.0])))
    assert np.array_equal(seen, moved)


def test_brightness_has_no_unit_and_what_is_below_air_is_air():
    values = ball()
    seen = slices_of(Volume.of(values, SPACING)).astype(int)
    assert np.abs(slices_of(Volume.of(values * 37, SPACING)).astype(int) - seen).max() <= 1
    inside = values > 0
    scored = np.where(inside, (values - values[inside].mean()) / values[inside].std(), 0).astype(np.float32)
    again = slices_of(Volume.of(scored, SPACING)).astype(int)
    assert (again[seen == 0] < 10).all() and again.max() > 200


def test_an_image_larger_than_the_frame_is_cut_around_what_is_bright():
    values = np.zeros((400, 400, 5), np.float32)
    values[300:360, 40:100] = 1
    seen = slices_of(Volume.of(values, np.diag([1.0, 1.0, 3.0, 1.0])))
    assert all(40**2 <= int((piece > 0).sum()) <= 42**2 for piece in seen)


def test_nothing_bright_is_no_answer_and_answers_do_not_follow_the_order_of_slices():
    assert slices_of(Volume.of(np.zeros((8, 8, 4), np.float32), np.eye(4))) is None
    assert series_slices.slice_answer(Volume.of(np.zeros((8, 8, 4), np.float32), np.eye(4))) is None
    torch.manual_seed(0)
    net = SliceNet().eval()
    values = ball(shape=(64, 64, 9))
    said = series_slices.slice_answer(Volume.of(values, SPACING), net=net)
    turned = series_slices.slice_answer(Volume.of(values[..., ::-1], SPACING), net=net)
    assert said.sum() == pytest.approx(1, abs=1e-5) and np.allclose(said, turned, atol=1e-5)


def test_header_and_slices_are_multiplied_and_neither_can_rule_out_alone():
    even = np.full(len(SEQUENCES), 1 / len(SEQUENCES))
    header = np.array([0.5, 0.5] + [0.0] * 12)
    slices = np.array([0.1, 0.9] + [0.0] * 12)
    both = series_slices.together(header, slices)
    assert both[1] / both[0] == pytest.approx((0.9 * 0.9 + 0.1 / 14) / (0.9 * 0.1 + 0.1 / 14))
    assert np.allclose(series_slices.together(header, even), (header + 0.001) / (1 + 0.014))
    assert (series_slices.together(np.eye(14)[0], np.eye(14)[1]) > 0).all()


def test_weights_come_back_and_others_are_refused(tmp_path):
    torch.manual_seed(1)
    reader = SliceReader(SliceNet().eval(), 0.87654)
    series_slices.save(reader, tmp_path / "own.safetensors")
    back = series_slices.load(tmp_path / "own.safetensors")
    assert back.limit == pytest.approx(0.8765)
    x = torch.rand(2, 1, SIDE, SIDE)
    with torch.no_grad():
        assert torch.allclose(back.net(x), reader.net(x), atol=0.02)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"types": "T1 T2"})
    with pytest.raises(InputError, match="made for other types"):
        series_slices.load(tmp_path / "other.safetensors")
