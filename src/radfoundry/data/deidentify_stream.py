"""Many files one batch at a time: each is cleaned, checked again, and put in its place whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radfoundry.data.bids import parse_name
from radfoundry.data.deidentify_check import ToldWords, longer_words, residues
from radfoundry.data.deidentify_files import (
    clean_nifti,
    clean_picture,
    clean_sidecar,
    path_words,
    place_of,
    read_json,
    sidecar_secrets,
)
from radfoundry.data.deidentify_object import Cleaned, deidentify_dicom
from radfoundry.data.deidentify_profile import Options
from radfoundry.data.deidentify_values import Secrets
from radfoundry.data.foreign_formats import foreign_format
from radfoundry.data.identity import IMAGE_SUFFIXES, Rules, person_of_file, without_names
from radfoundry.data.inventory import FileSeen, own_sidecar
from radfoundry.data.sniffing import HEAD_BYTES, kind_of_bytes
from radfoundry.data.sources import read_bytes
from radfoundry.records import InputError

BATCH_FILES = 64
IMAGES = "images"


@dataclass(frozen=True)
class Batch:
    """Some files of a stream, and how and where they are to be written."""

    files: tuple[FileSeen, ...]
    target: str
    rules: Rules
    options: Options

    @property
    def key(self) -> str:
        """The same for the same files in the same state: a batch done before an interruption is known by it."""
        told = "\n".join(f"{file.source}\0{file.size}\0{file.modified}" for file in self.files)
        return self.rules.names.name("batch", told)


@dataclass
class Outcome:
    """What became of one batch; nothing in it tells who, but for the keyed places of telling words."""

    read: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    rejected: list[dict[str, str]] = field(default_factory=list)
    masked_files: int = 0
    masked_regions: int = 0
    told: list[list[int]] = field(default_factory=list)

    def to_json(self) -> str:
        """For the record that lets an interrupted run go on."""
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """The inverse of `to_json`."""
        values = json.loads(text)
        outcome = cls(**values)
        outcome.kinds, outcome.done = Counter(values["kinds"]), Counter(values["done"])
        return outcome


def batches(files: Iterable[FileSeen], target: str, rules: Rules, options: Options) -> Iterator[Batch]:
    """The stream in batches of 64, never more than one in memory."""
    held: list[FileSeen] = []
    for file in files:
        held.append(file)
        if len(held) == BATCH_FILES:
            yield Batch(tuple(held), target, rules, options)
            held = []
    if held:
        yield Batch(tuple(held), target, rules, options)


def work_through(batch: Batch) -> Outcome:
    """Clean, check and write every file of a batch; a file that cannot be cleaned is a row of `rejected`."""
    outcome = Outcome(read=len(batch.files))
    filter_of, told = ToldWords(batch.rules.names.secret or b"", bytearray()), set()
    for file in batch.files:
        try:
            kind, cleaned = clean_file(file, batch.rules, batch.options)
            outcome.done.update(cleaned.done)
            told.update(longer_words(cleaned.secrets))
            left = residues(cleaned.data, cleaned.place, cleaned.secrets)
            if left:
                raise InputError(f"after cleaning it still tells {', '.join(left)}", finding="second-pass")
            place_whole(Path(batch.target) / IMAGES / cleaned.place, cleaned.data)
        except InputError as error:
            outcome.rejected.append(rejection(file, batch.rules, error))
            continue
        outcome.kinds[kind] += 1
        outcome.masked_files += cleaned.masked > 0
        outcome.masked_regions += cleaned.masked
    outcome.told = [filter_of.places(word) for word in sorted(told)]
    return outcome


def rejection(file: FileSeen, rules: Rules, error: InputError) -> dict[str, str]:
    """A row of the rejected table: the keyed name of the file, why, and what to do."""
    return {
        "file": label_of(file, rules),
        "reason": error.finding or "unreadable",
        "what": without_names(error.what, file.relative),
        "remedy": error.remedy or "have a person look at it",
    }


def label_of(file: FileSeen, rules: Rules) -> str:
    """How reports name a file: a keyed digest of its path below the given folder."""
    return f"f-{rules.names.name('file', file.relative)}"


def clean_file(file: FileSeen, rules: Rules, options: Options) -> tuple[str, Cleaned]:
    """The kind of a file and the file without identity.

    Refused by name: everything that `deidentify_dicom` refuses, files of a kind without a rule (tables, documents,
    NRRD, MetaImage), and pictures and NIfTI files whose path does not fit the pattern that names patients.
    """
    data = read_bytes(file.source)
    if not data:
        raise InputError("holds no bytes", remedy="copy the file again from its source", finding="empty-file")
    kind = kind_of_bytes(data[:HEAD_BYTES], name=file.source.name)
    if kind == "dicom":
        return kind, deidentify_dicom(data, file.source, file.relative, names=rules.names, options=options)
    if kind == "nifti":
        sidecar = own_sidecar(file.source)
        made = clean_nifti(data, str(file.source))
        return kind, _placed(file, made, ".nii.gz" if made[:2] == b"\x1f\x8b" else ".nii", sidecar, rules)
    if kind == "json" and _describes_an_image(file):
        values = read_json(data, str(file.source))
        done: Counter[str] = Counter()
        kept = clean_sidecar(values, sidecar_secrets(values, file.relative), options, done)
        text = (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode()
        return "sidecar", _placed(file, text, ".json", values, rules, done)
    if kind == "picture":
        return kind, _picture(file, data, rules, options)
    foreign = foreign_format(data[:HEAD_BYTES], name=file.source.name) if kind == "other" else None
    raise InputError(
        f"is no image for which there is a rule ({foreign or kind})",
        remedy="leave it out or convert it to NIfTI",
        finding="no-rule",
    )


def _describes_an_image(file: FileSeen) -> bool:
    """Whether a JSON file has a BIDS name, or an image of the same name beside it; in archives it is taken on trust."""
    place = Path(file.source.path)
    if file.source.member or parse_name(place.name) is not None:
        return True
    return any(place.with_name(f"{place.stem}{ending}").exists() for ending in IMAGE_SUFFIXES)


def _placed(
    file: FileSeen, data: bytes, ending: str, sidecar: dict[str, Any], rules: Rules, done: Counter[str] | None = None
) -> Cleaned:
    person = person_of_file(file.relative, rules, sidecar)
    if person is None:
        raise InputError("its path does not fit the pattern", remedy="mend the pattern", finding="pattern")
    secrets = sidecar_secrets(sidecar, file.relative) if sidecar else Secrets.of(path_words(file.relative))
    return Cleaned(data, place_of(file.relative, ending, person.patient, rules), done or Counter(), secrets)


def _picture(file: FileSeen, data: bytes, rules: Rules, options: Options) -> Cleaned:
    from radfoundry.data.deidentify_pictures import without_text

    made, masked = clean_picture(data, str(file.source)), 0
    if options.pixels != "none":
        made, masked = without_text(made, str(file.source))
    placed = _placed(file, made, ".jpg" if made[:2] == b"\xff\xd8" else ".png", {}, rules)
    return Cleaned(placed.data, placed.place, placed.done, placed.secrets, masked)


def place_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then rename it; the same file a second time changes nothing.

    Refused by name (`conflicting-copy`): other content under the same instance UID.
    """
    if path.exists():
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
        raise InputError(
            "another file of the same identity has other content",
            remedy="keep the right one of the two",
            finding="conflicting-copy",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{hashlib.sha256(data).hexdigest()[:8]}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
