"""How good drafts are, finding by finding, against the reports: F1, what is invented or left out, wrong sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from radfoundry.records import Estimate
from radfoundry.tasks import per_case as per_case_table
from radfoundry.tasks.drafts_scores import f1_difference, finding_scores, mean_count
from radfoundry.text.compare import Difference, difference, table
from radfoundry.text.findings import Verdict, read, verdicts

Read = Mapping[str, Verdict]


@dataclass(frozen=True, eq=False)
class Judged:
    """Drafts of several kinds beside the reports of the same cases, read by the same rules.

    `kinds`: name -> what each draft says; a withheld draft says nothing. `reports` and `patient` are in the same order.
    """

    findings: tuple[str, ...]
    reports: Sequence[Read]
    kinds: Mapping[str, Sequence[Read]]
    patient: np.ndarray


def said_by(texts: Sequence[str], *, region: str) -> list[Read]:
    """What drafts say, read as a report is read; an empty one says nothing."""
    return [verdicts(read(text, region=region)) if text.strip() else {} for text in texts]


def measure(judged: Judged, *, main: str, against: Mapping[str, Sequence[str]], seed: int = 0) -> dict[str, Estimate]:
    """Micro-F1 of each kind of draft and of `main` per finding, errors a report, and paired differences of F1.

    against: kind -> the kinds it is held against.
    """
    names = judged.findings
    truth = table(judged.reports, names)
    said = {kind: table(drafts, names) for kind, drafts in judged.kinds.items()}
    metrics: dict[str, Estimate] = {}
    for kind, answers in said.items():
        scores = finding_scores(truth, answers, names, patient=judged.patient, seed=seed)
        metrics[f"f1-{kind}"] = scores["micro"]["f1"]
        metrics |= _errors(judged, kind, seed=seed)
        if kind == main:
            metrics["macro-f1"] = scores["macro"]["f1"]
            metrics |= {f"f1-of-{name}": scores[name]["f1"] for name in names}
    for one, others in against.items():
        for other in others:
            gap = f1_difference(truth, said[one], said[other], patient=judged.patient, seed=seed)
            metrics[f"f1-{one}-minus-{other}"] = gap
    return metrics


def per_case(judged: Judged, kind: str, cases: Sequence[str], patients: Sequence[str]) -> list[per_case_table.Row]:
    """What each draft of a kind adds to F1: twice its hits, over these and what it invents and leaves out."""
    names = judged.findings
    truth, said = table(judged.reports, names), table(judged.kinds[kind], names)
    hits, errors = (truth & said).sum(axis=1), (truth ^ said).sum(axis=1)
    rows = zip(cases, patients, hits, errors, strict=True)
    return [per_case_table.Row("f1", case, who, 2.0 * hit, 2.0 * hit + wrong) for case, who, hit, wrong in rows]


def differences(judged: Judged, kind: str) -> list[Difference]:
    """Draft against report, case by case, of the findings that were learned."""
    pairs = zip(judged.reports, judged.kinds[kind], strict=True)
    kept = set(judged.findings)
    return [_within(difference(first, second), kept) for first, second in pairs]


def _within(found: Difference, kept: set[str]) -> Difference:
    parts = (found.agreed, found.omitted, found.invented, found.side_errors)
    return Difference(*(tuple(name for name in part if name in kept) for part in parts))


def _errors(judged: Judged, kind: str, *, seed: int) -> dict[str, Estimate]:
    """Findings invented and left out a report, and the share of agreed findings that are put on the wrong side."""
    found = differences(judged, kind)
    counts = {
        f"invented-{kind}": [len(item.invented) for item in found],
        f"omitted-{kind}": [len(item.omitted) for item in found],
        f"wrong-side-{kind}": [len(item.side_errors) for item in found],
    }
    return {name: mean_count(values, patient=judged.patient, seed=seed) for name, values in counts.items()}
