"""Planted identifiers in every place a DICOM file has for them: none is in the bytes of the output."""

import io
import re
import struct

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from radfoundry.data.deidentify_check import residues
from radfoundry.data.deidentify_object import deidentify_dicom
from radfoundry.data.deidentify_pixels import without_comments
from radfoundry.data.deidentify_profile import Options, action_of, table
from radfoundry.data.deidentify_values import Secrets
from radfoundry.data.pseudonyms import Pseudonyms
from radfoundry.data.sources import Source
from radfoundry.records import InputError

NAMES = Pseudonyms(b"k" * 32)
# Words that no code of ours knows; they stand in the name of the patient, a physician, the institution and the numbers.
PLANTED = ("Quexfeld", "Zbigniewa", "Traumgarten", "8815200773", "19470921", "Hallbergmoos")
EVERYTHING = Options(
    patient=True, device=True, institution=False, descriptors=True, structured=True, graphics=True, private=True
)
TEXT_VRS = ("AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")


def plain_image(**elements):
    """A small MR image of the planted patient."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = "1.2.840.10008.5.1.4.1.1.4", "MR"
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3.4", "1.2.3", "1.2"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Quexfeld^Zbigniewa", "8815200773", "19470921"
    dataset.ReferringPhysicianName, dataset.InstitutionName = "Traumgarten^Ruth", "Klinik Hallbergmoos"
    dataset.StudyDate, dataset.SeriesDate, dataset.AcquisitionDateTime = "20200227", "20200302", "20200302101500.5"
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelSpacing, dataset.ImageType = [0.5, 0.5], ["ORIGINAL", "PRIMARY", "M"]
    dataset.Manufacturer, dataset.EchoTime = "SIEMENS", "30"
    dataset.add_new(0x7FE00010, "OW", np.arange(256, dtype="<u2").tobytes())
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def as_file(dataset, *, syntax=ExplicitVRLittleEndian, preamble=bytes(128), **meta):
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    for name, value in meta.items():
        setattr(dataset.file_meta, name, value)
    dataset.preamble = preamble
    buffer = io.BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


BASIC = Options()


def clean(data, options=BASIC, where="8815200773/Quexfeld.dcm"):
    return deidentify_dicom(data, Source(where), where, names=NAMES, options=options)


def read(cleaned):
    return pydicom.dcmread(io.BytesIO(cleaned.data))


def assert_silent(data, place=""):
    lowered = data.lower()
    for word in PLANTED:
        for code in ("latin-1", "utf-16-le"):
            assert word.lower().encode(code) not in lowered, word
        assert word.lower() not in place.lower()


def planted_value(vr, word):
    if vr in ("OB", "OW", "UN", "OL", "OV", "OF", "OD"):
        return (word.encode() * 8)[:64]
    return {
        "AS": "047Y",
        "CS": word.upper()[:16],
        "UR": f"http://{word}.example",
        "SH": word[:16],
        "AE": word[:16],
    }.get(vr, word)


def all_public_tags(vr):
    """Tags of the dictionary with one value representation, outside the groups that a reader needs."""
    from pydicom._dicom_dict import DicomDictionary

    reserved = {0x0002, 0x0000, 0x0004, 0xFFFE, 0xFFFA, 0xFFFC, 0x7FE0}
    needed = {0x00080016, 0x00080018, 0x00080005, 0x00280004, 0x00100010, 0x00100020, 0x00080060}
    return [
        tag
        for tag, row in sorted(DicomDictionary.items())
        if row[0] == vr and tag >> 16 not in reserved and tag not in needed
    ]


@pytest.mark.parametrize(
    ("options", "syntax"),
    [
        pytest.param(EVERYTHING, ExplicitVRLittleEndian, id="options"),
        pytest.param(Options(), ExplicitVRLittleEndian, id="basic", marks=pytest.mark.slow),
        pytest.param(Options(), ImplicitVRLittleEndian, id="implicit", marks=pytest.mark.slow),
        pytest.param(EVERYTHING, ImplicitVRLittleEndian, id="implicit-options", marks=pytest.mark.slow),
    ],
)
def test_text_planted_in_every_attribute_of_the_dictionary_is_gone(options, syntax):
    dataset = plain_image()
    for vr in (*TEXT_VRS, "OB", "OW", "UN", "OL", "OF", "OD", "OV"):
        for number, tag in enumerate(all_public_tags(vr)):
            value = planted_value(vr, PLANTED[number % 3])
            if vr not in ("AS",):
                dataset.add_new(tag, vr, value)
    cleaned = clean(as_file(dataset, syntax=syntax), options)
    assert_silent(cleaned.data, cleaned.place)
    assert len(cleaned.data) > 800


def test_numbers_and_dates_of_the_patient_are_gone_from_number_fields():
    dataset = plain_image(SAR="8815200773", InstanceNumber="19470921")
    dataset.add_new(0x00189087, "FD", 1000.0)
    dataset.add_new(0x00280106, "US", 7)
    dataset.add_new(0x00720072, "DS", ["8815200773", "1"])
    dataset.add_new(0x00082142, "IS", "8815200773")
    cleaned = clean(as_file(dataset))
    assert_silent(cleaned.data)
    assert read(cleaned)[0x00189087].value == 1000.0


def nested(levels, leaf):
    item = leaf
    for tag in ((0x00081140, 0x00082112, 0x00089121, 0x0040A170) * 2)[:levels]:
        outer = Dataset()
        outer.add_new(tag, "SQ", Sequence([item]))
        item = outer
    return item


@pytest.mark.parametrize("levels", [1, 2, 4, 8])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def test_nothing_survives_in_nested_sequences(levels, syntax):
    leaf = Dataset()
    leaf.PatientName, leaf.PatientComments, leaf.ReferencedSOPInstanceUID = "Quexfeld^Z", "Traumgarten", "1.2.3.9"
    leaf.add_new(0x00081030, "LO", "Hallbergmoos Zbigniewa")
    leaf.add_new(0x00091010, "UN", b"Quexfeld")
    leaf.StudyDate = "20200227"
    dataset = plain_image()
    dataset.update(nested(levels, leaf))
    cleaned = clean(as_file(dataset, syntax=syntax))
    assert_silent(cleaned.data)
    item = read(cleaned)
    for _ in range(levels):
        item = next(element.value[0] for element in item if element.VR == "SQ" and element.tag.group in (8, 0x40))
    assert item.ReferencedSOPInstanceUID != "1.2.3.9"
    assert item.StudyDate not in ("", "20200227")


def test_private_blocks_overlays_curves_meta_preamble_and_trailing_bytes():
    dataset = plain_image()
    block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", "1000")
    block.add_new(0x0D, "CS", "QUEXFELD")
    block.add_new(0x0F, "UN", b"Traumgarten ")
    dataset.private_block(0x0029, "Quexfeld Zbigniewa", create=True).add_new(0x10, "OB", b"Hallbergmoos")
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60000011, "US", 16)
    dataset.add_new(0x60003000, "OW", b"Quexfeld" * 4)
    dataset.add_new(0x60004000, "LT", "Traumgarten")
    dataset.add_new(0x50003000, "OW", b"Hallbergmoos")
    dataset.PixelData = dataset.PixelData + b"Quexfeld"
    data = as_file(dataset, preamble=b"Quexfeld".ljust(128), SourceApplicationEntityTitle="TRAUMGARTEN")
    data += struct.pack("<HH2sxxI", 0xFFFC, 0xFFFC, b"OB", 8) + b"Quexfeld"
    for options in (Options(), EVERYTHING):
        cleaned = clean(data, options)
        assert_silent(cleaned.data)
        assert cleaned.data[:128] == bytes(128)
        out = read(cleaned)
        assert len(out.PixelData) == 512
        assert (0x60003000 not in out and 0x60000010 not in out) or options.graphics
        kept = [element.value for element in out if element.tag.group == 0x19]
        assert kept == (["SIEMENS MR HEADER", 1000] if options.private else [])


def test_an_overlay_hidden_in_the_unused_bits_of_the_pixels_is_cleared():
    pixels = np.arange(256, dtype="<u2") | (np.arange(256, dtype="<u2") % 2 << 15)
    dataset = plain_image(PixelData=pixels.tobytes())
    for tag, value in ((0x60000010, 16), (0x60000011, 16), (0x60000100, 16), (0x60000102, 15)):
        dataset.add_new(tag, "US", value)
    out = np.frombuffer(read(clean(as_file(dataset))).PixelData, "<u2")
    assert np.array_equal(out, np.arange(256))


def test_comments_inside_compressed_frames_are_gone():
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(
        buffer, format="JPEG", comment=b"Quexfeld Zbigniewa"
    )
    frame = buffer.getvalue()
    assert b"Quexfeld" in frame
    kept = without_comments(frame + b"Traumgarten")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(kept))), np.asarray(Image.open(io.BytesIO(frame))))
    dataset = plain_image(BitsAllocated=8, BitsStored=8, HighBit=7)
    dataset.add_new(0x7FE00010, "OB", encapsulate([frame]))
    dataset["PixelData"].is_undefined_length = True
    cleaned = clean(as_file(dataset, syntax=JPEGBaseline8Bit))
    assert_silent(cleaned.data)
    assert read(cleaned).pixel_array.shape == (16, 16)


def test_character_sets_do_not_hide_a_name():
    dataset = plain_image(SpecificCharacterSet="ISO_IR 192", PatientName="Žáčková^Zdeňka", StationName="Žáčková 3")
    dataset.add_new(0x00181020, "LO", "VE11 Žáčková")
    data = clean(as_file(dataset)).data
    assert "Žáčková".encode() not in data
    assert "Žáčková".encode()[4:] not in data


def test_two_files_of_a_patient_keep_what_belongs_together():
    first = read(clean(as_file(plain_image())))
    second = read(clean(as_file(plain_image(SOPInstanceUID="1.2.3.5", StudyDate="20200303")), Options(private=True)))
    assert first.StudyInstanceUID == second.StudyInstanceUID != "1.2"
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.PatientID == second.PatientID == first.PatientName
    days = [pydicom.valuerep.DA(value) for value in (first.StudyDate, first.SeriesDate, second.StudyDate)]
    assert [(day - days[0]).days for day in days] == [0, 4, 5]
    assert first.AcquisitionDateTime[8:] == "101500.5"
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID
    other = deidentify_dicom(as_file(plain_image()), Source("x"), "x", names=Pseudonyms(b"o" * 32), options=Options())
    assert read(other).StudyInstanceUID != first.StudyInstanceUID


def test_geometry_and_pixels_stay_bit_for_bit():
    dataset = plain_image(ImagePositionPatient=[1.5, -2, 3], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], FlipAngle="8")
    out = read(clean(as_file(dataset)))
    for name in (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "FlipAngle",
        "EchoTime",
        "ImageType",
    ):
        assert out[name].value == dataset[name].value
    assert out.PixelData == dataset.PixelData
    assert out.Manufacturer == "SIEMENS"


def test_every_option_is_stated_in_the_file():
    out = read(clean(as_file(plain_image(PatientAge="093Y", PatientSex="F")), EVERYTHING))
    codes = {item.CodeValue for item in out.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113101", "113103", "113104", "113105", "113107", "113108", "113109", "113111"}
    assert (out.PatientIdentityRemoved, out.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert (out.PatientAge, out.PatientSex) == ("090Y", "F")  # 45 CFR 164.514(b)(2): ages above 89 are one group


@pytest.mark.parametrize(
    ("sop_class", "finding"),
    [
        ("1.2.840.10008.5.1.4.1.1.104.1", "no-rule"),  # encapsulated PDF
        ("1.2.840.10008.5.1.4.1.1.88.33", "no-rule"),  # comprehensive structured report
        ("1.2.840.10008.5.1.4.1.1.11.1", "no-rule"),  # presentation state
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "no-rule"),  # electrocardiogram
        ("1.2.840.10008.1.3.10", "no-rule"),  # DICOMDIR
    ],
)
def test_objects_without_a_rule_are_refused(sop_class, finding):
    with pytest.raises(InputError) as refusal:
        clean(as_file(plain_image(SOPClassUID=sop_class)))
    assert refusal.value.finding == finding
    assert not any(word in str(refusal.value).replace("8815200773/Quexfeld.dcm", "") for word in PLANTED)


def test_structured_report_and_structure_set():
    content = Dataset()
    content.ValueType, content.TextValue, content.PersonName = "TEXT", "Quexfeld has a mass", "Traumgarten^R"
    report = plain_image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", ContentSequence=Sequence([content]))
    del report.PixelData, report.Rows, report.Columns
    cleaned = clean(as_file(report), Options(structured=True))
    assert_silent(cleaned.data)
    assert read(cleaned).ContentSequence[0].ValueType == "TEXT"
    region, structures = (
        Dataset(),
        plain_image(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", StructureSetLabel="Quexfeld"),
    )
    del structures.PixelData, structures.Rows, structures.Columns
    region.ROINumber, region.ROIName = 1, "GTV Quexfeld"
    structures.StructureSetROISequence = Sequence([region])
    cleaned = clean(as_file(structures), Options(descriptors=True))
    assert_silent(cleaned.data)
    assert read(cleaned).StructureSetROISequence[0].ROIName == "GTV"


@pytest.mark.parametrize("cut", [0, 60, 131, 140, 400, 700])
def test_what_cannot_be_read_is_refused_and_not_copied(cut):
    with pytest.raises(InputError):
        clean(as_file(plain_image())[:cut])


def test_second_pass_finds_what_is_left():
    secrets = Secrets.of(["Quexfeld^Zbigniewa", "8815200773"], ["19470921"])
    for text in ("seen by Quexfeld", "QUEXFELD", "no 8815200773", "born 21.09.1947", "Other^Person"):
        assert residues(as_file(plain_image(PatientComments=text, PatientName="p", PatientID="p")), "a.dcm", secrets)
    assert residues(clean(as_file(plain_image())).data, "a.dcm", secrets) == []


def test_the_table_of_the_standard():
    # PS3.15 2026c, Table E.1-1: the basic profile has 652 single attributes beside curves and overlays.
    assert len(table()) == 652
    assert action_of(0x0020000D, "UI", Options()) == "U"
    assert action_of(0x0020000D, "UI", Options(uids=True)) == "K"
    assert action_of(0x00080020, "DA", Options(dates="full")) == "K"
    assert action_of(0x00081010, "SH", Options(device=True)) == "K"
    assert re.fullmatch("[XZDKCUS]", action_of(0x00400555, "SQ", EVERYTHING))
