"""A small mixed archive for the ingest tests: DICOM of several patients, BIDS, pictures, an archive, and rubbish."""

import json
import zipfile
from pathlib import Path

import numpy as np

from radfoundry.data.dicom_write import Identity, write_series
from radfoundry.data.nifti import write_nifti
from radfoundry.records import Acquisition
from radfoundry.stages.ingest import Config, run
from radfoundry.volume import Volume

T1 = Acquisition(
    modality="MR",
    manufacturer="SIEMENS",
    scanning_sequence=("SE",),
    repetition_time_ms=500.0,
    echo_time_ms=10.0,
    series_description="t1_se_tra",
)
T2 = Acquisition(
    modality="MR",
    manufacturer="SIEMENS",
    scanning_sequence=("SE",),
    repetition_time_ms=4000.0,
    echo_time_ms=100.0,
    image_type=("ORIGINAL", "PRIMARY", "M"),
)


def volume(seed, shape=(10, 12, 5), spacing_mm=(1.0, 1.0, 4.0)):
    array = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    return Volume.of(array, np.diag([*spacing_mm, 1.0]))


def person(number, **more):
    return Identity(
        **{
            "patient_id": f"MRN{number:05d}",
            "patient_name": f"Doe^Jane{number}",
            "birth_date": "19600102",
            "sex": "F",
            "study_date": f"2019{number % 12 + 1:02d}15",
            "institution": f"Hospital {number % 2}",
            "seed": number,
            **more,
        }
    )


def dicom_patients(folder, numbers):
    for number in numbers:
        place = Path(folder) / f"patient{number}"
        identity = person(number)
        write_series(volume(number), place / "a", acquisition=T1, identity=identity)
        second = person(number, series_number=2)
        write_series(volume(number + 1000), place / "b", acquisition=T2, identity=second)


def pictures(folder, numbers):
    from PIL import Image

    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        noise = np.random.default_rng(number).integers(0, 255, (20, 24), dtype=np.uint8)
        Image.fromarray(noise).save(Path(folder) / f"view_{number:03d}.png")


def bids(folder):
    for subject in ("01", "02"):
        place = Path(folder) / f"sub-{subject}" / "anat"
        place.mkdir(parents=True)
        write_nifti(volume(50 + int(subject)), place / f"sub-{subject}_T1w.nii.gz")
        sidecar = {"EchoTime": 0.003, "InstitutionName": "Bids Clinic"}
        (place / f"sub-{subject}_T1w.json").write_text(json.dumps(sidecar))


def rubbish(folder, real_dicom):
    """One file of each kind that must be listed as unused, by the reason it must be given."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    data = Path(real_dicom).read_bytes()
    (folder / "notes.txt").write_text("hello")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "text.dcm").write_text("this is no DICOM file " * 20)
    (folder / "short.dcm").write_bytes(data[: len(data) - 60])
    (folder / "copy.dcm").write_bytes(data)
    (folder / "short.nii").write_bytes(b"\x5c\x01\x00\x00" + bytes(200))
    (folder / "alone.json").write_text("{}")
    return {
        "notes.txt": "not-an-image",
        "empty.dcm": "empty-file",
        "text.dcm": "not-an-image",
        "short.dcm": "truncated",
        "copy.dcm": "copy",
        "short.nii": None,
        "alone.json": "not-an-image",
    }


def mixed_archive(folder):
    """Everything at once; gives the expected reason for each file that must not be used."""
    folder = Path(folder)
    dicom_patients(folder, (1, 2, 3))
    bids(folder / "set")
    pictures(folder / "pictures", range(4))
    zipped = folder / "zipped"
    write_series(volume(9), zipped, acquisition=T1, identity=person(9))
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for path in sorted(zipped.iterdir()):
            archive.write(path, f"study/{path.name}")
            path.unlink()
    zipped.rmdir()
    return rubbish(folder / "rubbish", next((folder / "patient1" / "a").iterdir()))


def ingest(sources, to, **more):
    sources = [sources] if isinstance(sources, (str, Path)) else sources
    settings = {"workers": 1, "key_file": str(Path(to).parent / "test.key"), **more}
    return run(Config(sources=tuple(map(str, sources)), to=str(to), **settings))


def with_key(folder):
    """The same key for every cohort made in a folder, so that fingerprints can be compared."""
    Path(folder, "test.key").write_text("ab" * 32)
    return Path(folder)
