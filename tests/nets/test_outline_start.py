"""The weights outlining begins with: where they go, what they say of shapes never seen, and what they do not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from radfoundry.nets import conv, decoders, outline_start, vit, weight_files
from radfoundry.nets.encoder_maps import Sizes
from radfoundry.nets.outline_start import PICTURES, VOLUMES
from radfoundry.records import InputError
from radfoundry.simulate.outline_scenes import picture, scene, slice_scene

SHAPES = {VOLUMES: (40, 48, 40), PICTURES: (160, 160, 1)}
BOTH = pytest.mark.parametrize("start", [VOLUMES, PICTURES], ids=["volumes", "pictures"])


def sizes_of(start, classes=2):
    return Sizes(classes, start.widths, start.strides, start.fold)


def as_trained(start):
    """The network in the package, put together here without the code under test."""
    net = start.network().eval()
    _, stored = weight_files.read(start.path)
    net.load_state_dict({name: value.float() for name, value in stored.items()})
    return net


def light(start, sizes):
    encoder = vit.tiny() if start is VOLUMES else conv.tiny_2d()
    return decoders.segmenter(encoder, sizes, SHAPES[start], decoder="light", rung="frozen", seed=0).eval()


@BOTH
def test_a_light_decoder_says_at_first_just_what_the_trained_network_says(start):
    made = light(start, sizes_of(start))
    outline_start.begin(made.decoder, sizes_of(start))
    x = torch.rand(1, 1, *SHAPES[start], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(made(x), as_trained(start)(x)[:, :2], atol=1e-5)


@BOTH
def test_every_structure_begins_as_the_thing_in_the_middle(start):
    made = light(start, sizes_of(start, classes=4))
    outline_start.begin(made.decoder, sizes_of(start, classes=4))
    with torch.no_grad():
        scores = made(torch.rand(1, 1, *SHAPES[start]))
    assert torch.equal(scores[:, 1], scores[:, 2]) and torch.equal(scores[:, 1], scores[:, 3])
    assert not torch.equal(scores[:, 0], scores[:, 1])


@BOTH
def test_things_never_seen_are_outlined_and_by_chance_they_are_not(start):
    def dice(net):
        rng, both, either = np.random.default_rng(987), 0.0, 0.0
        for _ in range(12):
            seen = scene(SHAPES[start], rng=rng) if start is VOLUMES else slice_scene(SHAPES[start][:2], rng=rng)
            with torch.no_grad():
                scores = net(picture(seen, rng=rng)[None, None])[0]
            called = scores[1] > scores[0]
            both += 2 * float((called & seen.thing).sum())
            either += float(called.sum() + seen.thing.sum())
        return both / either

    assert dice(as_trained(start)) > 0.5 > 0.2 > dice(start.network().eval())


def test_plans_with_further_levels_fit_and_others_do_not():
    deeper = Sizes(2, (24, 48, 96, 192), ((2, 2, 2), (2, 2, 2), (1, 2, 1)), (2, 2, 2))
    assert outline_start.fitting(deeper) is VOLUMES
    assert outline_start.fitting(sizes_of(PICTURES)) is PICTURES
    with pytest.raises(InputError, match="cannot begin with the bundled weights"):
        outline_start.begin(light(VOLUMES, deeper).decoder, deeper)  # not before its plan is cut
    for sizes, said in (
        (replace(sizes_of(VOLUMES), widths=(8, 16, 32)), "has 8 channels"),
        (replace(sizes_of(VOLUMES), strides=((2, 2, 1), (2, 2, 1))), "flat or its images too small"),
        (replace(sizes_of(VOLUMES), channels=2), "reads 2 channels"),
    ):
        assert said in outline_start.fitting(sizes)
        with pytest.raises(InputError, match="cannot begin with the bundled weights"):
            outline_start.begin(light(VOLUMES, sizes_of(VOLUMES)).decoder, sizes)


@BOTH
def test_the_file_is_small_and_says_how_it_was_made(start):
    assert start.path.stat().st_size < 2.5e6
    card = json.loads(start.path.with_suffix(".json").read_text(encoding="utf-8"))
    assert "no patient" in card["trained_on"] and f"--seed {card['seed']}" in card["command"]
    assert card["weights"] == sum(value.numel() for value in start.network().parameters())
