"""Crops around a lesion and landmarks of the head: where they lie, and that nobody else's images change."""

import numpy as np
import pytest

from radfoundry import registry
from radfoundry.records import InputError
from radfoundry.volume import points_to_world


@pytest.mark.slow
def test_a_crop_around_the_lesion_has_the_lesion_in_its_middle():
    preset = registry.build(
        "cohorts", "brain-multisequence", kinds=["tumour"], lesion_rate=1.0, sequences=["T2w", "FLAIR"], around_mm=72
    )
    for case in range(2):
        for series in preset.simulate(case, seed=1).series:
            volume, truth = series.volume, series.truth["lesion"]
            share = truth.array[0]
            places = points_to_world(truth.affine, np.argwhere(share > 0))
            centre = (places * share[share > 0][:, None]).sum(axis=0) / share.sum()
            middle = points_to_world(volume.affine, (np.array(volume.shape)[None] - 1) / 2)[0]
            assert np.linalg.norm(centre - middle) < 5
            extent = np.array(volume.shape) * volume.spacing_mm
            assert (np.abs(extent - 72) <= np.array(volume.spacing_mm) * 1.01).all()


@pytest.mark.slow
def test_landmarks_are_labels_and_change_no_image():
    plain, marked = (
        registry.build("cohorts", "brain-multisequence", sequences=["T1w"], landmarks=wanted).simulate(1, seed=2)
        for wanted in (False, True)
    )
    assert np.array_equal(plain.series[0].volume.array, marked.series[0].volume.array)
    assert {name for name in marked.labels if name not in plain.labels} >= {
        "eye_left_x_mm",
        "posterior_commissure_z_mm",
    }
    assert marked.labels["eye_left_x_mm"] < 0 < marked.labels["eye_right_x_mm"]


def test_a_crop_of_no_possible_size_is_refused():
    with pytest.raises(InputError, match="around_mm"):
        registry.build("cohorts", "brain-multisequence", around_mm=-3)
