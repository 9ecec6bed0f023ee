"""What stands beside a template draft, fold by fold: the nearest report, the usual report, and a decoder's text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort
from radfoundry.tasks import drafts, drafts_decoder, probe
from radfoundry.tasks.examples import Examples, by_case, examples
from radfoundry.text.compare import positives, rolled_up


@dataclass(frozen=True, eq=False)
class Beside:
    """Tested case -> the teaching case that looks most alike, the usual teaching case, and what a decoder writes."""

    near: Mapping[str, str]
    usual: Mapping[str, str]
    written: Mapping[str, str] = field(default_factory=dict)


def beside(
    cohort: Cohort,
    table: Embeddings,
    taught: drafts.Taught,
    *,
    design: probe.Design,
    texts: Mapping[str, str],
    decoder: drafts_decoder.Options | None = None,
) -> Beside:
    """In the same folds as the template: everything is learned on the teaching patients of a fold alone.

    texts: case -> what its report teaches a decoder; without `decoder` none is fitted.
    """
    learn = examples(table, taught.truth, design.train_on, name="train_on")
    asked = examples(table, taught.truth, design.test_on, name="test_on")
    near: dict[str, str] = {}
    usual: dict[str, str] = {}
    written: dict[str, str] = {}
    for teaching, testing in probe.pairs(cohort, learn, asked, kind="multilabel", design=design):
        rows = drafts.nearest(teaching.features, testing.features, owners=teaching.patient, patients=testing.patient)
        near |= dict(zip(testing.case.tolist(), teaching.case[rows].tolist(), strict=True))
        usual |= dict.fromkeys(testing.case.tolist(), usual_case(taught, teaching.case.tolist()))
        if decoder is not None:
            writer = fitted(teaching, texts, decoder)
            cases, features = _by_exam(testing)
            written |= dict(zip(cases, writer.write(features), strict=True))
    return Beside(near, usual, written)


def fitted(teaching: Examples, texts: Mapping[str, str], options: drafts_decoder.Options) -> drafts_decoder.Writer:
    """A decoder from the exams that teach: their mean features and what their reports say."""
    cases, features = _by_exam(teaching)
    return drafts_decoder.fit(features, [texts[case] for case in cases], options)


def _by_exam(rows: Examples) -> tuple[Sequence[str], np.ndarray]:
    """Each exam once, with the mean of its series' features."""
    exams = by_case([(rows, rows.features)])
    return exams.case.tolist(), exams.score


def usual_case(taught: drafts.Taught, cases: Sequence[str]) -> str:
    """The first of the cases whose report states what most reports of these cases state (often nothing at all)."""
    kept = set(taught.findings)
    stated = {case: frozenset(rolled_up(positives(taught.read[case])) & kept) for case in sorted(set(cases))}
    counts = Counter(stated.values())
    best = max(counts, key=lambda said: (counts[said], sorted(said)))
    return next(case for case, said in stated.items() if said == best)
