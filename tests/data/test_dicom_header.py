"""The header scanner against pydicom on every file that pydicom ships, and what a header record keeps."""

import io
import json
import logging
import struct
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import MR, PATIENT, volume, written

from radfoundry.data import dicom_pydicom, dicom_scan
from radfoundry.data.dicom_header import Instance, acquisition, instance_from, read_instance
from radfoundry.data.dicom_values import FIELDS, WANTED, decode
from radfoundry.data.sources import Source
from radfoundry.records import Acquisition, InputError

SHIPPED = Path(pydicom.__file__).parent / "data"
CORPUS = [p for p in sorted(SHIPPED.rglob("*")) if p.is_file() and p.suffix in ("", ".dcm") and "README" not in p.name]


def scanned(data):
    try:
        return dicom_scan.scan(data, WANTED)
    except dicom_scan.ScanError:
        return None


def by_pydicom(path):
    try:
        with path.open("rb") as stream:
            return dicom_pydicom.scan_slowly(stream, Source(str(path)))
    except InputError:
        return None


def test_the_corpus_is_there_and_mostly_scanned_without_help():
    found = [scanned(path.read_bytes()) for path in CORPUS]
    assert len(CORPUS) > 150
    assert sum(item is not None for item in found) > 0.85 * len(CORPUS)


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_scanner_and_pydicom_read_the_same_values(path):
    fast, slow = scanned(path.read_bytes()), by_pydicom(path)
    if fast is None or slow is None or not fast.values:
        return  # the scanner hands these to pydicom; nothing to compare
    assert decode(fast.values) == decode(slow.values)
    assert fast.transfer_syntax == slow.transfer_syntax or not slow.transfer_syntax


@pytest.mark.parametrize(
    "path", [p for p in CORPUS if p.name in ("CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm")]
)
def test_numbers_equal_those_pydicom_gives(path):
    instance, dataset = read_instance(Source(str(path))), pydicom.dcmread(path)
    for name in ("rows", "columns", "slice_thickness", "position", "orientation", "pixel_spacing", "echo_time_ms"):
        expected = dataset.get(FIELDS[name][0])
        expected = None if expected is None or expected.value is None else expected.value
        found = getattr(instance, name)
        if isinstance(found, tuple):
            assert np.allclose(found, expected)
        else:
            assert found == (float(expected) if expected is not None else None)
    assert instance.sop_uid == dataset.SOPInstanceUID
    assert instance.patient_name == str(dataset.PatientName)


def test_the_scanner_never_needs_the_pixels(tmp_path):
    (item,) = written(volume(shape=(1, 30, 40, 1)), tmp_path)
    data = Path(item.path).read_bytes()
    offset = dicom_scan.scan(data, WANTED).pixel_offset
    assert dicom_scan.scan(data[: offset + 8], WANTED).values == dicom_scan.scan(data, WANTED).values
    with pytest.raises(dicom_scan.NeedMore):
        dicom_scan.scan(data[: offset - 3], WANTED)


def test_headers_longer_than_the_first_bytes_are_read_on(tmp_path):
    written(volume(shape=(1, 8, 8, 1)), tmp_path)
    dataset = pydicom.dcmread(tmp_path / "0001.dcm")
    block = dataset.private_block(0x0009, "MAKER", create=True)
    block.add_new(0x01, "OB", bytes(300_000))
    dataset.save_as(tmp_path / "long.dcm")
    found = read_instance(Source(str(tmp_path / "long.dcm")))
    assert replace(found, path="") == replace(read_instance(Source(str(tmp_path / "0001.dcm"))), path="")


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("sequences", ["defined", "undefined"])
def test_every_encoding_gives_the_same_record(tmp_path, syntax, sequences):
    written(volume(shape=(1, 8, 8, 1)), tmp_path)
    dataset = pydicom.dcmread(tmp_path / "0001.dcm")
    inner = pydicom.Dataset()
    inner.Rows, inner.PatientID = 99, "INNER"
    nested = pydicom.Dataset()
    nested.ReferencedImageSequence = [inner]
    dataset.RequestAttributesSequence = [nested, inner]
    for item in (dataset["RequestAttributesSequence"], nested["ReferencedImageSequence"]):
        item.is_undefined_length = sequences == "undefined"
        for member in item.value:
            member.is_undefined_length_sequence_item = sequences == "undefined"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    little = syntax != "1.2.840.10008.1.2.2"
    pydicom.dcmwrite(tmp_path / "x.dcm", dataset, implicit_vr=syntax == "1.2.840.10008.1.2", little_endian=little)
    found, expected = (read_instance(Source(str(tmp_path / name))) for name in ("x.dcm", "0001.dcm"))
    assert found.rows == 8
    assert replace(found, path="", transfer_syntax="") == replace(expected, path="", transfer_syntax="")


def test_files_without_preamble_are_read(tmp_path):
    (item,) = written(volume(shape=(1, 8, 8, 1)), tmp_path)
    data = Path(item.path).read_bytes()
    start = data.index(b"\x08\x00\x05\x00")
    (tmp_path / "bare").write_bytes(data[start:])
    assert replace(read_instance(Source(str(tmp_path / "bare"))), path=item.path) == item


@pytest.mark.parametrize(
    ("creator", "owner", "tag", "vr", "value", "b_value"),
    [
        ((0x0019, 0x0010), "SIEMENS MR HEADER", (0x0019, 0x100C), "IS", "1000", 1000.0),
        ((0x0043, 0x0010), "GEMS_PARM_01", (0x0043, 0x1039), "IS", ["1000000700", "8", "0", "0"], 700.0),
        ((0x2001, 0x0010), "Philips Imaging DD 001", (0x2001, 0x1003), "FL", 800.0, 800.0),
        ((0x0065, 0x0010), "Image Private Header", (0x0065, 0x1009), "FD", 50.0, 50.0),
        ((0x0019, 0x0010), "SOMEBODY ELSE", (0x0019, 0x100C), "IS", "1000", None),
    ],
)
def test_b_values_of_vendors(tmp_path, creator, owner, tag, vr, value, b_value):
    written(volume(shape=(1, 8, 8, 1)), tmp_path)
    dataset = pydicom.dcmread(tmp_path / "0001.dcm")
    dataset.add_new(creator, "LO", owner)
    dataset.add_new(tag, vr, value)
    dataset.save_as(tmp_path / "b.dcm")
    assert read_instance(Source(str(tmp_path / "b.dcm"))).b_value == b_value


def test_names_in_other_scripts_are_read():
    greek = read_instance(Source(str(SHIPPED / "charset_files" / "chrGreek.dcm")))
    assert greek.patient_name == str(pydicom.dcmread(SHIPPED / "charset_files" / "chrGreek.dcm").PatientName)


def test_rows_of_a_table_give_the_record_back(tmp_path):
    (item,) = written(volume(shape=(1, 8, 8, 1)), tmp_path)
    row = json.loads(json.dumps(item.to_row()))
    assert Instance.from_row(row) == item
    table = {name: np.array(value) if isinstance(value, list) else value for name, value in row.items()}
    table |= {name: float("nan") for name, value in row.items() if value is None}
    assert Instance.from_row(table) == item


def test_parquet_gives_the_record_back(tmp_path):
    import pandas

    items = written(volume(shape=(1, 8, 8, 3)), tmp_path)
    pandas.DataFrame([item.to_row() for item in items]).to_parquet(tmp_path / "t.parquet")
    rows = pandas.read_parquet(tmp_path / "t.parquet").to_dict("records")
    assert [Instance.from_row(row) for row in rows] == items


def test_acquisition_states_what_was_written(tmp_path):
    stated = Acquisition(
        modality="MR",
        manufacturer="Maker",
        model="Model 7",
        software="v1",
        field_strength_t=3.0,
        body_part="BRAIN",
        series_description="planted words",
        protocol_name="planted protocol",
        sequence_name="*tse2d1",
        scanning_sequence=("SE", "IR"),
        sequence_variant=("SK",),
        scan_options=("FS",),
        image_type=("ORIGINAL", "PRIMARY", "M"),
        acquisition_type="2D",
        contrast_agent="planted agent",
        repetition_time_ms=9000.0,
        echo_time_ms=100.5,
        inversion_time_ms=2500.0,
        flip_angle_deg=150.0,
        echo_train_length=16,
        echo_number=1,
        averages=2.0,
        bandwidth_hz_per_pixel=199.0,
        patient_position="HFS",
    )
    (item,) = written(volume(shape=(1, 8, 6, 1)), tmp_path, acquisition=stated)
    kept = acquisition(item, keep_text=True).to_dict()
    assert {name: kept[name] for name in stated.to_dict()} == stated.to_dict()
    assert kept["matrix"] == [8, 6]
    assert kept["field_of_view_mm"] == [8.0, 7.5]
    text = json.dumps(acquisition(item, keep_text=False).to_dict())
    assert "planted" not in text


def test_field_strength_in_gauss_is_tesla(tmp_path):
    (item,) = written(volume(shape=(1, 8, 6, 1)), tmp_path, acquisition=replace(MR, field_strength_t=15000.0))
    assert acquisition(item, keep_text=False).field_strength_t == 1.5


def test_every_acquisition_field_is_filled_or_derived():
    names = {item.name for item in fields(Instance)}
    derived = {"slice_thickness_mm", "slice_gap_mm", "b_value_s_per_mm2", "matrix", "field_of_view_mm"}
    assert {item.name for item in fields(Acquisition)} - derived <= names


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (b"", "empty-file"),
        (b"Dear colleague, this is a letter, not an image." * 10, "not-an-image"),
        (bytes(5000), "not-an-image"),
        (bytes(128) + b"DICM", "truncated"),
        (bytes(128) + b"DICM" + b"\xff" * 300, "unreadable"),
    ],
)
def test_what_is_no_dicom_is_named(tmp_path, data, finding):
    (tmp_path / "x.dcm").write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_instance(Source(str(tmp_path / "x.dcm")))
    assert caught.value.finding == finding
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["reportsi.dcm", "rtplan.dcm", "waveform_ecg.dcm", "dicomdirtests/DICOMDIR"])
def test_dicom_without_an_image_is_named(name):
    with pytest.raises(InputError) as caught:
        read_instance(Source(str(SHIPPED / "test_files" / name)))
    assert caught.value.finding == "no-pixels"


def test_every_cut_of_a_file_is_refused_as_truncated(tmp_path):
    (item,) = written(volume(shape=(1, 16, 16, 1)), tmp_path)
    data = Path(item.path).read_bytes()
    for length in [*range(140, len(data) - 1, 37), len(data) - 1]:
        with pytest.raises(InputError) as caught:
            instance_from(io.BytesIO(data[:length]), Source("cut"))
        assert caught.value.finding in ("truncated", "no-pixels", "unreadable"), length
        assert "Zebra" not in str(caught.value)
    assert instance_from(io.BytesIO(data), item.source) == item


@pytest.mark.parametrize(("tag", "value"), [(0x00280010, 0), (0x00280011, 0)])
def test_no_rows_or_columns_is_named(tmp_path, tag, value):
    written(volume(shape=(1, 8, 8, 1)), tmp_path)
    data = bytearray((tmp_path / "0001.dcm").read_bytes())
    place = data.index(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"US", 2)) + 8
    data[place : place + 2] = struct.pack("<H", value)
    with pytest.raises(InputError) as caught:
        instance_from(io.BytesIO(bytes(data)), Source("zero"))
    assert caught.value.finding == "empty-axis"


def test_pydicom_stays_silent(tmp_path, capfd, caplog, recwarn):
    written(volume(shape=(1, 8, 8, 1)), tmp_path)
    dataset = pydicom.dcmread(tmp_path / "0001.dcm")
    data = (tmp_path / "0001.dcm").read_bytes().replace(b"20200102", b"Zebra-13")
    damaged = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")  # explicit data called implicit
    (tmp_path / "odd.dcm").write_bytes(damaged)
    with caplog.at_level(logging.DEBUG):
        try:
            read_instance(Source(str(tmp_path / "odd.dcm")))
        except InputError as error:
            assert "Zebra" not in str(error)
    written_out = capfd.readouterr()
    assert (written_out.out, written_out.err) == ("", "")
    assert not recwarn.list
    assert "Zebra" not in caplog.text
    assert dataset.PatientID == PATIENT.patient_id
