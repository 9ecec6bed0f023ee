"""Who and where an image is of, and the same untold: identifiers become pseudonyms before anything is stored."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from radfoundry import registry
from radfoundry.data.bids import parse_name
from radfoundry.data.dicom_header import Instance
from radfoundry.data.pseudonyms import Pseudonyms, age_in_years, grouped_age, mentions, parse_date
from radfoundry.records import Acquisition, InputError

PATTERN_GROUPS = ("patient", "case", "site", "sequence")
IMAGE_SUFFIXES = (
    *(".nii.gz", ".img.gz", ".hdr.gz", ".nii", ".img", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"),
    *(".png", ".jpeg", ".jpg", ".dcm", ".ima"),
)
# Words of device and body vocabularies: a patient "named" so (phantoms often are) must not empty these fields.
HARMLESS = re.compile(
    "siemens|healthineers|philips|medical|systems|canon|toshiba|hitachi|fujifilm|bruker|united|imaging|uih|hologic|"
    "agfa|carestream|samsung|shimadzu|prisma|skyra|vida|espree|avanto|trio|triotim|achieva|ingenia|discovery|signa|"
    "head|brain|spine|chest|abdomen|pelvis|knee|breast|heart|phantom|test|anon|anonymous|anonymized|patient|unknown|"
    "original|primary|secondary|derived|axial|coronal|sagittal|mri|none",
    re.IGNORECASE,
)
# Words of this program's own messages: a file that is called nan.nii does not make a name of them.
OWN_WORDS = re.compile(
    "nan|image|mask|voxels?|slices?|series|affine|complex|type|file|files|dicom|nifti", re.IGNORECASE
)
KEPT_TEXT = (
    *("manufacturer", "model", "software", "body_part", "sequence_name", "acquisition_type", "view_position"),
    *("laterality", "image_laterality", "patient_position", "photometric", "rescale_type", "modality", "burned_in"),
    *("diffusion_directionality", "series_description", "protocol_name", "contrast_agent", "study_description"),
    *("image_type", "scanning_sequence", "sequence_variant", "scan_options", "convolution_kernel"),
    *("receive_coil", "angio_flag", "acquisition_contrast"),
)
BIDS_MASKS = ("dseg", "mask", "probseg")
UIDS = ("sop_uid", "series_uid", "study_uid", "frame_of_reference")


@dataclass(frozen=True)
class Rules:
    """How the files of one cohort are told apart and what of their headers is kept.

    `pattern` is a regular expression with named groups `patient` and, if wanted, `case`, `site` and `sequence`,
    searched in the path of files that carry no patient of their own. `masks` are shell patterns for the paths
    of segmentations. `sites` maps the header's (or pattern's) site names to names of the user's choice.
    `modality` and `sequence` are the user's word for image files that state none.
    """

    names: Pseudonyms
    keep_text: bool = False
    keep_year: bool = False
    site_from: str = "institution"
    sites: Mapping[str, str] = field(default_factory=dict)
    pattern: str = ""
    masks: tuple[str, ...] = ()
    modality: str | None = None
    sequence: str | None = None


@dataclass(frozen=True)
class Person:
    """Everything a case row says of a patient and an exam, already pseudonymous."""

    patient: str
    case: str
    site: str | None = None
    age_years: float | None = None
    sex: str | None = None
    date: str | None = None
    year: int | None = None
    sequence: str | None = None
    mask: bool = False
    stated: bool = True

    def to_row(self) -> dict[str, Any]:
        """Plain values; absent ones left out."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}


def stem_of(path: str) -> str:
    """A path without the ending of an image file.

    >>> stem_of("brain/p01/T1w.nii.gz")
    'brain/p01/T1w'
    """
    lower = path.lower()
    return next((path[: -len(suffix)] for suffix in IMAGE_SUFFIXES if lower.endswith(suffix)), path)


def file_keys(relative: str, names: Pseudonyms) -> list[str]:
    """Keyed names of a file's path and of its every tail (`c`, `b/c`, `a/b/c`), so that a table may name files so."""
    parts = stem_of(relative.replace("!", "/")).split("/")
    return [names.name("file", "/".join(parts[start:])) for start in range(len(parts) - 1, -1, -1)]


def person_of_instance(instance: Instance, rules: Rules, relative: str) -> Person:
    """The person of a DICOM file; without a PatientID every study (or else file) is a patient of its own."""
    names = rules.names
    identifier = instance.patient_id or f"study {instance.study_uid or relative}"
    study_day = parse_date(instance.study_date) or parse_date(instance.acquisition_date)
    moved = names.shifted(study_day, identifier)
    age = age_in_years(instance.age, parse_date(instance.birth_date), study_day)
    raw_site = {"institution": instance.institution, "station": instance.station, "manufacturer": instance.manufacturer}
    sex = (instance.sex or "").strip().upper()
    return Person(
        patient=names.patient(identifier),
        case=names.case(instance.study_uid or f"{identifier}\0{instance.study_date}"),
        site=site_name(raw_site.get(rules.site_from), rules),
        age_years=grouped_age(age) if names.keyed else age,
        sex=sex if sex in ("M", "F", "O") else None,
        date=moved.isoformat() if moved else None,
        year=study_day.year if study_day and (rules.keep_year or not names.keyed) else None,
        stated=bool(instance.patient_id),
    )


def site_name(raw: str | None, rules: Rules) -> str | None:
    """The site's name: the user's own for it, else its pseudonym; None where nothing is stated."""
    if not raw or not raw.strip():
        return None
    return rules.sites.get(raw.strip()) or rules.names.site(raw)


def check_pattern(pattern: str) -> None:
    """Refuse a pattern of file names that is no regular expression, names no patient, or says what nobody reads."""
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise InputError(f"pattern is not a regular expression ({error})", remedy="mend it") from None
    if pattern and "patient" not in groups:
        raise InputError("pattern has no group named patient", remedy="write for example (?P<patient>sub-[0-9]+)")
    for name in groups:
        if name not in PATTERN_GROUPS:
            raise registry.unknown("group", name, PATTERN_GROUPS, where="pattern")


def person_of_file(relative: str, rules: Rules, sidecar: Mapping[str, Any]) -> Person | None:
    """The person of an image file, from the pattern or its BIDS name; None when a given pattern does not fit.

    Without either every file is a patient of its own, since nothing says which files belong together.
    `sidecar` is the JSON object beside the image; it may state age, sex and institution.
    """
    names, stem = rules.names, stem_of(relative)
    bids = parse_name(re.split(r"[/!]", relative)[-1])
    found: Mapping[str, str | None] = {}
    if rules.pattern:
        match = re.search(rules.pattern, relative)
        found = match.groupdict() if match else {}
        if not found.get("patient"):
            return None
    elif bids:
        found = {"patient": bids.patient, "case": bids.visit, "sequence": bids.sequence}
    patient, session = found.get("patient") or stem, found.get("case")
    stated = {"institution": "InstitutionName", "station": "StationName", "manufacturer": "Manufacturer"}
    place = found.get("site") or sidecar.get(stated.get(rules.site_from, ""))
    sex, age = str(sidecar.get("PatientSex", "")).upper(), age_in_years(sidecar.get("PatientAge"), None, None)
    is_mask = bids is not None and bids.suffix in BIDS_MASKS
    return Person(
        patient=names.patient(patient),
        case=names.case(f"{patient}\0{session}" if session else patient),
        site=site_name(place if isinstance(place, str) else None, rules),
        age_years=grouped_age(age) if names.keyed else age,
        sex=sex if sex in ("M", "F", "O") else None,
        sequence=found.get("sequence") or rules.sequence,
        mask=is_mask or _fits(relative, rules.masks),
        stated=bool(found),
    )


def _fits(relative: str, patterns: Sequence[str]) -> bool:
    """Whether a path, or its end, is what one of the patterns says: `labels/*` holds below any folder."""
    return any(fnmatch.fnmatch(relative, part) or fnmatch.fnmatch(relative, f"*/{part}") for part in patterns)


def told_by_sidecar(sidecar: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of a JSON sidecar that point to the patient."""
    keys = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "OperatorsName", "PerformingPhysician")
    return telling_words(value for key in keys if isinstance(value := sidecar.get(key), str))


def untold(acquisition: Acquisition, rules: Rules, identity: tuple[str, ...]) -> Acquisition:
    """The acquisition without free text (unless it is to be kept) and without any text that mentions the patient."""
    if not rules.names.keyed:
        return acquisition
    changed: dict[str, Any] = {
        item.name: _kept(value, identity)
        for item in fields(acquisition)
        if isinstance(value := getattr(acquisition, item.name), str)
        or (isinstance(value, tuple) and value and isinstance(value[0], str))
    }
    if not rules.keep_text:
        changed |= {"series_description": None, "protocol_name": None}
        changed["contrast_agent"] = "stated" if acquisition.contrast_agent else None
    return replace(acquisition, **changed)


def pseudonymous(instance: Instance, rules: Rules) -> Instance:
    """The header without a word that tells who, where or when; path and member are emptied too.

    Identifiers become keyed names (equal ones stay equal, so that series can still be put together), dates,
    names and places go, and kept device texts go as well when they mention the patient.
    """
    if not rules.names.keyed:
        return replace(instance, path="", member="")
    names = rules.names
    changed: dict[str, Any] = {"path": "", "member": "", "institution": None, "station": None, "age": None, "sex": None}
    for name in ("patient_name", "birth_date", "study_date", "acquisition_date", "patient_id"):
        changed[name] = None
    changed["accession"] = names.name("accession", instance.accession) if instance.accession else None
    for name in UIDS:
        value = getattr(instance, name)
        changed[name] = names.name("uid", value) if value else None
    identity = identifiers_of(instance)
    for name in KEPT_TEXT:
        changed[name] = _kept(getattr(instance, name), identity)
    if not rules.keep_text:
        changed |= dict.fromkeys(("series_description", "protocol_name", "study_description"))
        changed["contrast_agent"] = "stated" if instance.contrast_agent else None
    return replace(instance, **changed)


def identifiers_of(instance: Instance) -> tuple[str, ...]:
    """The words of a header that point to the patient, harmless vocabulary left out."""
    stated = (instance.patient_name, instance.patient_id, instance.birth_date, instance.accession)
    return telling_words(text for text in stated if text)


def telling_words(texts: Iterable[str]) -> tuple[str, ...]:
    """Words of at least three signs that are no common device or body vocabulary."""
    words = [word for text in texts for word in re.split(r"[^0-9A-Za-zÀ-ɏ]+", text)]
    return tuple(word for word in words if len(word) >= 3 and not HARMLESS.fullmatch(word))


def _kept(value: Any, identity: tuple[str, ...]) -> Any:
    if isinstance(value, tuple):
        return tuple(part for part in value if not mentions(part, identity)) or None
    return None if value is not None and mentions(value, identity) else value


def without_names(text: str, relative: str, instance: Instance | None = None) -> str:
    """A message with every word of the file's path and of the patient's identity replaced.

    >>> without_names("cannot read MUELLER_01.dcm at byte 7", "scans/mueller_01.dcm")
    'cannot read [name] at byte 7'
    >>> without_names("1 voxel is NaN: set repair.nan=zero", "scans/nan.nii")
    '1 voxel is NaN: set repair.nan=zero'
    """
    identity = identifiers_of(instance) if instance else ()
    path_words = [part for part in re.split(r"[/!\\]", relative) if part]
    path_words += [word for part in path_words for word in re.split(r"[^0-9A-Za-zÀ-ɏ]+", part) if len(word) >= 3]
    for word in sorted({*path_words, *identity}, key=len, reverse=True):
        if OWN_WORDS.fullmatch(word):
            continue
        text = re.sub(rf"(?<![0-9A-Za-z]){re.escape(word)}(?![0-9A-Za-z])", "[name]", text, flags=re.IGNORECASE)
    return text
