"""Report drafts: what is taught from reports, how findings become sentences, and what is too uncertain to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from radfoundry import registry
from radfoundry.records import Cohort, InputError, Task, counted
from radfoundry.text.compare import positives, rolled_up, sides_of
from radfoundry.text.findings import Verdict, read, verdicts
from radfoundry.text.ontology import load

KIND = "draft"
SIDES = ("left", "right")
AT = "|"  # between a finding and its side in the name of a column
GRAVE = 1
TEMPLATE, DECODER = "template", "decoder"


@dataclass(frozen=True)
class DraftTask:
    """What to draft: findings (those frequent enough when none are named), and when to stay silent.

    `floor` is the least confidence with which a finding is stated or denied; `fewest` is in how many reports a finding
    must be stated, and in how many it must not be, to be learned at all. `by` is who writes: the template, or a decoder
    that learns for `steps` and keeps `beam` unfinished reports while it writes.
    """

    region: str = ""
    findings: tuple[str, ...] = ()
    floor: float = 0.6
    fewest: int = 5
    by: str = TEMPLATE
    steps: int = 300
    beam: int = 1


@dataclass(frozen=True)
class Said:
    """One sentence of a draft with what it stands on: finding, state, side, region, and how sure it is."""

    text: str
    finding: str
    state: str
    side: str
    region: str
    confidence: float


@dataclass(frozen=True)
class Draft:
    """A draft: its sentences, the findings it leaves open with their chances, and why it was withheld, if it was.

    `struck` are sentences that a decoder wrote and no finding bears out.
    """

    sentences: tuple[Said, ...]
    open: Mapping[str, float] = field(default_factory=dict)
    refused: str = ""
    struck: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The draft as a report; empty when it was withheld."""
        if self.refused:
            return ""
        there = list(dict.fromkeys(item.text for item in self.sentences if item.state == "present"))
        absent = list(dict.fromkeys(item.text for item in self.sentences if item.text not in there))
        findings = " ".join([*there, *absent]) or "Nothing could be stated."
        left = f"\nNOT STATED, too uncertain: {', '.join(_words(name) for name in self.open)}." if self.open else ""
        impression = " ".join(there) or "No finding stated."
        return f"DRAFT, to be read by a radiologist.\nFINDINGS: {findings}{left}\nIMPRESSION: {impression}\n"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: every sentence with what it stands on."""
        return {
            "text": self.text,
            "refused": self.refused,
            "open": dict(self.open),
            "struck": list(self.struck),
            "sentences": [asdict(item) for item in self.sentences],
        }


@dataclass(frozen=True, eq=False)
class Taught:
    """What reports teach: names of columns, what each case's report says in them, and the reports as they were read."""

    columns: tuple[str, ...]
    truth: Mapping[str, np.ndarray]
    read: Mapping[str, Mapping[str, Verdict]]
    texts: Mapping[str, str]
    refused: Mapping[str, str]

    @property
    def findings(self) -> tuple[str, ...]:
        """The columns that are findings, without those of their sides."""
        return tuple(name for name in self.columns if AT not in name)


def build(
    *,
    region: str = "",
    findings: list[str] | None = None,
    floor: float = 0.6,
    fewest: int = 5,
    by: str = TEMPLATE,
    decoder: Mapping[str, int] | None = None,
) -> DraftTask:
    """What would the report say? Findings are learned from the cohort's own reports, read by rules.

    `by` says who writes: `template`, or a small `decoder` that learns the reports' own sentences, with `decoder.steps`
    and `decoder.beam`. Refuses a floor outside 0.5 to 1, a region and findings that the ontology does not know.
    """
    known = load()
    told = _writing(by, decoder)
    if not 0.5 <= floor < 1:
        raise InputError(f"floor {floor} is not between 0.5 and 1", where="task.floor", remedy="use for example 0.6")
    if fewest < 2:
        raise InputError(f"fewest {fewest} is below 2", where="task.fewest", remedy="use for example 5")
    if region and region not in known.regions:
        raise InputError(f"unknown region {region!r}", where="task.region", remedy=f"known: {', '.join(known.regions)}")
    if isinstance(findings, str):
        findings = [findings]
    names = tuple(known.named(name).name for name in findings or ())
    return DraftTask(region, names, float(floor), int(fewest), by, **told)


def _writing(by: str, decoder: Any) -> dict[str, int]:
    """How the one who writes learns and writes; refuses unknown writers, options and numbers."""
    if by not in (TEMPLATE, DECODER):
        raise registry.unknown("writer", by, (TEMPLATE, DECODER), where="task.by")
    if decoder is not None and not isinstance(decoder, Mapping):
        raise InputError(f"{decoder!r} is no table of names", where="task.decoder", remedy="write {steps: 300}")
    told = {"steps": 300, "beam": 1, **(decoder or {})}
    for name, number in told.items():
        if name not in ("steps", "beam"):
            raise registry.unknown("option", name, ("steps", "beam"), where="task.decoder")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise InputError(f"{name} {number} is no whole number above 0", where=f"task.decoder.{name}")
    if decoder and by != DECODER:
        raise InputError("has no effect on a template", where="task.decoder", remedy="add task.by=decoder")
    return told


def task_of(taught: Taught) -> Task:
    """The question as it stands in a predictor: one column a finding, and one a finding and side."""
    return Task(KIND, ",".join(taught.columns), KIND, metrics=("f1",), about="What would the report say?")


def taught(cohort: Cohort, task: DraftTask) -> Taught:
    """Read the reports of a cohort; refuses a cohort without reports, and one whose reports share no finding."""
    texts = {case.key: "\n".join(case.reports) for case in cohort.cases if case.reports}
    if not texts:
        raise InputError("no case has a report", where=cohort.path or "cohort", remedy="ingest with reports=FOLDER")
    found: dict[str, dict[str, Verdict]] = {}
    refused: dict[str, str] = {}
    for key, text in texts.items():
        try:
            found[key] = verdicts(read(text, region=task.region))
        except InputError as error:
            refused[key] = error.what
    stated = {key: rolled_up(positives(said)) for key, said in found.items()}
    counts = Counter(name for names in stated.values() for name in names)
    names = task.findings or tuple(sorted(counts))
    kept = [name for name in names if task.fewest <= counts[name] <= len(found) - task.fewest]
    missing = [name for name in task.findings if name not in kept]
    if missing or not kept:
        what = f"{missing[0]} is stated" if missing else "no finding is stated"
        raise InputError(
            f"{what} in fewer than {counted(task.fewest, 'report')}, or in all of them",
            where=counted(len(found), "report"),
            remedy="name other findings, or lower task.fewest",
            finding="too-few",
        )
    columns = list(kept)
    sides = {key: sides_of(said) for key, said in found.items()}
    for name in kept:
        for side in SIDES:
            spoken = sum(_on(sides[key].get(name, set()), side) for key in found)
            columns += [f"{name}{AT}{side}"] if spoken >= task.fewest else []
    truth = {key: np.array([_true(column, stated[key], sides[key]) for column in columns]).astype(int) for key in found}
    return Taught(tuple(columns), truth, found, {key: texts[key] for key in found}, refused)


def _on(sides: set[str], side: str) -> bool:
    return side in sides or "bilateral" in sides


def _true(column: str, stated: set[str], sides: Mapping[str, set[str]]) -> bool:
    name, _, side = column.partition(AT)
    return name in stated and (not side or _on(sides.get(name, set()), side))


def template(columns: Sequence[str], chances: np.ndarray, *, floor: float) -> Draft:
    """A draft from calibrated chances: each finding is stated, denied, or left open when neither is sure enough.

    columns, chances: as `Taught.columns`, one chance each. A draft is withheld when a finding that must be acted on at
    once (tier 1) is left open, or when nothing is sure enough. A side is named when it alone is sure enough.

    >>> made = template(["pneumothorax", "pneumothorax|left"], np.array([0.9, 0.8]), floor=0.6)
    >>> made.sentences[0].text
    'Pneumothorax on the left.'
    >>> template(["pneumothorax"], np.array([0.55]), floor=0.6).refused
    'pneumothorax is too uncertain (chance 0.55, confidence 0.55 under the floor 0.60)'
    """
    known = load().findings
    by_name = dict(zip(columns, np.asarray(chances, float), strict=True))
    sentences: list[Said] = []
    left: dict[str, float] = {}
    for name in (column for column in columns if AT not in column):
        chance = float(by_name[name])
        confidence = max(chance, 1 - chance)
        if confidence < floor:
            left[name] = round(chance, 4)
            continue
        state = "present" if chance >= 0.5 else "absent"
        side = _side(name, by_name, floor) if state == "present" else ""
        where = " bilaterally" if side == "bilateral" else f" on the {side}" if side else ""
        words = _words(name)
        text = f"{words[0].upper()}{words[1:]}{where}." if state == "present" else f"No {words}."
        sentences.append(Said(text, name, state, side, known[name].region, round(confidence, 4)))
    return Draft(tuple(sentences), left, refusal(sentences, left, floor))


def _side(name: str, chances: Mapping[str, float], floor: float) -> str:
    """The side that is sure enough, given that the finding is there."""
    there = max(chances[name], 1e-9)
    sure = [side for side in SIDES if min(chances.get(f"{name}{AT}{side}", 0.0) / there, 1.0) >= floor]
    return "bilateral" if len(sure) == 2 else sure[0] if sure else ""


def refusal(sentences: Sequence[Said], left: Mapping[str, float], floor: float) -> str:
    """Why a draft has to be withheld: something grave is left open, or nothing is sure; empty when it need not be."""
    known = load().findings
    grave = [name for name in left if known[name].tier == GRAVE]
    if grave or not sentences:
        named = grave or list(left)
        return ", ".join(
            f"{_words(name)} is too uncertain (chance {left[name]:.2f}, "
            f"confidence {max(left[name], 1 - left[name]):.2f} under the floor {floor:.2f})"
            for name in named
        )
    return ""


def _words(name: str) -> str:
    return name.replace("-", " ")


def nearest(teaching: np.ndarray, asked: np.ndarray, *, owners: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """For each asked row the most similar teaching row of another patient, by cosine of standardised features.

    teaching (n, width), asked (m, width), owners (n,) and patients (m,) name the patients; gives (m,) row numbers.
    Refuses when a patient has no other to be compared with.
    """
    mean, spread = teaching.mean(axis=0), teaching.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    first, second = (_unit((table - mean) / scale) for table in (teaching, asked))
    alike = np.where(owners[None, :] == patients[:, None], -np.inf, second @ first.T)
    if not np.isfinite(alike).any(axis=1).all():
        raise InputError("a patient has no other patient to be compared with", remedy="use a larger training part")
    return alike.argmax(axis=1)


def _unit(table: np.ndarray) -> np.ndarray:
    return table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
