"""Splits: which exam serves which purpose, so that no patient is ever on both sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.records import Case, InputError, counted

DEFAULT_PARTS: Mapping[str, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}


def by_patient(
    cases: Sequence[Case],
    *,
    parts: Mapping[str, float] = DEFAULT_PARTS,
    seed: int = 0,
    stratify_by: str | None = None,
    together: Iterable[Iterable[str]] = (),
) -> dict[str, str]:
    """Share out patients at random, every exam of a patient to the same part; case key -> part.

    `parts` are shares of the patients; each part gets its share rounded by largest remainders. With
    `stratify_by` (a label) the shares hold within every value of the label; a patient with several values
    counts under the most frequent. `together` are groups of case keys that must not be parted, for example
    near-duplicates. The result depends on the seed and the keys, not on the order of cases.
    Refuses fewer groups than parts and a label with one value.
    """
    shares = _checked_parts(parts)
    groups = patient_groups(cases, together=together)
    if len(groups) < len(shares):
        raise InputError(
            f"{len(groups)} independent patients cannot fill {len(shares)} parts",
            remedy="ask for fewer parts or ingest more patients",
            finding="too-few-patients",
        )
    strata: dict[Any, list[tuple[str, ...]]] = defaultdict(list)
    labels = _classes(cases, stratify_by) if stratify_by else {}
    for group in groups:
        strata[_commonest([labels.get(key) for key in group])].append(group)
    rng = np.random.default_rng(seed)
    dealt: dict[str, list[tuple[str, ...]]] = {name: [] for name in shares}
    for _, members in sorted(strata.items(), key=lambda item: str(item[0])):
        shuffled = [members[index] for index in rng.permutation(len(members))]
        _deal(shuffled, shares, dealt)
    for name in shares:  # rounding must not leave a part without anybody
        if not dealt[name]:
            dealt[name].append(dealt[max(shares, key=lambda other: len(dealt[other]))].pop())
    return dict(sorted((key, name) for name, members in dealt.items() for group in members for key in group))


def _classes(cases: Sequence[Case], name: str) -> dict[str, Any]:
    """The values of a label by case; a label that nobody has is answered with those there are."""
    there = {label for case in cases for label in case.labels}
    if name not in there:
        raise registry.unknown("label", name, there, remedy="add labels with radfoundry label")
    labels = {case.key: case.labels.get(name) for case in cases}
    require_classes(labels.values(), name=name)
    return labels


def _deal(
    groups: Sequence[tuple[str, ...]], shares: Mapping[str, float], dealt: dict[str, list[tuple[str, ...]]]
) -> None:
    """Add groups to parts by share; what rounding leaves over goes where all strata so far lack most."""
    counts = {name: int(share * len(groups) + 1e-9) for name, share in shares.items()}
    total = len(groups) + sum(len(members) for members in dealt.values())
    lacking = {name: share * total - counts[name] - len(dealt[name]) for name, share in shares.items()}
    rest = len(groups) - sum(counts.values())
    for name in sorted(shares, key=lambda name: (-round(lacking[name], 9), shares[name]))[:rest]:
        counts[name] += 1
    start = 0
    for name, count in counts.items():
        dealt[name].extend(groups[start : start + count])
        start += count


def by_site(
    cases: Sequence[Case], *, test_sites: Sequence[str], validation_sites: Sequence[str] = ()
) -> dict[str, str]:
    """Whole sites to one part each: the named ones to test and validation, all others to train.

    Refuses unknown site names, cases whose site is not known, and a patient seen at sites of two parts.
    """
    known = sorted({case.site for case in cases if case.site})
    unknown = [site for site in (*test_sites, *validation_sites) if site not in known]
    if unknown:
        raise InputError(f"no site named {', '.join(unknown)}", remedy=f"sites here: {', '.join(known) or 'none'}")
    without = [case.key for case in cases if not case.site]
    if without:
        raise InputError(
            f"{counted(len(without), 'case has', 'cases have')} no site",
            remedy="ingest with site_from, or split by patient",
        )
    named = dict.fromkeys(validation_sites, "validation") | dict.fromkeys(test_sites, "test")
    parts = {case.key: named.get(str(case.site), "train") for case in cases}
    check_split(cases, parts)
    return parts


def by_date(cases: Sequence[Case], *, test_from: str, validation_from: str | None = None) -> dict[str, str]:
    """Exams before a date train, exams from it on test: how a model would really have been used.

    Dates are ISO dates or years and refer to `Case.year`, or `Case.date` where no year is kept. A patient
    with exams on both sides keeps the later ones; the earlier ones are left out of the split, so that the
    patient is not on both sides. Refuses cases without a date, and parts that come out empty.
    """
    limits = [(limit, name) for limit, name in ((validation_from, "validation"), (test_from, "test")) if limit]
    if [limit for limit, _ in limits] != sorted(limit for limit, _ in limits):
        raise InputError("validation_from lies after test_from", remedy="give the earlier date to validation_from")
    undated = [case.key for case in cases if case.year is None and not case.date]
    if undated:
        raise InputError(
            f"{counted(len(undated), 'case has', 'cases have')} no date",
            remedy="ingest with keep_year=true",
            finding="no-date",
        )
    order = ["train", *(name for _, name in limits)]
    part = {case.key: next((n for limit, n in reversed(limits) if _day(case) >= limit), "train") for case in cases}
    latest: dict[str, int] = {}
    for case in cases:
        latest[case.patient] = max(latest.get(case.patient, 0), order.index(part[case.key]))
    kept = {case.key: part[case.key] for case in cases if order.index(part[case.key]) == latest[case.patient]}
    empty = [name for name in order if name not in kept.values()]
    if empty:
        span = f"{min(map(_day, cases))} to {max(map(_day, cases))}" if cases else "none"
        raise InputError(f"no exam falls into {', '.join(empty)}", remedy=f"dates here: {span}", finding="empty-part")
    return kept


def _day(case: Case) -> str:
    return str(case.year) if case.year is not None else str(case.date)


def by_table(cases: Sequence[Case], assignment: Mapping[str, str]) -> dict[str, str]:
    """A given assignment of patients or cases (keys of either) to parts, as another study published it.

    Refuses keys that are not in the cohort and an assignment that puts one patient into two parts.
    """
    patients: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case.key)
    keys = {case.key for case in cases}
    unknown = [key for key in assignment if key not in keys and key not in patients]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(assignment)} keys are not in the cohort, first {unknown[0]!r}",
            remedy="remove them from the table",
            finding="unknown-patients",
        )
    parts = {key: part for patient, part in assignment.items() for key in patients.get(patient, ())}
    for key, part in assignment.items():
        if key in keys and parts.setdefault(key, part) != part:
            raise InputError(f"case {key} is given to {parts[key]!r} and to {part!r}", remedy="give it one part")
    if not parts:
        raise InputError("the table gives no case to a part", remedy="fill its column part", finding="empty-part")
    check_split(cases, parts)
    return parts


def check_split(
    cases: Sequence[Case], parts: Mapping[str, str], *, together: Iterable[Iterable[str]] = ()
) -> dict[str, int]:
    """Refuse a split in which a patient, or a group that belongs together, is in two parts; else count cases a part.

    `parts` maps case keys to part names; cases that are not named are outside the split and cannot leak.
    """
    unknown = set(parts) - {case.key for case in cases}
    if unknown:
        raise InputError(
            f"the split names {counted(len(unknown), 'case')} not in the cohort", remedy="make the split again"
        )
    owner = {case.key: case.patient for case in cases}
    crossing = _crossing([(owner[key], part) for key, part in parts.items()])
    if crossing:
        raise InputError(
            f"{counted(len(crossing), 'patient is', 'patients are')} in more than one part, first {crossing[0]}",
            remedy="split by patient",
            finding="leak",
        )
    parted = [{parts[key] for key in members if key in parts} for members in together]
    parted = [found for found in parted if len(found) > 1]
    if parted:
        raise InputError(
            f"{counted(len(parted), 'group')} of near-duplicate images would lie in several parts, "
            f"the first in {' and '.join(sorted(parted[0]))}",
            remedy="split by patient, or look at them (radfoundry curate duplicates) and give --ignore-near-duplicates",
            finding="leak",
        )
    return dict(Counter(parts.values()))


def _crossing(pairs: Iterable[tuple[str, str]]) -> list[str]:
    found: dict[str, set[str]] = defaultdict(set)
    for owner, part in pairs:
        found[owner].add(part)
    return sorted(owner for owner, names in found.items() if len(names) > 1)


def patient_groups(cases: Sequence[Case], *, together: Iterable[Iterable[str]] = ()) -> list[tuple[str, ...]]:
    """Case keys joined by patient and by the given groups, transitively; sorted, each case in exactly one."""
    leader = {case.key: case.key for case in cases}

    def root(key: str) -> str:
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    patients: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case.key)
    for group in (*patients.values(), *together):
        known = [key for key in group if key in leader]
        for other in known[1:]:
            first, second = sorted((root(known[0]), root(other)))
            leader[second] = first
    groups: dict[str, list[str]] = defaultdict(list)
    for key in sorted(leader):
        groups[root(key)].append(key)
    return sorted(tuple(group) for group in groups.values())


def require_classes(values: Iterable[Any], *, name: str) -> dict[Any, int]:
    """Counts of a label's values; refuses a label that is missing everywhere or the same everywhere."""
    counts = Counter(value for value in values if value is not None)
    if not counts:
        raise InputError(f"no case has the label {name!r}", remedy="add it with radfoundry label", finding="no-label")
    if len(counts) == 1:
        only = next(iter(counts))
        raise InputError(
            f"label {name!r} is {only!r} for all {counted(counts[only], 'case')}",
            remedy="nothing can be learnt from one class; add cases of another",
            finding="one-class",
        )
    return dict(counts)


def _commonest(values: Sequence[Any]) -> Any:
    counts = Counter(value for value in values if value is not None)
    return min(counts, key=lambda value: (-counts[value], str(value))) if counts else None


def _listed(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.3g}" for name, share in parts.items())


def _checked_parts(parts: Mapping[str, float]) -> dict[str, float]:
    total = sum(parts.values())
    if not parts or min(parts.values()) <= 0 or not 0.999 <= total <= 1.001:
        raise InputError(
            f"the parts {_listed(parts)} are not positive shares that add up to 1", remedy="use 0.7, 0.1, 0.2"
        )
    return {name: share / total for name, share in parts.items()}
