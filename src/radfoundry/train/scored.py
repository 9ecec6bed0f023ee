"""Scores that people gave, beside what a rater sees of the scans: ready to learn from, or to be asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from radfoundry.nets.rater import Prompt, region_word
from radfoundry.records import Cohort, InputError, Series
from radfoundry.train.rating import Lesson

SHUFFLED, MUTE = "shuffled-prompt", "no-prompt"
FEWEST_SCORES = 16


@dataclass(frozen=True, eq=False)
class Scored:
    """Every score that was given: a lesson of one row a score, and for each row its series, patient and purpose."""

    lesson: Lesson
    series: np.ndarray
    patient: np.ndarray
    purpose: np.ndarray

    @property
    def names(self) -> np.ndarray:
        """A name for every row."""
        return np.char.add(np.char.add(self.series, " "), self.purpose)


def read_scores(
    cohort: Cohort, targets: Sequence[str], *, progress: Callable[[str, int, int], None] | None = None
) -> Scored:
    """The scored series of a cohort as seen by a rater, one row a score.

    A score is the label TARGET of the series, or TARGET_SEQUENCE of its case. Refuses scores that are not numbers
    from 0 to 100, and a cohort with fewer than 16 of them.
    """
    from radfoundry.data.cohort import series_labels
    from radfoundry.data.slice_pictures import look

    given = series_labels(cohort.path or "")
    cases = {case.key: case for case in cohort.cases}
    rows: list[tuple[Series, str, float]] = []
    for series in cohort.series:
        labels = {**_of_case(cases[series.case].labels, targets, series), **given.get(series.key, {})}
        rows += [(series, name, _score(labels[name], name)) for name in targets if labels.get(name) is not None]
    if len(rows) < FEWEST_SCORES:
        raise InputError(
            f"{len(rows)} scores are too few",
            where=f"labels {', '.join(targets)}",
            remedy=f"score at least {FEWEST_SCORES} series and add them with radfoundry label COHORT FILE --on series",
            finding="no-labels",
        )
    seen = {}
    chosen = list(dict.fromkeys(series.key for series, _, _ in rows))
    by_key = {series.key: series for series, _, _ in rows}
    for number, key in enumerate(chosen, start=1):
        seen[key] = look(by_key[key].load())
        if progress is not None:
            progress("look", number, len(chosen))
    prompts = [Prompt(item.sequence, region_word(item.acquisition.body_part), name) for item, name, _ in rows]
    lesson = Lesson(
        np.stack([seen[item.key].pictures for item, _, _ in rows]).astype(np.float16),
        np.stack([seen[item.key].measures for item, _, _ in rows]),
        prompts,
        scores=np.array([score for _, _, score in rows]),
    )
    series, patient = (np.array([getattr(item, name) for item, _, _ in rows]) for name in ("key", "patient"))
    return Scored(lesson, series, patient, np.array([name for _, name, _ in rows]))


def _of_case(labels: Mapping[str, Any], targets: Sequence[str], series: Series) -> dict[str, Any]:
    return {name: labels.get(f"{name}_{series.sequence}") for name in targets}


def _score(value: Any, name: str) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = -1.0
    if not 0 <= score <= 100:
        raise InputError(f"{value!r} is not a score from 0 to 100", where=f"label {name}", remedy="rescale the scores")
    return score


def permuted(scored: Scored, *, seed: int) -> Scored:
    """Every score goes to another series and purpose: a negative control in which the purpose tells nothing either."""
    scores = np.array(scored.lesson.scores)[np.random.default_rng(seed).permutation(len(scored.purpose))]
    return replace(scored, lesson=replace(scored.lesson, scores=scores))


def prompted(lesson: Lesson, how: str, *, rng: np.random.Generator) -> Lesson:
    """The lesson with its prompts dealt out to other scans (`shuffled-prompt`), without any (`no-prompt`), or as is."""
    if how == MUTE:
        return replace(lesson, prompts=[Prompt()] * len(lesson.prompts))
    if how == SHUFFLED:
        return replace(lesson, prompts=[lesson.prompts[int(row)] for row in rng.permutation(len(lesson.prompts))])
    return lesson
