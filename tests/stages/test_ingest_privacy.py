"""Planted names, dates, UIDs and numbers are nowhere in a cohort, its working folder, or what ingest prints."""

import gzip
import json
import logging
import re
import shutil
import zipfile
from pathlib import Path

import blosc2
import numpy as np
import pydicom
import pytest
from ingest_samples import ingest, volume, with_key
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from radfoundry.data.dicom_write import Identity, write_series
from radfoundry.data.nifti import write_nifti
from radfoundry.records import Acquisition, InputError

SURNAME, GIVEN, DOCTOR = "Wolkenstein", "Mirabelle", "Quintessa"
NUMBER, ACCESSION, PLACE = "QX774411", "ACC998877", "Nordlicht Klinik"
BORN, SEEN = "19570412", "20180923"
SEEN_DASHED, BORN_DASHED = "2018-09-23", "1957-04-12"
UIDS = ("1.2.826.0.1.3680043.777.1", "1.2.826.0.1.3680043.777.2")
STREET, PHONE, COMMENT = "Ahornweg", "5550123", "brother of Wolkenstein"
SECRETS = (
    *(SURNAME, GIVEN, DOCTOR, NUMBER, ACCESSION, "Nordlicht", BORN, SEEN, SEEN_DASHED, BORN_DASHED, *UIDS),
    *("680043.777", STREET, PHONE, "brother of"),
)
IDENTITY = Identity(
    patient_id=NUMBER,
    patient_name=f"{SURNAME}^{GIVEN}",
    birth_date=BORN,
    sex="F",
    age="061Y",
    study_date=SEEN,
    study_uid=UIDS[0],
    series_uid=UIDS[1],
    accession=ACCESSION,
    institution=PLACE,
    station=f"{SURNAME}-MR1",
    study_description=f"Knie {SURNAME}",
    description=f"t2 {GIVEN}",
)


def planted_dicom(folder):
    """A series whose every header field that can hold text holds a secret, private and nested ones too."""
    acquisition = Acquisition(
        modality="MR", manufacturer=f"Siemens {SURNAME}", echo_time_ms=90.0, repetition_time_ms=4000.0
    )
    for path in write_series(volume(1), folder, acquisition=acquisition, identity=IDENTITY):
        item = pydicom.dcmread(path)
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = f"{UIDS[1]}.{path.stem[-4:].lstrip('0')}"
        item.ReferringPhysicianName = item.OperatorsName = f"{DOCTOR}^{SURNAME}"
        item.PatientAddress, item.PatientTelephoneNumbers, item.PatientComments = STREET, PHONE, COMMENT
        item.ImageComments = item.AdditionalPatientHistory = COMMENT
        item.ProtocolName = item.SequenceName = item.SoftwareVersions = f"prot {NUMBER}"
        item.ManufacturerModelName = f"Scanner of {GIVEN}"
        item.BodyPartExamined = SURNAME.upper()[:16]
        item.ImageType = ["ORIGINAL", "PRIMARY", SURNAME.upper()]
        item.ScanningSequence, item.ScanOptions = ["SE", GIVEN.upper()], NUMBER
        item.ContrastBolusAgent = f"given by {DOCTOR}"
        item.ContentDate = item.SeriesDate = item.AcquisitionDate = SEEN
        item.PatientID = NUMBER
        inner = Dataset()
        inner.PatientName, inner.ReferencedSOPInstanceUID = f"{SURNAME}^{GIVEN}", UIDS[0]
        item.ReferencedStudySequence = Sequence([inner])
        block = item.private_block(0x0029, f"{SURNAME} PRIVATE", create=True)
        block.add_new(1, "LO", f"{SURNAME} {NUMBER} {BORN}")
        item.save_as(path)


def planted_enhanced(folder):
    """A multi-frame file whose frames name the patient once more."""
    acquisition = Acquisition(modality="MR", manufacturer="Siemens", echo_time_ms=90.0, repetition_time_ms=4000.0)
    identity = Identity(**{**IDENTITY.__dict__, "series_uid": f"{UIDS[1]}.9"})
    (path,) = write_series(volume(5), folder, acquisition=acquisition, identity=identity, enhanced=True)
    item = pydicom.dcmread(path)
    for frame in item.PerFrameFunctionalGroupsSequence:
        kind = Dataset()
        kind.FrameType = ["ORIGINAL", "PRIMARY", SURNAME.upper(), "NONE"]
        frame.MRImageFrameTypeSequence = Sequence([kind])
    item.save_as(path)


def planted_archive(folder):
    """Secrets in folder names, file names, headers, sidecars, archives and broken files."""
    own = folder / f"{SURNAME}_{GIVEN}" / SEEN
    planted_dicom(own / NUMBER)
    planted_enhanced(own / f"enhanced {SURNAME}")
    first = next((own / NUMBER).iterdir())
    (own / f"{SURNAME}.dcm").write_bytes(first.read_bytes()[:-100])
    (own / f"report {SURNAME} {BORN}.txt").write_text(COMMENT)
    (own / f"{NUMBER}.nii.gz").write_bytes(gzip.compress(b"not an image of " + SURNAME.encode()))
    write_nifti(volume(2), own / f"{SURNAME}_{SEEN_DASHED}_T1.nii.gz")
    sidecar = {
        "PatientName": f"{SURNAME}^{GIVEN}",
        "PatientID": NUMBER,
        "PatientBirthDate": BORN_DASHED,
        "AcquisitionDateTime": f"{SEEN_DASHED}T10:00:00",
        "InstitutionName": PLACE,
        "SeriesDescription": COMMENT,
        "ProtocolName": f"{SURNAME} knee",
        "ManufacturersModelName": f"Scanner {SURNAME}",
        "Manufacturer": "Siemens",
    }
    (own / f"{SURNAME}_{SEEN_DASHED}_T1.json").write_text(json.dumps(sidecar))
    with zipfile.ZipFile(own / f"{ACCESSION}.zip", "w") as archive:
        archive.writestr(f"{SURNAME}/{NUMBER}.txt", COMMENT)
        archive.writestr(f"{SURNAME}/{NUMBER}.dcm", b"broken " + SURNAME.encode())


def everything_in(folder):
    """All text of a folder: file names, bytes as they are, Parquet columns decoded, arrays unpacked."""
    texts = {}
    for path in sorted(Path(folder).rglob("*")):
        texts[f"name {path.name}"] = str(path.relative_to(folder)).encode()
        if path.is_file():
            texts[str(path)] = path.read_bytes()
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            texts[f"rows {path}"] = json.dumps(pq.read_table(path).to_pylist()).encode()
            texts[f"schema {path}"] = str(pq.read_schema(path)).encode() + str(pq.read_metadata(path)).encode()
        if path.suffix == ".b2nd":
            stored = blosc2.open(str(path), mode="r")
            texts[f"array {path}"] = np.asarray(stored[:]).tobytes()
            texts[f"meta {path}"] = str({key: stored.schunk.vlmeta[key] for key in stored.schunk.vlmeta}).encode()
    return texts


def leaks(texts):
    pattern = re.compile("|".join(map(re.escape, SECRETS)).encode(), re.IGNORECASE)
    return {name: pattern.search(data).group() for name, data in texts.items() if pattern.search(data)}


def test_no_secret_is_in_the_cohort_or_in_what_is_printed(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    with_key(tmp_path)
    planted_archive(tmp_path / "scans")
    made = ingest(tmp_path / "scans", tmp_path / "cohort")
    texts = everything_in(tmp_path / "cohort")
    assert len([name for name in texts if name.startswith("array")]) == 3
    assert leaks(texts) == {}
    captured = capfd.readouterr()
    printed = {"log": caplog.text.encode(), "out": captured.out.encode(), "err": captured.err.encode()}
    assert leaks(printed) == {} and leaks({"notes": " ".join(made.notes).encode()}) == {}


def test_kept_text_loses_what_mentions_the_patient_but_may_name_others(tmp_path):
    with_key(tmp_path)
    planted_archive(tmp_path / "scans")
    ingest(tmp_path / "scans", tmp_path / "cohort", keep_text=True)
    found = set(leaks(everything_in(tmp_path / "cohort")).values())
    assert {secret.lower() for secret in found} <= {DOCTOR.lower().encode(), b"brother of"}


def test_the_search_finds_what_is_there(tmp_path):
    """The proof above can fail: without pseudonyms the same search finds the secrets in tables and names."""
    planted_archive(tmp_path / "scans")
    ingest(tmp_path / "scans", tmp_path / "open", pseudonymise=False)
    found = leaks(everything_in(tmp_path / "open"))
    assert any(name.startswith("rows") for name in found) and any("rejected" in name for name in found)
    volume_file = next((tmp_path / "open" / "volumes").glob("*.b2nd"))
    secret = np.frombuffer(SURNAME.encode(), dtype=np.uint8)
    blosc2.asarray(secret, urlpath=str(volume_file), mode="w")
    assert any(name.startswith("array") for name in leaks(everything_in(tmp_path / "open")))


def test_an_interrupted_ingest_holds_no_secret_either(tmp_path, monkeypatch):
    import radfoundry.stages.ingest as stage

    with_key(tmp_path)
    planted_archive(tmp_path / "scans")

    def stop(*_, **__):
        raise InputError("stopped", finding="disk-full")

    monkeypatch.setattr(stage, "assemble", stop)
    with pytest.raises(InputError, match="stopped"):
        ingest(tmp_path / "scans", tmp_path / "cohort")
    assert list((tmp_path / "cohort" / ".ingest" / "done").glob("*.json"))
    assert leaks(everything_in(tmp_path / "cohort")) == {}


def test_useful_device_words_stay(tmp_path):
    """A phantom named after its scanner keeps the scanner's fields; only telling words empty a field."""
    from radfoundry.data.cohort import open_cohort

    with_key(tmp_path)
    acquisition = Acquisition(modality="MR", manufacturer="SIEMENS", model="Prisma", body_part="HEAD", echo_time_ms=3.0)
    identity = Identity(patient_id="Prisma_Head_7T31", patient_name="SIEMENS^Phantom", study_date=SEEN)
    write_series(volume(1), tmp_path / "scans", acquisition=acquisition, identity=identity)
    ingest(tmp_path / "scans", tmp_path / "cohort")
    kept = open_cohort(tmp_path / "cohort").series[0].acquisition
    assert (kept.manufacturer, kept.model, kept.body_part) == ("SIEMENS", "Prisma", "HEAD")
    shutil.rmtree(tmp_path / "cohort")
