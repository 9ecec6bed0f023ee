"""What BIDS file names and JSON sidecars say about an image: whose it is, when, which sequence, how acquired.

Source: Brain Imaging Data Structure specification 1.10 (file names, inheritance principle, MRI metadata).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radfoundry.data.sources import Source, open_source
from radfoundry.data.streams import Readable, beside, name_of
from radfoundry.records import Acquisition, InputError

SIDECAR_LIMIT_BYTES = 1 << 24
EXTENSIONS = (".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".json", ".png", ".jpg", ".jpeg")
SUFFIXES = {  # suffixes whose contrast is known, in the words of `sequence_rules`
    "T1w": "T1w",
    "T2w": "T2w",
    "PDw": "PDw",
    "PD": "PDw",
    "FLAIR": "FLAIR",
    "T2starw": "T2starw",
    "T2star": "T2starw",
    "dwi": "dwi",
    "bold": "bold",
    "asl": "asl",
    "angio": "angio",
    "swi": "swi",
}
NAME = re.compile(r"^((?:[A-Za-z]+-[A-Za-z0-9+]+_)*)([A-Za-z0-9]+)$")
MR_FOLDERS = frozenset(("anat", "func", "dwi", "fmap", "perf"))
DATATYPES = MR_FOLDERS | {"pet", "micr"}

NUMBERS = {  # sidecar key -> field, factor to our unit, largest value that can be meant
    "RepetitionTime": ("repetition_time_ms", 1000.0, 100.0),
    "EchoTime": ("echo_time_ms", 1000.0, 1.0),
    "InversionTime": ("inversion_time_ms", 1000.0, 30.0),
    "MagneticFieldStrength": ("field_strength_t", 1.0, 30.0),
    "FlipAngle": ("flip_angle_deg", 1.0, 360.0),
    "NumberOfAverages": ("averages", 1.0, 1e4),
    "PixelBandwidth": ("bandwidth_hz_per_pixel", 1.0, 1e7),
    "SliceThickness": ("slice_thickness_mm", 1.0, 1e3),
    "KVP": ("tube_voltage_kv", 1.0, 1e3),
    "XRayTubeCurrent": ("tube_current_ma", 1.0, 1e5),
}
WHOLE_NUMBERS = {"EchoTrainLength": "echo_train_length", "EchoNumber": "echo_number"}
WORDS = {
    "Modality": "modality",
    "Manufacturer": "manufacturer",
    "ManufacturersModelName": "model",
    "SoftwareVersions": "software",
    "BodyPart": "body_part",
    "BodyPartExamined": "body_part",
    "SeriesDescription": "series_description",
    "ProtocolName": "protocol_name",
    "PulseSequenceName": "sequence_name",
    "SequenceName": "sequence_name",
    "MRAcquisitionType": "acquisition_type",
    "ContrastBolusIngredient": "contrast_agent",
    "ConvolutionKernel": "convolution_kernel",
    "PatientPosition": "patient_position",
    "ReceiveCoilName": "receive_coil",
}
LISTS = {
    "ScanningSequence": "scanning_sequence",
    "SequenceVariant": "sequence_variant",
    "ScanOptions": "scan_options",
    "ImageType": "image_type",
}


@dataclass(frozen=True)
class BidsName:
    """A BIDS file name taken apart: `entities` such as sub, ses, run, acq, ce, echo, and the suffix."""

    entities: Mapping[str, str]
    suffix: str

    @property
    def patient(self) -> str | None:
        """The label of the subject."""
        return self.entities.get("sub")

    @property
    def visit(self) -> str | None:
        """The label of the session, None where the set has one visit per subject."""
        return self.entities.get("ses")

    @property
    def sequence(self) -> str | None:
        """The MR sequence that the suffix states, None for other images and for maps."""
        return SUFFIXES.get(self.suffix)


def parse_name(name: str) -> BidsName | None:
    """The parts of a BIDS file name, or None for a name that is not BIDS (which begins with a subject).

    >>> parsed = parse_name("sub-01_ses-pre_run-2_T1w.nii.gz")
    >>> parsed.patient, parsed.visit, parsed.sequence, parsed.entities["run"]
    ('01', 'pre', 'T1w', '2')
    >>> parse_name("t1_mprage.nii.gz") is None
    True
    """
    found = NAME.match(_stem(name))
    if found is None or not name.startswith("sub-"):
        return None
    pairs = [(part.partition("-")[0], part.partition("-")[2]) for part in found[1].split("_") if part]
    entities = dict(pairs)
    return BidsName(entities, found[2]) if len(entities) == len(pairs) else None


def _stem(name: str) -> str:
    return next((name[: -len(end)] for end in EXTENSIONS if name.lower().endswith(end)), name)


def acquisition_of(sidecar: Mapping[str, Any]) -> Acquisition:
    """The acquisition fields of a JSON sidecar: seconds become ms; what is absent, no number or impossible is None.

    Impossible is, for example, an echo time of 30 s: somebody wrote ms where the standard asks for
    seconds, and guessing is not ours.

    >>> acquisition_of({"EchoTime": 0.03, "RepetitionTime": 2.0, "FlipAngle": "unknown"}).to_dict()
    {'repetition_time_ms': 2000.0, 'echo_time_ms': 30.0}
    """
    values: dict[str, Any] = {}
    for key, (field, factor, largest) in NUMBERS.items():
        number: Any = sidecar.get(key)
        if _is_number(number) and 0 <= number <= largest:
            values[field] = round(float(number) * factor, 9)
    for key, field in WHOLE_NUMBERS.items():
        number: Any = sidecar.get(key)
        if _is_number(number) and number == int(number) and number > 0:
            values[field] = int(number)
    for key, field in WORDS.items():
        word = sidecar.get(key)
        if isinstance(word, str) and word.strip():
            values[field] = word.strip()
    for key, field in LISTS.items():
        words = sidecar.get(key)
        if isinstance(words, str):
            words = [word for word in re.split(r"[\\_ ]", words) if word]
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            values[field] = tuple(words)
    return Acquisition(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def acquisition_beside(source: Readable) -> tuple[Acquisition, tuple[str, ...]]:
    """What the sidecars of an image state, and `("sidecar",)` when one of them could not be read.

    The sidecar of the same name counts most; in a BIDS tree on disk, those of the folders above that
    apply to the image (same suffix, no entity that the image lacks) fill in what it leaves out. The name
    and folder themselves give the modality and, by the `ce` entity, the contrast agent.
    """
    if isinstance(source, bytes):
        return Acquisition(), ()
    parsed = parse_name(name_of(source))
    merged: dict[str, Any] = {}
    broken = False
    for sidecar in _sidecars(source, parsed):
        values = read_sidecar(sidecar)
        broken = broken or values is None
        merged |= values or {}
    acquisition = acquisition_of(merged)
    if parsed is not None:
        modality = "MR" if parsed.suffix in SUFFIXES or _folder(source) in MR_FOLDERS else None
        acquisition = replace(
            acquisition,
            modality=acquisition.modality or modality or {"pet": "PT", "ct": "CT"}.get(parsed.suffix.lower()),
            contrast_agent=acquisition.contrast_agent or parsed.entities.get("ce"),
        )
    return acquisition, (("sidecar",) if broken else ())


def _folder(source: str | Path | Source) -> str:
    path = source if not isinstance(source, Source) else source.member or source.path
    return Path(path).parent.name


def read_sidecar(source: Source) -> dict[str, Any] | None:
    """The JSON object in a sidecar: empty when there is no file, None when there is one that is not a JSON object."""
    try:
        with open_source(source) as stream:
            data = stream.read(SIDECAR_LIMIT_BYTES + 1)
    except InputError as error:
        return {} if error.finding == "missing-file" else None
    try:
        values = json.loads(data) if len(data) <= SIDECAR_LIMIT_BYTES else None
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _sidecars(source: str | Path | Source, parsed: BidsName | None) -> Iterator[Source]:
    """Sidecars that may exist, those that count least first."""
    own = beside(source, f"{_stem(name_of(source))}.json")
    if parsed is not None and not own.member:
        for folder, fixed in _folders_above(Path(own.path).parent):
            yield from (Source(os.fspath(folder / name)) for name in _applicable(parsed, fixed))
    yield own


def _folders_above(folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folders of a BIDS tree from its root to the image's own, with the entities that their names fix."""
    chain = [folder]
    while chain[-1].name in DATATYPES or chain[-1].name.startswith(("sub-", "ses-")):
        chain.append(chain[-1].parent)
    for level in reversed(chain):
        inside = [part.split("-")[0] for part in (*level.parts[-2:],) if part.startswith(("sub-", "ses-"))]
        yield level, tuple(inside)


def _applicable(parsed: BidsName, fixed: tuple[str, ...]) -> Iterator[str]:
    free = [key for key in parsed.entities if key not in ("sub", "ses")][:8]
    owners = [[key for key in ("sub", "ses") if key in fixed and key in parsed.entities], []]
    for owner in owners if owners[0] else [[]]:
        for count in range(len(free) + 1):
            for chosen in itertools.combinations(free, count):
                kept = [key for key in parsed.entities if key in owner or key in chosen]
                yield "".join(f"{key}-{parsed.entities[key]}_" for key in kept) + f"{parsed.suffix}.json"
