"""BIDS names and sidecars; the expected values are those of the BIDS 1.10 specification and its examples."""

import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radfoundry.data.bids import acquisition_beside, acquisition_of, parse_name
from radfoundry.data.image_files import inspect_image, kind_of_image, read_image
from radfoundry.data.nifti import write_nifti
from radfoundry.data.sources import Source
from radfoundry.records import Acquisition, InputError
from radfoundry.volume import Volume

ODD = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=3), st.lists(st.text(max_size=2))
)
LABEL = st.text("abcXYZ0123456789", min_size=1, max_size=6)


@given(LABEL, st.dictionaries(st.sampled_from(["ses", "task", "acq", "ce", "run", "echo", "part"]), LABEL))
def test_a_name_is_put_together_from_its_parts(subject, entities):
    name = "_".join([f"sub-{subject}", *(f"{key}-{value}" for key, value in entities.items()), "T1w.nii.gz"])
    parsed = parse_name(name)
    assert parsed.entities == {"sub": subject, **entities}
    assert (parsed.patient, parsed.visit, parsed.sequence) == (subject, entities.get("ses"), "T1w")


@pytest.mark.parametrize(
    "name", ["t1.nii.gz", "sub-01.nii.gz.exe", "T1w.nii.gz", "sub-01_sub-02_T1w.nii", "sub-_T1w.nii"]
)
def test_names_that_are_not_bids(name):
    assert parse_name(name) is None


def test_seconds_become_ms():
    found = acquisition_of(
        {
            "RepetitionTime": 2.3,
            "EchoTime": 0.00298,
            "InversionTime": 0.9,
            "FlipAngle": 9,
            "MagneticFieldStrength": 3,
            "ImageType": ["ORIGINAL", "PRIMARY", "M"],
            "ScanningSequence": "GR\\IR",
            "SequenceVariant": "SK_SP_MP",
            "Manufacturer": "Siemens",
            "SliceThickness": 1.2,
        }
    )
    assert found == Acquisition(
        repetition_time_ms=2300.0,
        echo_time_ms=2.98,
        inversion_time_ms=900.0,
        flip_angle_deg=9.0,
        field_strength_t=3.0,
        image_type=("ORIGINAL", "PRIMARY", "M"),
        scanning_sequence=("GR", "IR"),
        sequence_variant=("SK", "SP", "MP"),
        manufacturer="Siemens",
        slice_thickness_mm=1.2,
    )


@pytest.mark.parametrize("value", [None, "0.03", True, float("nan"), float("inf"), -1, 30, [0.03, 0.05], {}])
def test_what_is_no_echo_time_in_seconds_is_missing(value):
    assert acquisition_of({"EchoTime": value}) == Acquisition()


@given(st.dictionaries(st.text("aE", max_size=3), ODD, max_size=3), ODD)
@settings(max_examples=50, deadline=None)
def test_any_object_is_understood_or_ignored(values, odd):
    known = ("EchoTime", "EchoTrainLength", "ImageType", "Manufacturer", "Modality")
    found = acquisition_of({**values, **dict.fromkeys(known, odd)})
    assert found.echo_time_ms is None or isinstance(odd, (int, float))
    assert found.manufacturer is None or isinstance(odd, str)


@pytest.fixture
def tree(tmp_path):
    """A data set whose sidecars lie at three levels, as in the example of the inheritance principle."""
    root = tmp_path / "study"
    folder = root / "sub-01" / "ses-a" / "func"
    folder.mkdir(parents=True)
    image = folder / "sub-01_ses-a_task-rest_echo-2_bold.nii.gz"
    write_nifti(Volume(np.zeros((3, 4, 5, 6), np.int16), np.diag([3.0, 3, 4, 1])), image)
    sidecars = {
        root / "task-rest_bold.json": {"RepetitionTime": 2.0, "EchoTime": 0.01, "FlipAngle": 90},
        root / "task-motor_bold.json": {"FlipAngle": 10},
        root / "T1w.json": {"FlipAngle": 11},
        root / "sub-01" / "sub-01_task-rest_bold.json": {"FlipAngle": 80},
        folder / "sub-01_ses-a_task-rest_echo-2_bold.json": {"EchoTime": 0.02},
        folder / "sub-01_ses-a_task-rest_echo-1_bold.json": {"EchoTime": 0.99},
    }
    for path, values in sidecars.items():
        path.write_text(json.dumps(values))
    return root, image


def test_sidecars_nearer_to_the_image_count_more(tree):
    _, image = tree
    found, repairs = acquisition_beside(image)
    assert found == Acquisition(modality="MR", repetition_time_ms=2000.0, echo_time_ms=20.0, flip_angle_deg=80.0)
    assert repairs == ()
    read = read_image(image)
    assert read.acquisition == found
    assert read.volume.array.shape == (3, 4, 5, 6)


def test_a_broken_sidecar_is_named_and_the_image_still_read(tree):
    _, image = tree
    image.with_name(image.name.replace(".nii.gz", ".json")).write_text('{"EchoTime": 0.02,')
    read = read_image(image)
    assert read.repairs == ("sidecar",)
    assert read.acquisition.flip_angle_deg == 80.0


def test_contrast_agent_and_modality_come_from_the_name(tmp_path):
    path = tmp_path / "sub-01_ce-gadolinium_T1w.nii.gz"
    write_nifti(Volume.of(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    found, _ = acquisition_beside(path)
    assert (found.modality, found.contrast_agent) == ("MR", "gadolinium")


def test_an_image_in_an_archive_with_its_sidecar(tree, tmp_path):
    root, image = tree
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in root.rglob("*"):
            if path.is_file():
                zipped.write(path, path.relative_to(tmp_path))
    source = Source(str(archive), str(image.relative_to(tmp_path)))
    read = read_image(source)
    assert read.acquisition.echo_time_ms == 20.0
    assert np.array_equal(read.volume.affine, read_image(image).volume.affine)


def test_every_kind_goes_through_one_door(tmp_path):
    write_nifti(Volume.of(np.zeros((3, 4, 5), np.int16), np.diag([1.0, 2, 3, 1])), tmp_path / "a.nii.gz")
    (tmp_path / "renamed.bin").write_bytes((tmp_path / "a.nii.gz").read_bytes())
    for name in ("a.nii.gz", "renamed.bin"):
        stated = inspect_image(tmp_path / name)
        assert stated["kind"] == kind_of_image(tmp_path / name) == "nifti"
        assert (stated["shape"], stated["dtype"], stated["spacing_mm"]) == ((1, 3, 4, 5), "i2", (1.0, 2.0, 3.0))
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(InputError) as error:
        read_image(tmp_path / "words.txt")
    assert error.value.finding == "not-an-image"
