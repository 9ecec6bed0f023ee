"""How good does a head become with more labels? Heads fitted on growing nested subsets, judged on one fixed set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import InputError, Task
from radfoundry.stats.curve_points import CasePoints, case_points, nested_subsets
from radfoundry.tasks import heads, questions
from radfoundry.tasks.examples import matches, no_match


@dataclass(frozen=True)
class CurveDesign:
    """Sizes in positives, how many orders of labelling, negatives per positive, the held-out share, and which series.

    Which patients are held out and in which order the others are labelled depends on patients and seed alone, so
    that encoders are compared on the same labels.
    """

    sizes: tuple[int, ...]
    draws: int = 10
    negatives_per_positive: float = 1.0
    held_out: float = 0.4
    series: Mapping[str, Sequence[str]] | None = None
    seed: int = 0


def label_curve(
    embeddings: Embeddings, *, task: Task, truth: Mapping[str, Any], head: heads.Head, design: CurveDesign
) -> CasePoints:
    """The learning curve of a head on frozen features of one encoder, with every validation case's scores.

    Only yes-or-no questions; one row per case (the mean of its series' features). Refuses a held-out part or a
    labelling pool that cannot fill the sizes.
    """
    if task.kind != "binary":
        raise InputError(f"a {task.kind} question", where=f"task {task.name}", remedy="plan labels for a yes-or-no one")
    patient, features, answer = _by_case(embeddings, truth, design.series or {})
    rng = np.random.default_rng(design.seed)
    held = _held_out(patient, answer, design.held_out, rng)
    pool = np.flatnonzero(~np.isin(patient, held))
    asked = np.flatnonzero(np.isin(patient, held))
    subsets = nested_subsets(
        answer[pool],
        design.sizes,
        draws=design.draws,
        negatives_per_positive=design.negatives_per_positive,
        rng=rng,
    )
    scores = np.empty((design.draws, len(design.sizes), len(asked)))
    for (draw, size), rows in ((place, subsets[place[0]][place[1]]) for place in np.ndindex(*scores.shape[:2])):
        chosen = pool[rows]
        fitted = heads.fit(head, features[chosen], answer[chosen], patient[chosen], kind="binary")
        scores[draw, size] = fitted.predict(features[asked])
    return case_points(design.sizes, scores, answer[asked].astype(int), patient=patient[asked])


def label_curves(
    embeddings: Embeddings,
    *,
    task: Task,
    truth: Mapping[str, Any],
    head: heads.Head,
    design: CurveDesign,
    dealings: int = 0,
) -> list[CasePoints]:
    """One `label_curve`; or, for a negative control, what is left of it with the answers dealt to other patients.

    There is one curve for each dealing. A single dealing of a small cohort can make a curve that rises by luck; the
    mean over several hardly can. Dealings depend on patients and seed alone, so every encoder meets the same ones.
    """
    if dealings == 0:
        return [label_curve(embeddings, task=task, truth=truth, head=head, design=design)]
    patients = {item.case: item.patient for item in embeddings.series if item.case in truth}
    known = {case: truth[case] for case in patients}
    found = []
    for number in range(dealings):
        rng = np.random.default_rng((design.seed, number))
        dealt = questions.permuted(known, patients, rng=rng)
        found.append(label_curve(embeddings, task=task, truth=dealt, head=head, design=design))
    return found


def _by_case(
    embeddings: Embeddings, truth: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patient, mean features and answer, one row per case in order of name."""
    keep = [row for row, item in enumerate(embeddings.series) if item.case in truth and matches(item, wanted)]
    if not keep:
        raise no_match(embeddings.series, wanted, where="series")
    names = np.array([embeddings.series[row].case for row in keep])
    owners = np.array([embeddings.series[row].patient for row in keep])
    case, first, group = np.unique(names, return_index=True, return_inverse=True)
    total = np.zeros((len(case), embeddings.vectors.shape[1]))
    np.add.at(total, group.reshape(-1), embeddings.vectors[keep].astype(float))
    answer = np.array([truth[name] for name in case])
    return owners[first], total / np.bincount(group.reshape(-1))[:, None], answer


def _held_out(patient: np.ndarray, answer: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Patients kept for validation, the same share of those with and without a positive."""
    names = np.unique(patient)
    positive = np.array([answer[patient == name].max() > 0 for name in names])
    held = [
        rng.permutation(names[positive == side])[: round(share * int((positive == side).sum()))]
        for side in (False, True)
    ]
    if min(len(part) for part in held) < 5:
        raise InputError(
            f"only {len(held[1])} patients with and {len(held[0])} without the finding to judge on",
            remedy="plan with more patients or a larger held_out",
            finding="too-few",
        )
    return np.concatenate(held)
