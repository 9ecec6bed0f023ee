"""What textbook protocols of several vendors must be called, and what must stay unknown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radfoundry.data.sequence_rules import SEQUENCES, plane_of, sequence_of
from radfoundry.records import Acquisition


def mr(kinds="", te=None, tr=None, ti=None, flip=None, **more):
    return Acquisition(
        modality="MR",
        scanning_sequence=tuple(kinds.split()) or None,
        echo_time_ms=te,
        repetition_time_ms=tr,
        inversion_time_ms=ti,
        flip_angle_deg=flip,
        **more,
    )


# Timings as printed in published protocols: ADNI-3 (MPRAGE, 3D FLAIR, T2 FSE), the spine-generic protocol
# (T2 SPACE, T2*, Cohen-Adad 2021), the consensus brain tumour protocol (Ellingson 2015: T1 SE, T2 TSE).
PROTOCOLS = [
    (mr("GR IR", 2.98, 2300, 900, 9, acquisition_type="3D", sequence_variant=("SK", "SP", "MP")), "T1w"),
    (mr("GR", 3.0, 7.4, 400, 11, acquisition_type="3D", manufacturer="GE MEDICAL SYSTEMS"), "T1w"),
    (mr("SE", 10, 600), "T1w"),
    (mr("SE IR", 12, 2300, 900), "T1w"),
    (mr("GR", 2.1, 6.0, None, 12, acquisition_type="3D", sequence_variant=("SK", "SP")), "T1w"),
    (mr("GR", 4.4, 180, None, 70, acquisition_type="2D"), "T1w"),
    (mr("SE", 120, 1500, acquisition_type="3D"), "T2w"),
    (mr("SE", 95, 5000, echo_train_length=15, manufacturer="Philips"), "T2w"),
    (mr("SE", 11, 3000), "PDw"),
    (mr("SE IR", 388, 5000, 1800), "FLAIR"),
    (mr("SE IR", 119, 9000, 2470), "FLAIR"),
    (mr("GR", 14, 600, None, 30, acquisition_type="2D"), "T2starw"),
    (mr("EP SE", 69, 8000, b_value_s_per_mm2=1000), "dwi"),
    (mr("EP SE", 69, 8000, image_type=("DERIVED", "PRIMARY", "DIFFUSION", "ADC")), "adc"),
    (mr("", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "localizer"),
]
UNKNOWN = [
    (mr("SE", 70, 4000, echo_train_length=61, manufacturer="Philips Medical Systems"), "could be echo planar"),
    (mr("EP SE", 69, 8000), "echo planar, but not said"),
    (mr("SE IR", 60, 4000, 150), "undecided"),
    (mr("GR", 3.1, 35, None, 9, sequence_variant=("SP", "MTC"), acquisition_type="3D"), "magnetisation transfer"),
    (mr("GR", 3.4, 22, None, 18, acquisition_type="3D", sequence_variant=("SP",)), "undecided"),  # T1w or angiography
    (mr("SE", 95, 5000, image_type=("ORIGINAL", "PRIMARY", "P")), "no magnitude image"),
    (mr("", 95, 5000), "scanning sequence not stated"),
    (Acquisition(modality="CT"), "modality CT"),
    (Acquisition(), "modality not stated"),
]


@pytest.mark.parametrize(("header", "expected"), PROTOCOLS, ids=lambda value: str(value)[:12])
def test_published_protocols(header, expected):
    name, reason = sequence_of(header)
    assert (name, bool(reason)) == (expected, True)


@pytest.mark.parametrize(("header", "reason"), UNKNOWN, ids=lambda value: str(value)[:12])
def test_what_the_header_does_not_say_stays_unknown(header, reason):
    name, why = sequence_of(header)
    assert name is None and reason in why


def test_function_needs_a_time_series_without_contrast():
    header = mr("EP GR", 30, 2000, None, 80)
    assert sequence_of(header, volumes=200)[0] == "bold"
    assert sequence_of(header, volumes=1)[0] is None
    assert sequence_of(mr("EP GR", 30, 2000, None, 80, contrast_agent="stated"), volumes=60)[0] is None


times = st.none() | st.floats(0, 1e5)


@given(st.lists(st.sampled_from(["SE", "GR", "EP", "IR", "RM"]), max_size=3), times, times, times, times)
def test_any_header_gives_a_known_name_or_none_with_a_reason(kinds, te, tr, ti, flip):
    name, reason = sequence_of(mr(" ".join(kinds), te, tr, ti, flip))
    assert name in (*SEQUENCES, None) and reason


@given(st.text(max_size=20), st.text(max_size=20))
def test_free_text_never_decides(description, protocol):
    for header, _ in PROTOCOLS[:4]:
        worded = Acquisition(**{**header.to_dict(), "series_description": description, "protocol_name": protocol})
        assert sequence_of(worded) == sequence_of(header)


def rotation(degrees):
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


def test_planes():
    thick = np.diag([1.0, 1.0, 4.0, 1.0])
    assert plane_of(rotation(10) @ thick) == "axial"
    assert plane_of(rotation(45) @ thick) == "oblique"
    assert plane_of(rotation(80) @ thick) == "coronal"
    assert plane_of(np.diag([5.0, 1.0, 1.0, 1.0]), stacked=False) == "sagittal"
    assert plane_of(np.diag([1.0, 1.0, 1.2, 1.0]), stacked=False) is None
