"""From files to stored series: one task reads what belongs together, stores the pixels and says what it did."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from radfoundry.data.cohort import volume_path
from radfoundry.data.dicom_header import Instance
from radfoundry.data.dicom_series import group_instances, load_series
from radfoundry.data.identity import Person, Rules, file_keys, told_by_sidecar, untold, without_names
from radfoundry.data.inventory import EXPLANATIONS, FileSeen, own_sidecar, remedy_for
from radfoundry.data.reading import ReadSeries, Repair
from radfoundry.data.sequence_rules import plane_of, sequence_of
from radfoundry.data.sources import open_source, read_from
from radfoundry.data.stated_words import stated_sequence
from radfoundry.data.store import stored_content, write_volume
from radfoundry.records import Acquisition, InputError

Outcome = dict[str, Any]
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class ReadTask:
    """Files that belong together: those of one DICOM series UID, or a single image file."""

    key: str
    cohort: str
    rules: Rules
    repair: Repair
    kind: str
    person: Person
    files: tuple[FileSeen, ...]
    instances: tuple[Instance, ...] = ()

    @property
    def members(self) -> list[str]:
        """What identifies the contents of the files, wherever they lie: keyed SOP UIDs, or size and time."""
        if self.kind == "dicom":
            return sorted({item.sop_uid or f"{item.rows} {item.instance_number}" for item in self.instances})
        return [content_of_file(file) for file in self.files]


def read_task(task: ReadTask) -> Outcome:
    """Read, store and describe: `{"series": rows, "case": row, "rejected": rows}`; a full disk ends the ingest."""
    outcome: Outcome = {"series": [], "rejected": [], "case": _case_row(task.person)}
    if task.kind == "dicom":
        _read_dicom(task, outcome)
    else:
        _read_file(task, outcome)
    return outcome


def _read_dicom(task: ReadTask, outcome: Outcome) -> None:
    file_of = {file.source: file for file in task.files}
    kept = _without_copies(task, file_of, outcome)
    groups = group_instances(kept)
    for key, group in zip(series_keys(groups, task.key, task.rules), groups, strict=True):
        files = [file_of[item.source] for item in group]
        try:
            read = load_series(group, repair=task.repair, keep_text=task.rules.keep_text)
        except InputError as error:
            outcome["rejected"] += [rejection(file, task.rules, error, series=key) for file in files]
            continue
        read = replace(read, acquisition=_as_inventoried(read.acquisition, group))
        name, reason = sequence_of(read.acquisition, volumes=read.volume.array.shape[0])
        row = {"sequence": name, "sequence_reason": reason, "plane": plane_of(read.volume.affine), "kind": "dicom"}
        uid = group[0].series_uid
        row["uid_key"] = uid if task.rules.names.keyed or not uid else task.rules.names.name("uid", uid)
        row["file_keys"] = _accession_keys(group[0], task.rules)
        outcome["series"].append(_store(task, key, read, {**row, "files": len(files)}))


def _accession_keys(first: Instance, rules: Rules) -> list[str] | None:
    """The keyed accession number, so that a table or a report may name the exam by it."""
    if not first.accession:
        return None
    return [first.accession if rules.names.keyed else rules.names.name("accession", first.accession)]


def _as_inventoried(acquisition: Acquisition, group: Sequence[Instance]) -> Acquisition:
    """Only words of the image type that the inventory let pass: frames of enhanced files state it once more."""
    passed = {word for item in group for word in item.image_type or ()}
    words = tuple(word for word in acquisition.image_type or () if word in passed)
    return replace(acquisition, image_type=words or None)


def _read_file(task: ReadTask, outcome: Outcome) -> None:
    from radfoundry.data.image_files import read_image

    (file,) = task.files
    try:
        read = read_image(file.source, repair=task.repair)
    except InputError as error:
        outcome["rejected"].append(rejection(file, task.rules, error))
        return
    person = task.person
    acquisition = untold(read.acquisition, task.rules, told_by_sidecar(own_sidecar(file.source)))
    acquisition = replace(acquisition, modality=acquisition.modality or task.rules.modality)
    name, reason = sequence_of(acquisition, volumes=read.volume.array.shape[0])
    if person.mask:
        acquisition, name, reason = Acquisition(modality="SEG"), "mask", "files.masks"
    elif person.sequence:
        name, reason = stated_sequence(person.sequence), "stated by path or settings"
    flat = read.volume.shape[2] == 1
    row = {
        "sequence": name,
        "sequence_reason": reason,
        "plane": None if flat else plane_of(read.volume.affine, stacked=False),
        "kind": task.kind,
        "files": 1,
        "file_keys": file_keys(file.relative, task.rules.names),
    }
    key = series_key_of_file(file, task.rules)
    outcome["series"].append(_store(task, key, replace(read, acquisition=acquisition), row))


def _store(task: ReadTask, key: str, read: ReadSeries, row: Mapping[str, Any]) -> dict[str, Any]:
    volume = read.volume
    path = volume_path(task.cohort, key)
    write_volume(path, volume)
    return {
        "key": key,
        "patient": task.person.patient,
        "case": task.person.case,
        "site": task.person.site,
        "shape": list(volume.array.shape),
        "spacing_mm": [round(value, 6) for value in volume.spacing_mm],
        "affine": [round(value, 6) + 0.0 for value in volume.affine.ravel().tolist()],
        "content": stored_content(path),
        "repairs": list(read.repairs),
        "units": volume.units,
        **row,
        **read.acquisition.to_dict(),
    }


def _case_row(person: Person) -> dict[str, Any]:
    return {
        "key": person.case,
        "patient": person.patient,
        "site": person.site,
        "age_years": person.age_years,
        "sex": person.sex,
        "date": person.date,
        "year": person.year,
        "stated": person.stated,
    }


def content_of_file(file: FileSeen) -> str:
    """What tells the content of an image file from another's under the same name: its size and time."""
    return f"{file.size}-{file.modified}"


def series_key_of_file(file: FileSeen, rules: Rules) -> str:
    """The key of the series that an image file other than DICOM is."""
    return rules.names.series(f"file {file.relative}")


def series_keys(groups: Sequence[Sequence[Instance]], task: str, rules: Rules) -> list[str]:
    """A key for each group: its series UID and what tells it apart; the SOP UID where that is not enough."""
    told = [_distinction(group[0]) for group in groups]
    counts = Counter(told)
    keys = []
    for words, group in zip(told, groups, strict=True):
        alone = counts[words] == 1
        own = "" if alone else min(item.sop_uid or str(item.instance_number) for item in group)
        keys.append(rules.names.series(f"{task} {words} {own}"))
    return keys


def _distinction(first: Instance) -> str:
    direction = [round(value, 2) + 0.0 for value in first.orientation or ()]
    flags = [first.modality, first.photometric, first.samples, first.enhanced, first.mosaic]
    return str([flags, first.image_type, first.echo_number, round(first.echo_time_ms or 0, 3), direction])


def _without_copies(task: ReadTask, file_of: Mapping[Any, FileSeen], outcome: Outcome) -> list[Instance]:
    """The instances without second copies, byte for byte, of the same file; copies are listed as such."""
    by_uid: dict[str, list[Instance]] = defaultdict(list)
    kept = []
    for item in task.instances:
        if item.sop_uid is None:
            kept.append(item)
        else:
            by_uid[item.sop_uid].append(item)
    for group in by_uid.values():
        digests: set[str] = set()
        for item in sorted(group, key=lambda item: file_of[item.source].relative):
            digest = _file_digest(item) if len(group) > 1 else ""
            if digest in digests:
                error = InputError(EXPLANATIONS["copy"], finding="copy", remedy=remedy_for("copy"))
                outcome["rejected"].append(rejection(file_of[item.source], task.rules, error))
            else:
                digests.add(digest)
                kept.append(item)
    return kept


def _file_digest(item: Instance) -> str:
    digest = hashlib.sha256()
    with open_source(item.source) as stream:
        while block := read_from(stream, READ_BYTES, item.source):
            digest.update(block)
    return digest.hexdigest()


def rejection(file: FileSeen, rules: Rules, error: InputError, *, series: str | None = None) -> dict[str, Any]:
    """A row of the rejected table; with a key the file is named by a keyed hash, its ending and its depth alone."""
    finding = error.finding or "unreadable"
    keyed = rules.names.keyed and finding not in EXPLANATIONS  # our own words name nobody
    remedy = error.remedy or remedy_for(finding)
    return {
        "file": file_label(file, rules),
        "extension": file.extension,
        "depth": file.relative.count("/") + file.relative.count("!"),
        "reason": finding,
        "what": without_names(error.what, file.relative) if keyed else error.what,
        "remedy": without_names(remedy, file.relative) if keyed else remedy,
        "series": series,
    }


def file_label(file: FileSeen, rules: Rules) -> str:
    """How the rejected table names a file: its path below the given folder, keyed where the cohort is."""
    return f"f-{rules.names.name('file', file.relative)}" if rules.names.keyed else file.relative
