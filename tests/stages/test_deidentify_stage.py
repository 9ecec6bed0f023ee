"""The stage: nothing copied through, nothing half-written, interrupted runs go on, reports without a name."""

import gzip
import io
import json
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image

from radfoundry.cli.main import exit_code
from radfoundry.config import load
from radfoundry.data import deidentify_stream
from radfoundry.data.dicom_identity import Identity
from radfoundry.data.dicom_write import write_series
from radfoundry.records import Acquisition, InputError
from radfoundry.stages import deidentify
from radfoundry.volume import Volume

NAME = "Quexfeld"
SECRET = (b"quexfeld", b"zbigniewa", b"8815200773", b"hallbergmoos")


def scans(folder, *, patients=2, slices=4):
    rng = np.random.default_rng(0)
    for number in range(patients):
        volume = Volume.of(rng.integers(0, 900, (16, 16, slices)).astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
        identity = Identity(
            patient_id=f"881520077{3 + number}",
            patient_name=f"{NAME}^Zbigniewa",
            birth_date="19470921",
            study_date="20200227",
            institution="Klinik Hallbergmoos",
            description=f"{NAME} knee",
        )
        write_series(volume, folder / f"{NAME} {number}", acquisition=Acquisition(modality="MR"), identity=identity)
    return folder


def nifti(text):
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 400)
    for offset, size in ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)):
        header[offset : offset + size] = text.encode()[:size].ljust(size, b"\0")
    header[344:348] = b"n+1\0"
    extension = struct.pack("<2i", 32, 6) + text.encode()[:24].ljust(24)
    return bytes(header) + b"\1\0\0\0" + extension + b"xx" * 8 + np.arange(8, dtype="<i2").tobytes() + text.encode()


def others(folder):
    anat = folder / f"sub-{NAME}" / "anat"
    anat.mkdir(parents=True)
    buffer = io.BytesIO()
    with gzip.GzipFile(f"{NAME}.nii", "wb", fileobj=buffer) as packed:
        packed.write(nifti(f"{NAME} Zbigniewa Hallbergmoos"))
    (anat / f"sub-{NAME}_run-2_T1w.nii.gz").write_bytes(buffer.getvalue())
    sidecar = {
        "PatientName": f"{NAME}^Zbigniewa",
        "InstitutionName": "Klinik Hallbergmoos",
        "AcquisitionTime": "10:15:00",
        "SeriesDescription": "t1 of Quexfeld",
        "Manufacturer": "Siemens",
        "RepetitionTime": 2.3,
        "EchoTime": 0.03,
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Notes": {"by": NAME},
        "ScanningSequence": NAME.upper(),
    }
    (anat / f"sub-{NAME}_run-2_T1w.json").write_text(json.dumps(sidecar))
    picture = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(picture, format="JPEG", comment=NAME.encode())
    (folder / f"{NAME}.jpg").write_bytes(picture.getvalue())
    (folder / "patients.csv").write_text(f"{NAME},8815200773\n")
    (folder / "letter.txt").write_text(NAME)
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + NAME.encode())
    return folder


def run(source, to, **settings):
    return deidentify.run(load(deidentify.Config, {"sources": [str(source)], "to": str(to), "workers": 1, **settings}))


def files_below(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def assert_silent(folder):
    for path in files_below(folder):
        data = path.read_bytes().lower()
        data += gzip.decompress(path.read_bytes()).lower() if path.name.endswith(".gz") else b""
        for word in SECRET:
            assert word not in data, path
            assert word not in str(path.relative_to(folder)).lower().encode()


def test_every_file_is_written_clean_or_rejected(tmp_path):
    source = others(scans(tmp_path / "in"))
    made = run(source, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["read"] == report["written"] + sum(report["rejected"].values()) == 14
    assert report["written"] == 11
    assert report["kinds"] == {"dicom": 8, "nifti": 1, "sidecar": 1, "picture": 1}
    assert report["second pass"] == {"files read": 11, "findings": 0}
    assert set(report["rejected"]) >= {"no-rule"}
    assert_silent(tmp_path / "out")
    assert not list(tmp_path.glob(".*work")) and made.stage == "deidentify"
    assert (tmp_path / "out.key").exists()


def test_images_keep_voxels_and_bids_names(tmp_path):
    source = others(tmp_path / "in")
    run(source, tmp_path / "out")
    (image,) = (tmp_path / "out" / "images").glob("sub-*/anat/*_run-2_T1w.nii.gz")
    data = gzip.decompress(image.read_bytes())
    assert np.array_equal(np.frombuffer(data[352:], "<i2"), np.arange(8))
    values = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
    assert values == {
        "Manufacturer": "Siemens",
        "RepetitionTime": 2.3,
        "EchoTime": 0.03,
        "ImageType": ["ORIGINAL", "PRIMARY"],
    }


def test_interrupted_and_resumed_gives_the_same(tmp_path, monkeypatch):
    source = scans(tmp_path / "in", patients=2, slices=5)
    monkeypatch.setattr(deidentify_stream, "BATCH_FILES", 3)
    run(source, tmp_path / "whole", key_file=str(tmp_path / "key"))
    place_whole, count = deidentify_stream.place_whole, []

    def failing(path, data):
        count.append(path)
        if len(count) == 6:
            raise KeyboardInterrupt
        place_whole(path, data)

    monkeypatch.setattr(deidentify_stream, "place_whole", failing)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out", key_file=str(tmp_path / "key"))
    assert not (tmp_path / "out" / "run.json").exists()
    assert not [path for path in files_below(tmp_path / "out") if "partial" in path.name]
    monkeypatch.setattr(deidentify_stream, "place_whole", place_whole)
    with pytest.raises(InputError, match="other settings"):
        run(source, tmp_path / "out", key_file=str(tmp_path / "key"), patient=True)
    run(source, tmp_path / "out", key_file=str(tmp_path / "key"))
    names = [path.relative_to(tmp_path / "out") for path in files_below(tmp_path / "out")]
    assert len(names) == 10 + 4
    for name in names:
        if name.name != "run.json":
            assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_same_key_same_names_in_another_run(tmp_path):
    for number in (1, 2):
        source = scans(tmp_path / f"in{number}", patients=number)
        run(source, tmp_path / f"out{number}", key_file=str(tmp_path / "key"))
    first, second = (
        {path.relative_to(tmp_path / f"out{number}") for path in (tmp_path / f"out{number}").rglob("*.dcm")}
        for number in (1, 2)
    )
    assert first < second
    uid = {pydicom.dcmread(tmp_path / "out1" / name).StudyInstanceUID for name in first}
    assert len(uid) == 1


def test_a_word_of_one_patient_in_the_file_of_another_is_found_by_the_second_pass(tmp_path):
    source = scans(tmp_path / "in", patients=1, slices=2)
    other = pydicom.dcmread(next(source.rglob("*.dcm")))
    other.PatientName, other.PatientID, other.SOPInstanceUID = "Miller^Ann", "77", "1.2.3"
    other.InstitutionName, other.SoftwareVersions = "Elsewhere", f"VE11 by {NAME}"
    other.save_as(source / "other.dcm")
    run(source, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["rejected"] == {"second-pass": 1}
    assert report["written"] == 2
    assert_silent(tmp_path / "out")


def test_two_processes_give_what_one_gives(tmp_path, monkeypatch):
    source = others(scans(tmp_path / "in"))
    run(source, tmp_path / "one", key_file=str(tmp_path / "key"))
    monkeypatch.setattr(deidentify, "BATCH_FILES", 1)
    monkeypatch.setattr(deidentify_stream, "BATCH_FILES", 4)
    run(source, tmp_path / "two", key_file=str(tmp_path / "key"), workers=1)
    names = {path.relative_to(tmp_path / "one") for path in files_below(tmp_path / "one")}
    assert names == {path.relative_to(tmp_path / "two") for path in files_below(tmp_path / "two")}


def test_when_every_file_is_rejected_nothing_is_left_behind(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.dcm").write_bytes(bytes(128) + b"DICM" + NAME.encode())
    (tmp_path / "in" / "letter.txt").write_text(NAME)
    assert exit_code(["deidentify", str(tmp_path / "in"), "--to", str(tmp_path / "out"), "workers=1"]) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1 and "none of 2 files could be written" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    (tmp_path / "out").mkdir()  # a folder and a key that were there before stay, as they were
    (tmp_path / "key").write_text("ab" * 32)
    with pytest.raises(InputError, match="none of 2 files"):
        run(tmp_path / "in", tmp_path / "out", key_file=str(tmp_path / "key"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "key", "out"]
    assert not any((tmp_path / "out").iterdir()) and (tmp_path / "key").read_text() == "ab" * 32


def test_refusals(tmp_path):
    source = scans(tmp_path / "in", patients=1, slices=1)
    with pytest.raises(InputError, match="inside its own source"):
        run(source, source / "out")
    with pytest.raises(InputError, match="must not lie in"):
        run(source, tmp_path / "out", key_file=str(tmp_path / "out" / "key"))
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(InputError, match="no group named patient"):
        run(source, tmp_path / "out", pattern="sub-[0-9]+")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    run(source, tmp_path / "out")
    with pytest.raises(InputError, match="already exists"):
        run(source, tmp_path / "out")
    assert (
        list(deidentify.explain(load(deidentify.Config, {"sources": [str(source)], "to": str(tmp_path / "out")}))) == []
    )


def test_copies_are_counted_and_a_json_of_no_image_is_no_sidecar(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.nii").write_bytes(nifti("x"))
    (source / "a.json").write_text("{}")
    (source / "report.json").write_text('{"written": 3}')
    (source / "film.tif").write_bytes(b"II*\x00" + bytes(40))
    made = run(source, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["kinds"] == {"nifti": 1, "sidecar": 1} and report["rejected"]["no-rule"] == 2
    assert "(TIFF)" in (tmp_path / "out" / "rejected.csv").read_text()
    assert report["copies"] == 0 and not any("second time" in note for note in made.notes)
    scan = next(path for path in files_below(scans(tmp_path / "dicom")) if path.suffix == ".dcm")
    twice = tmp_path / "twice"
    for name in ("one", "two"):
        (twice / name).mkdir(parents=True)
        (twice / name / "1.dcm").write_bytes(scan.read_bytes())
    made = run(twice, tmp_path / "single")
    assert "the same file a second time: 1 file, not written again" in made.notes
