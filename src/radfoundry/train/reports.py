"""Reports for simulated crops: what is truly there in words, and the same as numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from radfoundry.simulate.presets import brain_statements
from radfoundry.simulate.stream import CropDraw, CropPlan, draw_crop
from radfoundry.simulate.words import STYLES, Report, write_report
from radfoundry.text import tokens
from radfoundry.text.tokens import Tokeniser

FINDINGS = (
    "demyelination",
    "tumour",
    "infarct",
    "haemorrhage",
    "ventricle-widening",
    "atrophy",
    "small-vessel-disease",
)
CONCEPTS_PER_REPORT = 8
TEACHING_REPORTS = 400


@dataclass(frozen=True)
class Written:
    """One report as a batch carries it; see `train.batches.Batch` for words, findings and concepts."""

    words: np.ndarray
    findings: np.ndarray
    concepts: np.ndarray


def report_of(draw: CropDraw, plan: CropPlan, *, seed: int, case: int) -> Report:
    """What a radiologist who sees the crop would write: lesions outside of it are not mentioned."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, case, 1]))
    subject = draw.subject
    half = plan.size * float(np.linalg.norm(draw.affine[:3, 0])) / 2
    centre = subject.pose @ draw.affine @ np.array([*(3 * [(plan.size - 1) / 2]), 1.0])
    near = [lesion for lesion in subject.lesions if np.all(np.abs(np.array(lesion.centre_mm) - centre[:3]) < half)]
    there = replace(subject, lesions=tuple(near))
    return write_report(brain_statements(there), rng=rng, style=STYLES[int(rng.integers(len(STYLES)))])


def written(report: Report, tokeniser: Tokeniser, *, length: int) -> Written:
    """The report in numbers; concepts are the findings it says are present, where it names them."""
    found = tokeniser.encode(report.text)
    present = {item.finding for item in report.statements if item.state == "present"}
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
        np.array([int(name in present) for name in FINDINGS]),
        concepts,
    )


def learned_tokeniser(plan: CropPlan, *, seed: int, size: int = 512, patients: int = TEACHING_REPORTS) -> Tokeniser:
    """A tokeniser trained on the reports of so many simulated patients."""
    texts = [
        report_of(draw_crop(plan, seed=seed, case=case), plan, seed=seed, case=case).text for case in range(patients)
    ]
    return tokens.train(texts, size=size)
