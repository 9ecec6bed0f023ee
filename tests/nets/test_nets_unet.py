"""Networks that outline: folding is lossless, whole equals windows where it must, labels equal a slow oracle."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from radfoundry.nets import bundled, conv, decoders, encoder_maps, vit
from radfoundry.nets.unet import UNet, folded, unfolded
from radfoundry.nets.unet_inference import Reading, labels_on, scores_of, sliding, soft_window, whole_bytes
from radfoundry.records import InputError

SIZES = encoder_maps.Sizes(3, (8, 16), ((2, 2, 2),), (2, 2, 2))
SHAPE = (16, 16, 8)


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("fold", [(2, 2, 2), (2, 2, 1), (1, 2, 1)])
def test_unfolding_undoes_folding(fold):
    x = noise(2, 3, 4, 8, 4)
    assert torch.equal(unfolded(folded(x, fold), fold), x)


def test_a_flat_unet_mixes_no_slices():
    net = UNet(channels=1, classes=2, widths=(8, 16), strides=((2, 2, 1),), fold=(2, 2, 1))
    x = noise(1, 1, 8, 8, 1)
    assert net(x).shape == (1, 2, 8, 8, 1)
    assert net.multiple == (4, 4, 1)


def test_features_have_no_effect_before_learning_and_one_afterwards():
    plain = decoders.unet(SIZES, seed=3)
    made = decoders.segmenter(vit.tiny(), SIZES, SHAPE, decoder="light", rung="frozen", seed=3)
    x = noise(1, 1, *SHAPE)
    before = made(x)
    for part in made.decoder.net.inject.parameters():
        torch.nn.init.constant_(part, 0.1)
    assert before.shape == plain(x).shape == (1, 3, *SHAPE)
    assert not torch.allclose(made(x), before)


@pytest.mark.parametrize(
    ("build", "decoder"),
    [
        (vit.tiny, "light"),
        (vit.tiny, "multi-block"),
        (conv.tiny, "light"),
        (lambda: bundled.build(untrained_seed=1), "light"),
        (lambda: bundled.build(untrained_seed=1), "multi-block"),
    ],
)
def test_only_the_decoder_of_a_frozen_encoder_learns(build, decoder):
    encoder = build()
    made = decoders.segmenter(encoder, SIZES, SHAPE, decoder=decoder, rung="frozen", seed=0)
    scores = made(noise(2, 1, *SHAPE))
    assert scores.shape == (2, 3, *SHAPE)
    scores.sum().backward()
    assert all(value.grad is None for value in encoder.parameters())
    learning = [value.grad is not None for group in made.groups(1e-3, 0.1) for value in group["params"]]
    assert all(learning)


def test_upper_rungs_leave_the_given_encoder_alone_and_learn_more():
    encoder = vit.tiny()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    for rung, more in (("adapter", "added."), ("full", "encoder.")):
        made = decoders.segmenter(encoder, SIZES, SHAPE, decoder="light", rung=rung, seed=0)
        made(noise(1, 1, *SHAPE)).sum().backward()
        assert any(name.startswith(more) for name in made.state())
        again = decoders.segmenter(encoder, SIZES, SHAPE, decoder="light", rung=rung, seed=5)
        again.restore(made.state())
        assert torch.allclose(again(noise(1, 1, *SHAPE)), made(noise(1, 1, *SHAPE)), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_the_multi_block_decoder_reaches_the_voxels_of_any_size():
    made = decoders.segmenter(vit.tiny(), SIZES, (12, 14, 10), decoder="multi-block", rung="frozen", seed=0)
    for shape in ((12, 14, 10), (9, 16, 17)):
        assert made(noise(1, 1, *shape)).shape == (1, 3, *shape)


def test_an_encoder_without_blocks_is_refused_by_the_multi_block_decoder():
    with pytest.raises(InputError, match="no transformer blocks"):
        decoders.segmenter(conv.tiny(), SIZES, SHAPE, decoder="multi-block", rung="frozen", seed=0)


class Voxelwise(torch.nn.Module):
    """Scores that depend on the voxel alone: windows must then agree with the whole image."""

    multiple = (1, 1, 1)
    fold = (1, 1, 1)

    def forward(self, x):
        return torch.cat([x, 1 - x], dim=1)


def test_windows_give_what_the_whole_image_gives_when_scores_are_of_the_voxel_alone():
    image = noise(1, 21, 13, 9)
    seen = sliding(Voxelwise(), image, Reading((8, 8, 16), 2, 4))
    assert torch.allclose(seen, Voxelwise()(image[None])[0], atol=1e-5)
    assert float(soft_window((9, 9, 9)).max()) == 1.0


def test_a_small_allowance_reads_in_windows_and_too_small_a_one_is_refused():
    image, model = noise(1, 24, 24, 24), decoders.unet(SIZES, seed=0).eval()
    needed = whole_bytes(model, (24, 24, 24), width=8, classes=3)
    scores_only = 8 * 24**3 * 3
    assert scores_only < needed
    how = Reading((16, 16, 16), 3, 8, memory_bytes=scores_only + 1)
    assert scores_of(model, image, how).shape == (3, 24, 24, 24)
    with pytest.raises(InputError, match="GB of memory"):
        scores_of(model, image, Reading((16, 16, 16), 3, 8, memory_bytes=1000))


@pytest.mark.parametrize(("seed", "shape"), [(0, (12, 20, 11)), (1, (20, 12, 11)), (2, (90, 70, 1))])
def test_labels_on_a_finer_grid_are_those_of_interpolated_scores(seed, shape):
    """Oracle: every class interpolated over the whole grid by scipy, then the highest."""
    rng = np.random.default_rng(seed)
    smooth = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 2) for _ in range(4)])
    scores = torch.from_numpy(smooth.astype(np.float32))
    places = [np.linspace(-0.4, n - 0.6, int(n * 1.7)) for n in scores.shape[1:]]
    points = np.stack(np.meshgrid(*places, indexing="ij"))
    oracle = np.stack([ndimage.map_coordinates(part, points, order=1, mode="nearest") for part in smooth])
    found = labels_on(scores, places)
    best = np.take_along_axis(oracle, found[None].astype(int), axis=0)[0]
    assert np.abs(best - oracle.max(axis=0)).max() < 1e-5
    same = labels_on(scores, [np.arange(n)[::-1].astype(float) for n in shape])
    assert np.array_equal(same, np.flip(smooth.argmax(axis=0)))
