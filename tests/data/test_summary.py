"""Counts that add up, and thumbnails that lie as a radiologist expects."""

import sys
from pathlib import Path

import numpy as np
import pytest

from radfoundry.data.cohort import open_cohort, split
from radfoundry.data.labels import label
from radfoundry.data.summary import cohort_blocks, missing_fields, sides, summarise, thumbnail_block, vendor_of
from radfoundry.data.thumbnails import thumbnail
from radfoundry.records import Acquisition, Series
from radfoundry.volume import Volume

sys.path.append(str(Path(__file__).parents[1] / "stages"))
from ingest_samples import dicom_patients, ingest, pictures, with_key


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = with_key(tmp_path_factory.mktemp("summary"))
    dicom_patients(folder / "scans", range(1, 5))
    pictures(folder / "scans" / "views", [1, 2])
    (folder / "scans" / "notes.txt").write_text("x")
    ingest(folder / "scans", folder / "cohort")
    table = folder / "labels.csv"
    table.write_text("patient,y,size\n" + "".join(f"MRN0000{n},{n % 2},{n}.5\n" for n in range(1, 5)))
    label(folder / "cohort", table, key_file=folder / "test.key")
    split(folder / "cohort", parts={"train": 0.5, "test": 0.5})
    return open_cohort(folder / "cohort")


def test_counts_add_up(made):
    tables = summarise(made)
    assert tables["cohort"] == {"patients": 6, "exams": 6, "series": 10}
    assert tables["modality"] == {"MR": 8, "not stated": 2}
    assert tables["sequence"] == {"T1w": 4, "T2w": 4, "not stated": 2}
    assert tables["vendor"] == {"Siemens": 8, "not stated": 2}
    assert tables["sex"] == {"F": 4, "not stated": 2} and tables["age"] == {"40 to 59": 4, "not stated": 2}
    assert tables["label y"] == {"0": 2, "1": 2, "not stated": 2}
    assert sum(tables["split default"].values()) == 6 and tables["not used"] == {"not-an-image": 1}
    assert tables["repairs"] == {"no-geometry": 2}
    assert (
        tables["missing fields"]["MR flip_angle_deg"] == "8 of 8" and tables["missing fields"]["modality"] == "2 of 10"
    )
    assert "MR echo_time_ms" not in tables["missing fields"]


def test_long_number_columns_are_summarised(made):
    from dataclasses import replace

    cases = tuple(replace(made.cases[0], key=str(n), labels={"volume": n / 10, "text": f"w{n}"}) for n in range(30))
    tables = summarise(replace(made, cases=cases, splits={}))
    assert tables["label volume"] == {"cases": 30, "range": "0 to 2.9", "median": "1.45"}
    assert tables["label text"] == {"cases": 30, "different texts": 30}


def test_blocks_are_plain_and_their_pictures_exist(made, tmp_path):
    import json

    from PIL import Image

    blocks = cohort_blocks(made, tmp_path)
    json.dumps(blocks)
    assert [block["kind"] for block in blocks[:3]] == ["facts", "thumbnails", "table"]
    images = blocks[1]["images"]
    assert len(images) >= 4 and all(image["caption"] for image in images)
    for image in images:
        assert max(Image.open(tmp_path / image["png"]).size) >= 64
    for block in blocks[2:]:
        keys = {column["key"] for column in block["columns"]}
        assert block["kind"] == "table" and all(set(row) <= keys for row in block["rows"])


@pytest.mark.parametrize(
    ("stated", "name"),
    [("SIEMENS", "Siemens"), ("GE MEDICAL SYSTEMS", "GE"), ("Gerät", "Gerät"), (None, None), ("Philips", "Philips")],
)
def test_vendor_spellings(stated, name):
    assert vendor_of(stated) == name


def test_missing_fields_belong_to_their_modality():
    ct = Series("a", "p", "c", Acquisition(modality="CT", tube_voltage_kv=120.0), (1, 4, 4, 4), (1, 1, 1))
    assert "CT tube_voltage_kv" not in missing_fields([ct]) and not any(
        n.startswith("MR") for n in missing_fields([ct])
    )


def marked(affine, shape=(20, 24, 28)):
    """A dark box with one bright corner region at the patient's right, front and top."""
    world = np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T
    centred = world - (world.min(axis=0) + world.max(axis=0)) / 2
    bright = (centred > 0).sum(axis=1).reshape(shape)  # RAS: all three positive is right, front, top
    return Volume.of(np.where(bright == 3, 100.0, bright), affine)


@pytest.mark.parametrize("codes", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)])
def test_right_is_left_front_and_head_are_up(codes):
    affine = np.diag([*map(float, codes), 1.0])
    picture = thumbnail(marked(affine), side_pixels=56)
    assert picture.shape == (112, 88)  # 20 x 24 x 28 voxels, two pixels each
    axial, coronal, sagittal = picture[:56, :48], picture[:56, 48:], picture[56:, :48]

    def brightest_corner(plane):
        rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
        plane = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
        h, w = plane.shape[0] // 2, plane.shape[1] // 2
        quarters = {
            "top left": plane[:h, :w],
            "top right": plane[:h, -w:],
            "bottom left": plane[-h:, :w],
            "bottom right": plane[-h:, -w:],
        }
        return max(quarters, key=lambda name: quarters[name].mean())

    # axial: right is left, front is up; coronal: right is left, head is up; sagittal: front is left, head is up
    assert [brightest_corner(plane) for plane in (axial, coronal, sagittal)] == ["top left"] * 3


def test_thick_slices_show_their_own_plane_in_proportion():
    assert thumbnail(Volume.of(np.zeros((40, 80, 9)), np.diag([1.0, 1.0, 5.0, 1.0]))).shape == (144, 72)
    sagittal = np.array([[0, 0, 6.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    assert thumbnail(Volume.of(np.zeros((40, 80, 9)), sagittal)).shape == (144, 72)


def test_colour_pictures_stay_coloured_and_flat_ones_do_not_fail():
    red = Volume(np.stack([np.full((8, 8, 1), v) for v in (9, 0, 1)]), np.eye(4), channels=("red", "green", "blue"))
    assert thumbnail(red).shape == (144, 144, 3)
    assert thumbnail(Volume.of(np.zeros((5, 5)), np.eye(4))).max() == 0


def test_a_picture_without_a_place_in_the_patient_has_no_known_side(made):
    pictures_alone = [item for item in made.series if "no-geometry" in item.repairs]
    assert len(pictures_alone) == 2 and sides(pictures_alone).startswith("Sides as stored")
    assert sides(made.series).endswith("where the image says which it is.")
    assert sides([item for item in made.series if item not in pictures_alone]).endswith("on the left.")


def test_thumbnails_count_the_series_there_are(made, tmp_path):
    kinds = {(item.acquisition.modality, item.sequence, item.plane, item.site) for item in made.series}
    block = thumbnail_block(made.series, tmp_path, most=len(kinds))
    assert len(block["images"]) == len(kinds) and f"{len(kinds)} of 10 series, every kind among" in block["note"]
    assert "2 of 10 series, of different kinds" in thumbnail_block(made.series, tmp_path, most=2)["note"]
