"""What belongs together across a cohort, and between a cohort and one kept outside: patient, exam, series, image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radfoundry.data.duplicates import near_duplicate_groups
from radfoundry.records import Cohort, InputError, Series

REASONS = ("patient", "accession", "uid", "pixels", "near", "embedding")
HERE, OUTSIDE = "here", "outside"
COSINE = 0.999
BLOCK_ROWS = 1024


@dataclass(frozen=True, order=True)
class Member:
    """One series of a group: in which cohort it lies, and its exam and patient there."""

    origin: str
    series: str
    case: str
    patient: str


@dataclass(frozen=True)
class Group:
    """Series that belong together, and why: one of REASONS."""

    reason: str
    members: tuple[Member, ...]

    @property
    def patients(self) -> int:
        """How many patients are stated; more than one where one was expected is a finding."""
        return len({(member.origin, member.patient) for member in self.members})

    @property
    def crosses(self) -> bool:
        """Whether the group has members in both cohorts."""
        return len({member.origin for member in self.members}) > 1

    def parts(self, split: Mapping[str, str]) -> tuple[str, ...]:
        """The parts of a split (case key -> part) in which the group lies."""
        found = {split[m.case] for m in self.members if m.origin == HERE and m.case in split}
        return tuple(sorted(found | ({OUTSIDE} if self.crosses else set())))


def groups(
    cohort: Cohort,
    *,
    outside: Cohort | None = None,
    vectors: Mapping[str, np.ndarray] | None = None,
    cosine: float = COSINE,
) -> list[Group]:
    """Every group of two or more series that share something, by reason.

    `patient`, `accession` and `uid` (series) compare keyed identifiers: between two cohorts they can only agree when
    both were made with one key. `pixels` are equal images of any kind, `near` nearly equal 2D images (perceptual
    hash, checked pixel by pixel), `embedding` vectors (series key -> features) whose cosine is at least `cosine`.
    Patients with one series, and masks, are in no group. Groups of reason `patient` are listed when they have
    several exams or cross the cohorts.
    """
    known = dict(_members(cohort, HERE))
    if outside is not None:
        known.update(_members(outside, OUTSIDE))
    found = [*_by_identity(cohort, outside, known)]
    images = [
        (origin, item) for origin, place in _both(cohort, outside) for item in place.series if item.sequence != "mask"
    ]
    found += _joined("pixels", _keyed((item.content, (origin, item.key)) for origin, item in images), known)
    found += _joined("near", _near(images), known)
    if vectors:
        found += _joined("embedding", _alike(vectors, known, cosine), known)
    return sorted(found, key=lambda group: (REASONS.index(group.reason), group.members))


def linked_cases(cohort: Cohort) -> list[tuple[str, ...]]:
    """Groups of cases that must not be parted by a split: shared accession number, series UID, or image."""
    found = {tuple(sorted({m.case for m in group.members})) for group in groups(cohort) if group.reason != "patient"}
    return sorted(group for group in found if len(group) > 1)


def counts(found: Sequence[Group], split: Mapping[str, str] | None = None) -> dict[str, dict[str, int]]:
    """By reason, also when there are none: groups, series in them, groups of several patients, crossing groups."""
    table = {}
    for reason in REASONS:
        those = [group for group in found if group.reason == reason]
        table[reason] = {
            "groups": len(those),
            "series": sum(len(group.members) for group in those),
            "several patients": sum(group.patients > 1 for group in those),
            "crossing the split": sum(len(group.parts(split)) > 1 for group in those) if split else 0,
            "shared with outside": sum(group.crosses for group in those),
        }
    return table


Key = tuple[str, str]  # origin and series


def _both(cohort: Cohort, outside: Cohort | None) -> list[tuple[str, Cohort]]:
    return [(HERE, cohort), *([(OUTSIDE, outside)] if outside is not None else [])]


def _members(cohort: Cohort, origin: str) -> Iterator[tuple[Key, Member]]:
    for case in cohort.cases:
        for item in case.series:
            yield (origin, item.key), Member(origin, item.key, case.key, case.patient)


def _by_identity(cohort: Cohort, outside: Cohort | None, known: Mapping[Key, Member]) -> Iterator[Group]:
    patients = _joined("patient", _keyed((member.patient, key) for key, member in known.items()), known)
    yield from (group for group in patients if len({m.case for m in group.members}) > 1 or group.crosses)
    told = [(origin, row) for origin, place in _both(cohort, outside) for row in _rows(place)]
    numbers = ((name, (origin, row["key"])) for origin, row in told for name in row["accession"])
    # Series of one exam share its number as they should; a number in several exams or cohorts is a finding.
    for group in _joined("accession", _keyed(numbers), known):
        if len({(m.origin, m.case) for m in group.members}) > 1:
            yield group
    uids = ((row["uid"], (origin, row["key"])) for origin, row in told if row["uid"])
    for group in _joined("uid", _keyed(uids), known):
        if len({(m.origin, m.case) for m in group.members}) > 1:
            yield group


def _rows(cohort: Cohort) -> Iterator[dict]:
    """Keyed series UID and accession number of each series, where the cohort folder keeps them."""
    from pathlib import Path

    from radfoundry.data.cohort_tables import read_table

    path = Path(cohort.path or "") / "series.parquet"
    if cohort.path and path.exists():
        for row in read_table(path, "series"):
            names = row["file_keys"] if row["kind"] == "dicom" else None
            yield {"key": row["key"], "uid": row["uid_key"], "accession": tuple(names) if names is not None else ()}


def _keyed(pairs: Iterable[tuple[str, Key]]) -> list[tuple[Key, ...]]:
    shared: dict[str, list[Key]] = defaultdict(list)
    for value, key in pairs:
        if value:
            shared[value].append(key)
    return [tuple(keys) for keys in shared.values() if len(keys) > 1]


def _joined(reason: str, found: Iterable[Sequence[Key]], known: Mapping[Key, Member]) -> list[Group]:
    kept = (sorted({known[key] for key in keys if key in known}) for keys in found)
    return [Group(reason, tuple(members)) for members in kept if len(members) > 1]


def _near(images: Sequence[tuple[str, Series]]) -> list[tuple[Key, ...]]:
    flat = [(origin, item) for origin, item in images if item.shape[3] == 1]
    found = near_duplicate_groups(item.load() for _, item in flat)
    return [tuple((flat[place][0], flat[place][1].key) for place in group) for group in found]


def _alike(vectors: Mapping[str, np.ndarray], known: Mapping[Key, Member], cosine: float) -> list[tuple[Key, ...]]:
    """Series whose features point the same way; of another exam or cohort, since series of one exam may well agree."""
    keys = [key for key in known if key[1] in vectors]
    if not keys:
        return []
    table = np.stack([np.asarray(vectors[key[1]], np.float32) for key in keys])
    if not np.isfinite(table).all():
        raise InputError("some features are not finite", remedy="embed the cohort again")
    table = table - table.mean(axis=0)
    table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
    pairs: list[tuple[Key, ...]] = []
    for start in range(0, len(keys), BLOCK_ROWS):
        rows, columns = np.nonzero(table[start : start + BLOCK_ROWS] @ table[start:].T >= cosine)
        for row, column in zip(rows + start, columns + start, strict=True):
            one, other = known[keys[row]], known[keys[column]]
            if row < column and (one.origin, one.case) != (other.origin, other.case):
                pairs.append((keys[row], keys[column]))
    return pairs
