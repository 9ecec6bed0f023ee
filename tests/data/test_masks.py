"""Masks beside images: paired by geometry, refused by name, planned, written and read back."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from radfoundry.data import dicom_seg, mask_files, mask_remarks, masks, masks_plan, nnunet_layout
from radfoundry.data.dicom_identity import Identity
from radfoundry.data.dicom_write import write_series
from radfoundry.data.nifti import read_nifti
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.tasks import segment
from radfoundry.volume import Volume

SHAPE = (10, 9, 8)


def series(key, array, affine=None, *, modality="MR", patient="p", **facts):
    volume = Volume.of(array, np.eye(4) if affine is None else affine)
    acquisition = Acquisition(modality=modality)
    return Series(
        key,
        patient,
        f"c{patient}",
        acquisition,
        volume.array.shape,
        volume.spacing_mm,
        loader=lambda _: volume,
        **facts,
    )


def drawn(value=1):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:7, 2:6, 2:5] = value
    return mask


def cohort(*groups):
    cases = [
        Case(f"c{n}", f"p{n}", tuple(replace(s, patient=f"p{n}", case=f"c{n}") for s in g))
        for n, g in enumerate(groups)
    ]
    return Cohort(tuple(cases))


def image(key="i", affine=None, shape=SHAPE):
    return series(key, np.random.default_rng(0).random(shape).astype(np.float32), affine)


def test_a_mask_goes_with_every_image_on_its_grid_and_with_no_other():
    other = np.diag([2.0, 1, 1, 1])
    found = masks.pairs(cohort([image("a"), image("b"), image("z", other), series("m", drawn(), modality="SEG")]))
    assert [pair.image.key for pair in found] == ["a", "b"]
    assert all(pair.masks[0].key == "m" for pair in found)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (series("m", np.ones((5, 5, 5)), modality="SEG"), "mask m: .*shape 5x5x5 against 10x9x8 of i"),
        (series("m", drawn(), np.diag([1.0, 1, 1.5, 1]), modality="SEG"), "mask m: .*affine differs from that of i"),
    ],
)
def test_a_mask_on_another_grid_is_refused_by_name(mask, said):
    with pytest.raises(InputError, match=said):
        masks.pairs(cohort([image(), mask]))


def test_a_mask_whose_image_was_refused_stops_nothing_unless_no_image_is_left():
    whole, alone = [image(), series("m", drawn(), modality="SEG")], [series("o", drawn(), modality="SEG")]
    assert [pair.case for pair in masks.pairs(cohort(whole, alone))] == ["c0"]
    assert mask_remarks.orphaned(cohort(whole, alone))[0].startswith("1 exam with a mask but no image left out")
    assert mask_remarks.orphaned(cohort(whole)) == []
    with pytest.raises(InputError, match="no image has a mask: 1 mask in exams that hold no image; give image and"):
        masks.pairs(cohort(alone))


def test_a_value_that_only_tested_masks_have_is_said_before_anything_is_taught():
    people = [[image(), series(f"m{n}", drawn(3 if n == 4 else 1), modality="SEG")] for n in range(6)]
    sides = [segment.Sides(folds=3, seed=seed) for seed in range(6)]
    refused = []
    for side in sides:
        try:
            segment.parts(cohort(*people), segment.build(), side)
        except InputError as error:
            refused.append(str(error))
    assert refused and all("value 3 is not among the labels" in text for text in refused)


def test_remarks_name_copies_several_volumes_and_values_of_few_masks():
    one, other = (masks.Pair("c", "p", image(), ()), masks.Pair("d", "q", image(), ()))
    assert mask_remarks.on_both_sides([one], [other]) == []  # pixels that nobody fingerprinted are not alike
    alike = [replace(pair, image=replace(pair.image, content="same")) for pair in (one, other)]
    assert "too good" in mask_remarks.on_both_sides(alike[:1], alike[1:])[0]
    times = replace(one, image=replace(one.image, shape=(4, *SHAPE)))
    assert mask_remarks.several_volumes([times, other])[0].startswith("1 image of several volumes")
    counts = {"1": 9, "255": 1}
    assert "255 (in 1 of 10)" in mask_remarks.rare_values(10, counts, named=False)[0]
    assert mask_remarks.rare_values(10, counts, named=True) == mask_remarks.rare_values(10, {"1": 2}, named=False) == []


def test_what_headers_lose_by_rounding_does_not_part_a_mask_from_its_image():
    def shifted(mm):
        return np.array([[0.5, 0, 0, 80 + mm], [0, 0.5, 0, -40], [0, 0, 3, 7], [0, 0, 0, 1.0]])

    pair = masks.pairs(cohort([image("a", shifted(0)), series("m", drawn(), shifted(0.02), modality="SEG")]))
    assert [mask.key for mask in pair[0].masks] == ["m"]
    with pytest.raises(InputError, match=r"affine differs from that of a; resample the mask .* or set it aside"):
        masks.pairs(cohort([image("a", shifted(0)), series("m", drawn(), shifted(0.1), modality="SEG")]))


def test_empty_masks_shares_and_strange_labels_are_refused_by_name():
    empty = series("m", np.zeros(SHAPE), modality="SEG")
    with pytest.raises(InputError, match="mask m: the mask is empty"):
        masks.classes_of(empty, {"1": (1,)})
    with pytest.raises(InputError, match="not whole numbers"):
        masks.mask_values(series("m", drawn() * 0.5, modality="SEG"))
    with pytest.raises(InputError, match="mask m: value 3 is not among the labels of the plan"):
        masks.classes_of(series("m", drawn(3), modality="SEG"), {"liver": (1,)})
    with pytest.raises(InputError, match="no image has a mask"):
        masks.pairs(cohort([image()]))
    for bad in ({}, {"a": 0}, {"a": 1, "b": [1, 2]}):
        with pytest.raises(InputError, match="does not name labels"):
            masks.labels_named(bad)


def test_an_empty_mask_is_left_out_kept_or_refused_and_counted():
    groups = [[image(), series("m", drawn(), modality="SEG")], [image(), series("e", drawn(0), modality="SEG")]]
    found = masks.pairs(cohort(*groups))
    rest, empty = masks.with_empty(found, "leave-out")
    assert [pair.masks[0].key for pair in rest] == ["m"]
    assert [pair.masks[0].key for pair in empty] == ["e"]
    assert len(masks.with_empty(found, "keep")[0]) == 2
    assert masks.empty_notes(1, "leave-out")[0].startswith("1 image with an empty mask left out")
    with pytest.raises(InputError, match=r"mask e: the mask is empty \(so for 1 of 2 images\); task.empty=leave-out"):
        masks.with_empty(found, "refuse")
    assert not masks.classes_of(found[1].masks[0], {"1": (1,)}, may_be_empty=True).any()


def test_a_mask_with_voxels_that_are_no_number_is_refused():
    with pytest.raises(InputError, match="not whole numbers"):
        masks.mask_values(series("m", np.where(drawn() > 0, np.nan, 0.0), modality="SEG"))


def test_values_become_classes_and_go_back():
    labels = masks.labels_named({"both": [1, 2], "other": 7})
    mask = drawn(2)
    mask[0, 0, 0] = 7
    classes = masks.classes_of(series("m", mask, modality="SEG"), labels)
    assert set(np.unique(classes)) == {0, 1, 2}
    assert set(np.unique(masks.as_label_map(classes, labels))) == {0, 1, 7}


def test_a_plan_survives_its_file_and_keeps_thick_slices_whole():
    seen = masks_plan.Fingerprint(
        4,
        4,
        ("MR",),
        3,
        True,
        (1.0, 1.0, 5.0),
        (128, 128, 20),
        (140, 140, 22),
        dict.fromkeys(("low", "high", "mean", "deviation"), 1.0),
        {"a": 0.1},
    )
    made = masks_plan.plan(seen, {"a": (1,)}, voxels=60_000)
    assert masks_plan.SegmentPlan.from_dict(made.to_dict()) == made
    assert np.prod(made.patch) < 90_000
    assert not made.whole
    assert all(step[2] == 1 for step in made.strides[:2])
    whole = masks_plan.plan(replace(seen, largest_shape=(40, 40, 20)), {"a": (1,)})
    assert whole.whole
    assert all(side >= n for side, n in zip(whole.patch, (40, 40, 20), strict=True))
    with pytest.raises(InputError, match="damaged"):
        masks_plan.SegmentPlan.from_dict({"format": 1})


def test_nifti_masks_lie_where_the_image_lies(tmp_path):
    affine = np.array([[0, -1.5, 0.3, 10], [2, 0, 0, -5], [0, 0.2, 2.4, 7], [0, 0, 0, 1.0]])
    volume = Volume.of(np.zeros(SHAPE, np.float32), affine)
    mask_files.write_mask(drawn(), volume, {"a": (4,)}, tmp_path / "m.nii.gz")
    again = read_nifti(tmp_path / "m.nii.gz").volume
    assert again.geometry.matches(volume.geometry)
    assert np.array_equal(again.array[0], drawn() * 4)
    with pytest.raises(InputError, match="shape"):
        mask_files.write_mask(np.zeros((2, 2, 2), np.uint8), volume, {"a": (1,)}, tmp_path / "n.nii.gz")


def test_nnunet_layout_there_and_back(tmp_path):
    labels = {"a": (3,), "b": (5,)}
    mask = drawn(3)
    mask[0, 0, 0] = 5
    pairs = masks.pairs(cohort([image(), series("m", mask, modality="SEG")]))
    assert nnunet_layout.export(pairs, labels, tmp_path / "Dataset007_Test") == {"case_0001": "p0"}
    found, named = nnunet_layout.read(tmp_path / "Dataset007_Test")
    assert list(named) == ["a", "b"]
    assert np.array_equal(found[0].classes, masks.classes_of(pairs[0].masks[0], labels))
    assert np.allclose(found[0].image.array, pairs[0].image.load().array)
    assert found[0].image.geometry.matches(pairs[0].image.load().geometry)
    (tmp_path / "Dataset007_Test" / "labelsTr" / "case_0001.nii.gz").unlink()
    with pytest.raises(InputError, match="case case_0001: it has no mask"):
        nnunet_layout.read(tmp_path / "Dataset007_Test")
    with pytest.raises(InputError, match="not a data set's name"):
        nnunet_layout.export(pairs, labels, tmp_path / "liver")


@pytest.mark.skipif(not dicom_seg.available(), reason="needs the dicom extra")
def test_dicom_segmentations_hold_the_mask_and_refer_to_its_images(tmp_path):
    turn = np.deg2rad(10)
    affine = np.array(
        [
            [-1.2 * np.cos(turn), 0, 3 * np.sin(turn), 30],
            [0, -1.2, 0, 20],
            [1.2 * np.sin(turn), 0, 3 * np.cos(turn), -9],
            [0, 0, 0, 1],
        ]
    )
    volume = Volume.of(np.random.default_rng(1).integers(0, 500, SHAPE).astype(np.float32), affine)
    identity = Identity(
        patient_id="id",
        patient_name="Name^Given",
        birth_date="19700101",
        sex="F",
        age="050Y",
        study_date="20200101",
        study_time="080000",
        accession="1",
        institution="Hospital",
        study_number="1",
        study_description="Study",
        description="T1",
        series_number=1,
        seed=0,
    )
    write_series(volume, tmp_path / "scan", acquisition=Acquisition(modality="MR"), identity=identity)
    groups = dicom_seg.slices_in([tmp_path / "scan"])
    source = dicom_seg.source_of(volume.reorient("RAS"), groups)
    assert len(source) == SHAPE[2]
    other = Volume.of(volume.array[0] + 50, affine)
    assert dicom_seg.source_of(other, groups) == []
    labels = {"absent": (1,), "kidney": (2,), "spot": (3,)}
    classes = drawn(2)
    classes[0, 0, 0] = 3
    turned = Volume.of(classes, affine).reorient("RAS").array[0]
    with pytest.raises(InputError, match="empty"):
        dicom_seg.write_segmentation(turned * 0, volume.reorient("RAS"), source, labels, tmp_path / "e.dcm", model="m")
    dicom_seg.write_segmentation(turned, volume.reorient("RAS"), source, labels, tmp_path / "s.dcm", model="m")
    again = dicom_seg.read_segmentation(tmp_path / "s.dcm", volume, source, labels)
    assert np.array_equal(again, classes)
    alone = (turned == 3).astype(np.uint8)  # one segment in one slice: what frames share is written elsewhere
    dicom_seg.write_segmentation(alone, volume.reorient("RAS"), source, {"spot": (1,)}, tmp_path / "a.dcm", model="m")
    assert (tmp_path / "a.dcm").is_file()
    strip(tmp_path / "scan", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyTime")
    dicom_seg.write_segmentation(turned, volume.reorient("RAS"), source, labels, tmp_path / "bare.dcm", model="m")
    assert np.array_equal(dicom_seg.read_segmentation(tmp_path / "bare.dcm", volume, source, labels), classes)
    strip(tmp_path / "scan", "FrameOfReferenceUID")
    with pytest.raises(InputError, match="the images state no FrameOfReferenceUID"):
        dicom_seg.write_segmentation(turned, volume.reorient("RAS"), source, labels, tmp_path / "n.dcm", model="m")


def strip(folder, *names):
    """De-identified files often lack what the standard lets be empty but wants to be there."""
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        for name in names:
            if name in image:
                delattr(image, name)
        image.save_as(file)
