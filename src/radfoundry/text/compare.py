"""Two reports finding by finding: what the second one left out, invented, doubted, or put on the other side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError
from radfoundry.text.findings import Verdict, read, verdicts
from radfoundry.text.ontology import Ontology, load

POSITIVE = ("present",)
OPPOSITE = {("left", "right"), ("right", "left")}


@dataclass(frozen=True)
class Difference:
    """What a draft says against a reference, by names of findings; `side_errors` are said on the opposite side."""

    agreed: tuple[str, ...]
    omitted: tuple[str, ...]
    invented: tuple[str, ...]
    side_errors: tuple[str, ...]


def positives(found: Mapping[str, Verdict], *, states: Sequence[str] = POSITIVE) -> set[str]:
    """The findings that a report states, by default those it calls present without doubt."""
    return {name for name, verdict in found.items() if verdict.state in states}


def rolled_up(names: Iterable[str], *, ontology: Ontology | None = None) -> set[str]:
    """Each finding as the widest one that it is a case of: an airspace opacity counts as consolidation.

    >>> sorted(rolled_up({"nodular-opacity", "pneumothorax"}))
    ['lung-nodule', 'pneumothorax']
    """
    known = (ontology or load()).findings
    widest = set()
    for name in names:
        while name in known and known[name].parent:
            name = known[name].parent
        widest.add(name)
    return widest


def compare(reference: str, draft: str, *, region: str = "", ontology: Ontology | None = None) -> Difference:
    """What a draft says against a reference report, finding by finding, cases rolled up to their widest finding.

    A side counts as wrong when each report names one side and they are opposite.

    >>> compare("Large effusion on the left. No mass.", "Effusion on the right. Cardiomegaly.", region="chest")
    Difference(agreed=('pleural-effusion',), omitted=(), invented=('cardiomegaly',), side_errors=('pleural-effusion',))
    """
    first = verdicts(read(reference, ontology=ontology, region=region, where="reference"))
    second = verdicts(read(draft, ontology=ontology, region=region, where="draft"))
    return difference(first, second, ontology=ontology)


def difference(
    first: Mapping[str, Verdict], second: Mapping[str, Verdict], *, ontology: Ontology | None = None
) -> Difference:
    """As `compare`, for reports that were read already."""
    truth = rolled_up(positives(first), ontology=ontology)
    said = rolled_up(positives(second), ontology=ontology)
    one, other = sides_of(first, ontology=ontology), sides_of(second, ontology=ontology)
    shared = sorted(truth & said)
    wrong = tuple(name for name in shared if _opposite(one.get(name, set()), other.get(name, set())))
    return Difference(tuple(shared), tuple(sorted(truth - said)), tuple(sorted(said - truth)), wrong)


def sides_of(found: Mapping[str, Verdict], *, ontology: Ontology | None = None) -> dict[str, set[str]]:
    """Widest finding -> the sides that a report puts it on."""
    sides: dict[str, set[str]] = {}
    for name in positives(found):
        widest = next(iter(rolled_up({name}, ontology=ontology)))
        sides.setdefault(widest, set()).update(found[name].sides)
    return sides


def table(reports: Sequence[Mapping[str, Verdict]], names: Sequence[str], *, roll_up: bool = True) -> np.ndarray:
    """`(reports, names)` booleans: which of the named findings each report states as present.

    Refuses names that the ontology does not know.
    """
    known = load()
    for name in names:
        known.named(name)
    if not names:
        raise InputError("no findings to compare", remedy="name at least one")
    rows = []
    for found in reports:
        there = positives(found)
        there = there | rolled_up(there) if roll_up else there
        rows.append([known.named(name).name in there for name in names])
    return np.array(rows, bool).reshape(len(reports), len(names))


def _opposite(one: set[str], other: set[str]) -> bool:
    return len(one) == 1 and len(other) == 1 and (next(iter(one)), next(iter(other))) in OPPOSITE
