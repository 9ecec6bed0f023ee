"""Windows over a large image, pictures of any size, and what an encoder's spec asks of the preparation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.nets import conv, embedding, picture_size, windows
from radfoundry.records import EncoderSpec, Features, InputError


class Averages:
    """An encoder whose places are the mean of every block of 4 voxels: easy to foretell."""

    spec = EncoderSpec("averages", shape=(16, 16, 16))

    def __init__(self):
        self.seen = 0

    def encode(self, x, present=None):
        self.seen += len(x)
        blocks = torch.nn.functional.avg_pool3d(x, 4)
        return Features(x.mean(dim=(2, 3, 4)), blocks.flatten(2).transpose(1, 2), tuple(blocks.shape[2:]))


def image(*shape, seed=0):
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


def test_one_window_is_the_encoder_itself():
    x = image(16, 16, 16)
    whole, direct = windows.encode_windows(Averages(), x), Averages().encode(x[None])
    assert torch.equal(whole.pooled, direct.pooled) and torch.equal(whole.tokens, direct.tokens)


@settings(deadline=None, max_examples=25)
@given(sizes=st.tuples(*[st.integers(4, 11)] * 3), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_places_lie_where_they_lie_in_the_image(sizes, overlap):
    """Windows that start on the grid of places give exactly what the whole image would."""
    x = image(*(4 * size for size in sizes))
    found = windows.encode_windows(Averages(), x, overlap=overlap)
    for size, n in zip(sizes, found.grid, strict=True):
        assert n == max(size, 4)
    starts = [windows.starts(4 * size, 16, overlap) for size in sizes]
    if all(start % 4 == 0 for axis in starts for start in axis):
        expected = torch.nn.functional.avg_pool3d(windows.filled(x, (16, 16, 16))[None], 4)[0, 0]
        assert torch.allclose(found.tokens.reshape(found.grid), expected, atol=1e-5)


@settings(max_examples=60)
@given(size=st.integers(1, 300), window=st.integers(1, 96), overlap=st.floats(0, 0.9))
def test_windows_cover_an_axis_and_stay_inside(size, window, overlap):
    found = windows.starts(size, window, overlap)
    assert found[0] == 0 and found[-1] == max(0, size - window)
    steps = np.diff(found)
    assert (steps <= max(1, window * (1 - overlap) + 1)).all() and (steps >= 0).all()


def test_air_is_neither_encoded_nor_counted():
    x = torch.zeros(1, 48, 16, 16)
    x[:, :16] = image(16, 16, 16)[0]
    encoder = Averages()
    found = windows.encode_windows(encoder, x)
    assert encoder.seen == 1 and torch.allclose(found.pooled, x[:, :16].mean(dim=(1, 2, 3)))
    assert windows.encode_windows(encoder, torch.zeros(1, 48, 16, 16)).pooled.tolist() == [[0.0]]


def test_batches_do_not_matter():
    x = image(40, 33, 16)
    one, many = (windows.encode_windows(Averages(), x, batch=size) for size in (1, 7))
    assert torch.allclose(one.tokens, many.tokens) and torch.allclose(one.pooled, many.pooled)


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(InputError, match="overlap 1"):
        windows.encode_windows(Averages(), image(16, 16, 16), overlap=1)
    free = Averages()
    free.spec = EncoderSpec("free")
    with pytest.raises(InputError, match="no window of its own"):
        windows.encode_windows(free, image(16, 16, 16))


def test_pictures_of_any_size_come_to_the_encoders_size():
    picture = np.zeros((1, 200, 100, 1), np.float32)
    picture[:, :100] = 1.0  # the left half
    boxed = picture_size.to_size(picture, (64, 64, 1), "letterbox")[0, ..., 0]
    assert boxed.shape == (64, 64) and boxed[:30, 16:48].min() > 0.99 and boxed[:, :15].max() == 0
    cut = picture_size.to_size(picture, (64, 64, 1), "crop")[0, ..., 0]
    assert cut[:30].min() > 0.99 and cut[34:].max() < 0.01
    squashed = picture_size.to_size(picture, (64, 32, 1), "squash")[0, ..., 0]
    assert squashed[:30].min() > 0.99 and squashed.shape == (64, 32)
    assert np.array_equal(picture_size.to_size(boxed[None, ..., None], (64, 64, 1), "crop")[0, ..., 0], boxed)
    with pytest.raises(InputError, match="no way"):
        picture_size.to_size(picture, (64, 64, 1), "stretch")
    with pytest.raises(InputError, match="not a picture"):
        picture_size.to_size(np.zeros((1, 4, 4, 4), np.float32), (64, 64, 1), "crop")


def test_the_spec_decides_window_and_size():
    """FMCIB's spec: the CT window in the plan; a picture encoder's spec: the plan keeps the size."""
    from radfoundry import registry

    plan = embedding.plan_for(registry.build("encoders", "fmcib", untrained={"width": 4}).spec)
    assert plan.intensity == "window" and plan.options == {"center_hu": 1024.0, "width_hu": 4096.0}
    assert plan.shape == (50, 50, 50) and plan.orientation == "SPL"
    assert embedding.plan_for(conv.tiny_2d().spec).shape is None
