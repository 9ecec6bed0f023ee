"""New scans for a finished model: files and folders read the way a cohort is, kept only as long as they are needed."""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radfoundry.data.assembly import Done, assemble
from radfoundry.data.cohort import open_cohort
from radfoundry.data.identity import Rules, check_pattern, stem_of
from radfoundry.data.intake import ReadTask, file_label, read_task, rejection
from radfoundry.data.inventory import FileSeen, instance_of, is_sidecar, person_of, remedy_for, seen, take_inventory
from radfoundry.data.pseudonyms import KEY_BYTES, Pseudonyms
from radfoundry.data.reading import Repair
from radfoundry.data.stated_words import stated_modality, stated_sequence
from radfoundry.records import Cohort, InputError, counted

Found = list[tuple[FileSeen, dict[str, Any]]]


@dataclass(frozen=True)
class Scans:
    """What was read: a cohort for the moment, where each case's files lie, and the files that hold no usable image.

    `names` maps case keys to places below the folders given; `rejected` lists (place, reason).
    """

    cohort: Cohort
    names: Mapping[str, str]
    rejected: tuple[tuple[str, str], ...] = ()


def scan_rules(*, pattern: str = "", modality: str | None = None, sequence: str | None = None) -> Rules:
    """The rules of an ingest under a key that nobody keeps: names are replaced and cannot be found again."""
    check_pattern(pattern)
    names = Pseudonyms(secrets.token_bytes(KEY_BYTES))
    return Rules(names=names, pattern=pattern, modality=stated_modality(modality), sequence=stated_sequence(sequence))


def read_scans(paths: Sequence[str | Path], *, folder: Path, rules: Rules, repair: Repair | None = None) -> Scans:
    """Read DICOM, NIfTI and picture files below the paths into `folder` (an empty one, the caller removes it).

    The order of the paths does not matter. Refuses paths that do not exist and a set without a readable image.
    """
    missing = [str(path) for path in paths if not Path(path).exists()]
    if missing:
        raise InputError("no such file or folder", where=missing[0], remedy="check the path", finding="missing-file")
    files = list(seen(paths))
    tasks, refused = _tasks(files, rules, folder)
    outcomes: dict[str, Done] = {}
    places: dict[str, list[str]] = defaultdict(list)
    for key, found in sorted(tasks.items()):
        outcome = read_task(_task(key, found, rules, repair or Repair(), folder))
        outcomes[key] = Done(key, (), "", outcome)
        for row in outcome["series"]:
            places[row["case"]] += [file.relative for file, _ in found]
    labels = {file_label(file, rules): file.relative for file in files}
    rejected = [*refused, *(row for done in outcomes.values() for row in done.outcome["rejected"])]
    reasons = tuple(sorted((labels.get(row["file"], "?"), f"{row['reason']}: {row['what']}") for row in rejected))
    if not places:
        first = f"; first: {reasons[0][0]}: {reasons[0][1]}" if reasons else ""
        raise InputError(
            f"none of {counted(len(files), 'file')} is a readable image{first}",
            where=", ".join(str(path) for path in paths),
            remedy=next((row["remedy"] for row in rejected if row["reason"] != "not-an-image" and row["remedy"]), None)
            or "give DICOM, NIfTI, NRRD, MetaImage, PNG or JPEG files",
            finding="no-image",
        )
    assemble(folder, outcomes, refused=[], seen=set(), provenance={"pseudonymised": True})
    return Scans(_with_sequence(open_cohort(folder), rules.sequence), case_names(places), reasons)


def _with_sequence(cohort: Cohort, stated: str | None) -> Cohort:
    """What the user states of the sequence holds for every series of which the header does not tell, DICOM too."""
    if stated is None:
        return cohort
    cases = [
        replace(case, series=tuple(replace(one, sequence=one.sequence or stated) for one in case.series))
        for case in cohort.cases
    ]
    return replace(cohort, cases=tuple(cases))


def _tasks(files: Sequence[FileSeen], rules: Rules, folder: Path) -> tuple[dict[str, Found], list[dict[str, Any]]]:
    """Files by the task that reads them, and a rejected row for each that no task reads."""
    tasks: dict[str, Found] = defaultdict(list)
    refused = []
    found = list(take_inventory(files, rules, folder / ".ingest" / "inventory"))
    stems = {stem_of(file.relative) for file, row in found if row["kind"] != "other"}
    for file, row in found:
        if row.get("task"):
            tasks[row["task"]].append((file, row))
        elif row.get("reason") and not is_sidecar(file, stems, set()):
            error = InputError(row["what"], finding=row["reason"], remedy=remedy_for(row["reason"]))
            refused.append(rejection(file, rules, error))
    return tasks, refused


def _task(key: str, found: Found, rules: Rules, repair: Repair, folder: Path) -> ReadTask:
    found = sorted(found, key=lambda pair: pair[0].relative)
    first = found[0][1]
    instances = tuple(instance_of(row, file) for file, row in found) if first["kind"] == "dicom" else ()
    files = tuple(file for file, _ in found)
    return ReadTask(key, str(folder), rules, repair, first["kind"], person_of(first), files, instances)


def case_names(places: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A name for each case: the one file, or the folder that holds all its files and nobody else's.

    >>> case_names({"c1": ["scans/a/1.dcm", "scans/a/2.dcm"], "c2": ["scans/b.nii"]})
    {'c1': 'scans/a', 'c2': 'scans/b.nii'}
    """
    shared = {case: _together(files) for case, files in places.items()}
    counts: dict[str, int] = defaultdict(int)
    for name in shared.values():
        counts[name] += 1
    return {
        case: name if counts[name] == 1 and not _holds_others(name, case, places) else min(places[case])
        for case, name in shared.items()
    }


def _together(files: Sequence[str]) -> str:
    return files[0] if len(set(files)) == 1 else os.path.commonpath([*files])


def _holds_others(name: str, case: str, places: Mapping[str, Sequence[str]]) -> bool:
    inside = f"{name}/"
    return any(file.startswith(inside) for other, files in places.items() if other != case for file in files)
