"""Reports of simulated crops as numbers, and the tokeniser that learns from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from radfoundry.simulate.crop_reports import FINDINGS, present, report_of
from radfoundry.simulate.stream import CropPlan, draw_crop
from radfoundry.simulate.words import Report
from radfoundry.text import tokens
from radfoundry.text.tokens import Tokeniser

CONCEPTS_PER_REPORT = 8
TEACHING_REPORTS = 400


@dataclass(frozen=True)
class Written:
    """One report as a batch carries it; see `train.batches.Batch` for words, findings and concepts."""

    words: np.ndarray
    findings: np.ndarray
    concepts: np.ndarray


def written(report: Report, tokeniser: Tokeniser, *, length: int) -> Written:
    """The report in numbers; concepts are the findings it says are present, where it names them."""
    found = tokeniser.encode(report.text)
    rows = []
    for span in report.spans:
        first, last = (place + 1 for place in found.covering(span.start, span.end))  # after the start token
        if span.state == "present" and span.finding in FINDINGS and last <= length:
            rows.append((first, last, FINDINGS.index(span.finding)))
    concepts = np.full((CONCEPTS_PER_REPORT, 3), -1)
    if rows:
        concepts[: len(rows)] = rows[:CONCEPTS_PER_REPORT]
    return Written(
        np.array(tokeniser.padded(report.text, length)),
        present(report),
        concepts,
    )


@lru_cache(maxsize=4)
def learned_tokeniser(plan: CropPlan, *, seed: int, size: int = 512, patients: int = TEACHING_REPORTS) -> Tokeniser:
    """A tokeniser trained on the reports of so many simulated patients."""
    texts = [
        report_of(draw_crop(plan, seed=seed, case=case), plan, seed=seed, case=case).text for case in range(patients)
    ]
    return tokens.train(texts, size=size)
