"""Simulated slices of series: the same from one seed, and what physics says of fluid, brain and skull in each type."""

import numpy as np
import pytest
import torch

from radfoundry.data.series_types import SEQUENCES
from radfoundry.simulate import series_slices
from radfoundry.simulate.protocols import PROTOCOLS
from radfoundry.simulate.series_slices import ECHO_PLANAR, TYPES, cut, draw_patient, rendered

SIDE, SPACING_MM = 96, 2.0


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(4)
    patient = next(found for found in iter(lambda: draw_patient(rng), None) if found.head)
    for _ in range(40):  # a slice with much fluid inside
        seen = cut(patient, SIDE, SPACING_MM, rng=rng)
        if float((seen.share("csf") > 0.9).sum()) > 120 and float((seen.share("white") > 0.9).sum()) > 400:
            return seen
    raise RuntimeError("no slice through the ventricles")


def brightness(seen, kind, tissue, *, tries=12):
    """The brightness of a tissue over that of white matter, median of several renderings."""
    found, rng = [], np.random.default_rng(7)
    there, white = (seen.share(name)[..., 0] > 0.7 for name in (tissue, "white"))
    for _ in range(tries):
        image = rendered(seen, kind, SPACING_MM, head=True, rng=rng)
        if float(image[white].median()) > 0:
            found.append(float(image[there].median() / image[white].median()))
    return float(np.median(found))


def test_every_type_has_protocols_that_exist():
    assert set(TYPES) == set(SEQUENCES)
    names = {name for protocols, _ in TYPES.values() for name in protocols} - {"ADC", *ECHO_PLANAR}
    assert names | {name for group in ECHO_PLANAR.values() for name in group} <= set(PROTOCOLS)


def test_fluid_is_dark_in_t1_and_flair_and_bright_in_t2_and_the_diffusion_map(head):
    assert brightness(head, "T1", "csf") < 0.7 and brightness(head, "T2-FLAIR", "csf") < 0.5
    assert brightness(head, "T2", "csf") > 1.5 and brightness(head, "ADC", "csf") > 2


def test_grey_matter_is_darker_than_white_in_t1_and_brighter_in_t2(head):
    assert brightness(head, "T1", "grey") < 0.95 and brightness(head, "T2", "grey") > 1.05


def test_one_seed_gives_one_image_and_nothing_is_negative(head):
    first, again = (rendered(head, "T2", SPACING_MM, head=True, rng=np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (SIDE, SIDE)
    for kind in TYPES:
        image = rendered(head, kind, SPACING_MM, head=True, rng=np.random.default_rng(11))
        assert bool(torch.isfinite(image).all()) and float(image.min()) >= 0, kind


def test_patients_are_heads_or_other_regions():
    assert [draw_patient(np.random.default_rng(seed)).head for seed in (3, 4)] == [True, False]
    assert set(series_slices.HEAD_ALONE) <= set(TYPES)
