"""Limits of new images follow those that taught; what lies beyond is refused by name."""

import json

import numpy as np
import pytest

from radfoundry.records import Acquisition, EncoderSpec, Series
from radfoundry.tasks import accepts
from radfoundry.volume import Volume

SPEC = EncoderSpec(name="films", dimensions=2)


def series(shape=(1, 288, 256, 1), *, spacing=(1.0, 1.0, 1.0), repairs=(), **header):
    facts = {"modality": "DX", **header}
    sequence = facts.pop("sequence", None)
    return Series("s", "p", "c", Acquisition(**facts), shape, spacing, sequence=sequence, repairs=repairs)


def test_pictures_without_millimetres_are_limited_by_their_pixels():
    unplaced = {"repairs": ("no-geometry",)}
    limits = accepts.learned_from([series(**unplaced), series((1, 300, 260, 1), **unplaced)], spec=SPEC)
    limits = accepts.Accepts.from_dict(json.loads(json.dumps(limits.to_dict())))
    assert accepts.refusal(series((1, 280, 260, 1), **unplaced), limits, SPEC) == ""
    said = accepts.refusal(series((1, 100, 80, 1), **unplaced), limits, SPEC)
    assert said.startswith("size 80 x 100 pixels is outside 171-390 x 192-450 pixels")


def test_the_order_of_axes_does_not_matter_and_the_factor_is_two():
    spec = EncoderSpec(name="volumes", spacing_mm=(2, 2, 2))
    limits = accepts.learned_from([series((1, 100, 100, 40), spacing=(1.0, 1.0, 3.0))], spec=spec)
    assert accepts.refusal(series((1, 40, 100, 100), spacing=(3.0, 1.0, 1.0)), limits, spec) == ""
    assert accepts.refusal(series((1, 50, 50, 40), spacing=(1.99, 1.99, 3.0)), limits, spec) == ""
    assert "voxel spacing" in accepts.refusal(series((1, 50, 50, 40), spacing=(2.01, 2.01, 3.0)), limits, spec)
    assert "not known" in accepts.refusal(series((1, 50, 50, 40), repairs=("no-geometry",)), limits, spec)


def test_a_body_part_counts_only_where_everybody_states_it():
    all_state = accepts.learned_from([series(body_part="CHEST"), series(body_part="Chest")], spec=SPEC)
    assert accepts.refusal(series(body_part="KNEE"), all_state, SPEC) == "body part KNEE is not CHEST or Chest"
    assert accepts.refusal(series(), all_state, SPEC) == ""
    some = accepts.learned_from([series(body_part="CHEST"), series()], spec=SPEC)
    assert accepts.refusal(series(body_part="KNEE"), some, SPEC) == ""


@pytest.mark.parametrize(("fill", "said"), [(0.0, "every voxel is 0"), (np.nan, "no numbers")])
def test_images_without_content(fill, said):
    assert said in accepts.emptiness(Volume.of(np.full((9, 9), fill), np.eye(4)))
    image = np.zeros((100, 100))
    image[0, :5] = 1
    assert "all but 0.05%" in accepts.emptiness(Volume.of(image, np.eye(4)))
    assert accepts.emptiness(Volume.of(np.random.default_rng(0).random((9, 9)), np.eye(4))) == ""
