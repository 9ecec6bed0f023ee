"""Overlap after registration: a mask moves with its image, a stranger's does not, and who is paired with whom."""

import numpy as np
import pytest

from radfoundry.data.masks import Pair
from radfoundry.records import Acquisition, InputError, Series
from radfoundry.tasks import align
from radfoundry.volume import Volume


def held(key, volume, modality):
    return Series(
        key=key,
        patient=key[:2],
        case=key[:2],
        acquisition=Acquisition(modality=modality),
        shape=volume.array.shape,
        spacing_mm=volume.spacing_mm,
        content=key,
        loader=lambda _series: volume,
    )


def patient(name, shift):
    """A smooth body with a ball and a bar, all moved by `shift` voxels of 3 mm."""
    places = np.indices((20, 20, 20)) - np.array(shift)[:, None, None, None]
    body = np.linalg.norm((places - 9.5) / np.array([8, 9, 7])[:, None, None, None], axis=0) < 1
    ball = np.linalg.norm(places - np.array([8, 12, 9])[:, None, None, None], axis=0) < 3
    bar = (abs(places[0] - 12) < 2) & (abs(places[1] - 7) < 4) & (abs(places[2] - 9) < 2)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    image = Volume.of((100.0 * body + 80 * ball + 150 * bar).astype(np.float32), affine)
    mask = Volume.of((ball + 2 * bar).astype(np.uint8), affine)
    return Pair(name, name, held(f"{name}-i", image, "MR"), (held(f"{name}-m", mask, "SEG"),))


PEOPLE = [patient(f"p{n}", (n % 3 - 1, n % 2, -(n % 3) + 1)) for n in range(5)]


@pytest.mark.slow
def test_structures_come_together_and_a_strangers_do_not():
    task = align.build(labels={"ball": 1, "bar": 2}, pairs=4, how={"model": "rigid"})
    chosen = align.partners(PEOPLE, 4, np.random.default_rng(1))
    labels = align.labels_of(PEOPLE, task)
    assert list(labels) == ["ball", "bar"]
    own, strange = (
        align.align(chosen, labels, encoder=None, task=task, stranger=stranger) for stranger in (False, True)
    )
    assert np.mean([row.after for row in own]) > max(0.85, np.mean([row.before for row in own]) + 0.1)
    assert np.mean([row.after for row in strange]) < np.mean([row.after for row in own]) - 0.1
    metrics = align.measure(own)
    assert metrics["overlap"].p_value is None and metrics["overlap-gain"].p_value is not None  # an amount, a gain
    assert metrics["overlap-gain"].low > 0
    assert [row.top for row in align.per_exam(own)] == [row.after for row in own]


@pytest.mark.slow
def test_an_image_onto_itself_overlaps_wholly_before_and_after():
    labels = align.labels_of(PEOPLE, align.build())
    (row,) = align.align([(PEOPLE[0], PEOPLE[0], PEOPLE[1])], labels, encoder=None, task=align.build())
    assert row.before == 1 and row.after > 0.97


def test_everybody_is_fixed_once_and_moves_once_and_never_onto_themselves():
    chosen = align.partners(PEOPLE, 20, np.random.default_rng(0))
    fixed, moving, third = ([item[place].patient for item in chosen] for place in range(3))
    assert sorted(fixed) == sorted(moving) == sorted(third) == [f"p{n}" for n in range(5)]
    assert all(len({a, b, c}) == 3 for a, b, c in zip(fixed, moving, third, strict=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairs": 2}, "give a whole number from 4"),
        ({"how": {"stps": 3}}, "unknown option 'stps'"),
        ({"how": {"model": "elastic"}}, "unknown model"),
        ({"features": "al"}, "did you mean 'all'"),
        ({"features": "displacement", "how": {"model": "affine"}}, "affine has no displacement"),
        ({"how": "affine"}, "is no table of names"),
        ({"labels": ["ball"]}, "is no table of names"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        align.build(**options)


def test_too_few_patients_are_refused():
    with pytest.raises(InputError, match="3 patients have an image with a mask"):
        align.partners(PEOPLE[:3], 4, np.random.default_rng(0))
