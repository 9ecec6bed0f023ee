"""Hospitals that differ in one thing alone, and a status that is nothing but a slow wave."""

import numpy as np
import pytest
import torch

from radfoundry.records import InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.options import CohortOptions
from radfoundry.simulate.placement import leaning
from radfoundry.simulate.scan import lean
from radfoundry.simulate.sites import DIFFERENCES

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])


def test_the_lean_of_a_coil_is_its_slope_over_100_mm():
    gain = lean((0.0, 0.4, -0.2), (11, 51, 26), AFFINE, centre_mm=(10.0, 50.0, 50.0))
    assert float(gain[5, 25, 12:14].mean()) == pytest.approx(1.0, abs=0.01)
    rise = torch.log(gain[5, 50, 0] / gain[5, 0, 0]), torch.log(gain[5, 0, 25] / gain[5, 0, 0])
    assert [float(value) for value in rise] == pytest.approx([0.4, -0.2], abs=1e-5)
    assert torch.allclose(gain[0], gain[10])


@pytest.mark.parametrize("name", DIFFERENCES)
def test_hospitals_share_everything_but_the_one_thing(name):
    allowed = {"coil": {"slope", "brightness"}, "noise": {"noise"}}[name]
    first, *others = (site.scanners[0] for site in CohortOptions(sites_differ=name).sites)
    for other in others:
        apart = {key for key, value in vars(first).items() if vars(other)[key] != value}
        assert apart and apart <= allowed
    assert len({site.thickness_mm for site in CohortOptions(sites_differ=name).sites}) == 1


def test_a_leaning_body_is_brighter_in_front_by_the_strength():
    fractions = torch.ones(1, 4, 51, 4)
    body = leaning(Body(("muscle",), fractions, AFFINE), 0.35)
    assert body.gain is not None
    assert float(torch.log(body.gain[0, 50, 0] / body.gain[0, 0, 0])) == pytest.approx(0.35, abs=1e-5)
    assert float(torch.log(body.gain).mean()) == pytest.approx(0.0, abs=1e-6), "no brighter as a whole"


def test_unknown_differences_are_refused():
    with pytest.raises(InputError, match="cannot differ in 'price'"):
        CohortOptions(sites_differ="price")
