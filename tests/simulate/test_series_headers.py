"""Simulated headers: as the makes write them, repeatable, and honest about what is missing."""

import numpy as np
import pytest

from radfoundry.data.header_tags import read_header
from radfoundry.data.series_types import ANATOMIES, SEQUENCES
from radfoundry.records import InputError
from radfoundry.simulate.protocols import PROTOCOLS
from radfoundry.simulate.series_headers import MAKES, draw_series, listed
from radfoundry.simulate.series_images import NOT_SCANNED


def draws(count, **fixed):
    rng = np.random.default_rng(7)
    return [draw_series(rng, **fixed) for _ in range(count)]


def test_every_type_and_part_of_the_body_is_drawn_and_none_else():
    found = draws(1500)
    assert {item.sequence for item in found} == set(SEQUENCES)
    assert {item.anatomy for item in found} == set(ANATOMIES)
    assert {item.make for item in found} == set(MAKES)


def test_the_same_seed_gives_the_same_header_and_another_seed_another():
    one, again = (draw_series(np.random.default_rng(3)) for _ in range(2))
    assert one == again and one != draw_series(np.random.default_rng(4))


@pytest.mark.parametrize("make", MAKES)
def test_every_protocol_of_every_make_keeps_to_its_ranges(make):
    for protocol, plan in listed()["protocols"].items():
        drawn = draw_series(np.random.default_rng(1), protocol=protocol, make=make)
        said = drawn.acquisition
        low, high = plan["te"]
        assert said.echo_time_ms is None or low * 0.99 <= said.echo_time_ms <= high * 1.01, protocol
        if said.echo_time_ms is not None and said.repetition_time_ms is not None:
            assert said.echo_time_ms < said.repetition_time_ms, protocol
        assert drawn.sequence == plan["type"] and (drawn.shape is None) == (drawn.spacing_mm is None)


def test_pictures_asked_for_can_be_made():
    known = {*PROTOCOLS, *NOT_SCANNED}
    assert {name for plan in listed()["protocols"].values() for name in plan["images"]} <= known


def test_what_the_makes_do_differently():
    # Philips calls diffusion a spin echo and its MPRAGE repetition time is the echo spacing; GE keeps no Siemens words.
    philips = [item.acquisition for item in draws(40, protocol="dwi", make="philips")]
    assert {item.scanning_sequence for item in philips if item.scanning_sequence} == {("SE",)}
    volumes = [item.acquisition.repetition_time_ms for item in draws(40, protocol="t1-prepared-3d", make="philips")]
    assert all(value < 20 for value in volumes if value is not None)
    siemens = [item.acquisition.repetition_time_ms for item in draws(40, protocol="t1-prepared-3d", make="siemens")]
    assert all(value > 1000 for value in siemens if value is not None)


def test_tags_are_missing_and_wrong_in_practice():
    known = [read_header(item.acquisition, shape=item.shape, spacing_mm=item.spacing_mm).known for item in draws(400)]
    assert min(known) <= 8 and max(known) >= 28 and 15 < np.median(known) < 30
    knees = [item.acquisition.body_part for item in draws(300, anatomy="knee")]
    stated = [part for part in knees if part]
    right = sum(part in listed()["regions"]["knee"]["parts"] for part in stated) / len(stated)
    assert 0.85 < right < 1 and 0.1 < 1 - len(stated) / len(knees) < 0.7


def test_agent_may_be_given_and_not_stated_and_stated_though_long_washed_out():
    given = draws(200, protocol="t1c-spin-echo")
    assert all(item.agent for item in given) and any(item.acquisition.contrast_agent is None for item in given)
    later = draws(200, protocol="flair-2d")
    assert any(item.acquisition.contrast_agent for item in later)


@pytest.mark.parametrize("wrong", [{"protocol": "t3"}, {"anatomy": "tail"}, {"make": "acme"}])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(InputError):
        draw_series(np.random.default_rng(0), **wrong)
