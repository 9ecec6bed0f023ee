"""What a report shows of nested evaluation: summary, leaderboard, what each choice changes, and every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radfoundry.records import Estimate
from radfoundry.tasks import nested_board, pages
from radfoundry.tasks.nested_board import CHOSEN, Board, Effect, Name, said
from radfoundry.tasks.nested_pipeline import Pipeline

MOST_ROWS = 40
MOST_MODELS = 16


def models(found: Board, pipelines: Sequence[Pipeline]) -> list[Name]:
    """Who is ranked: every encoder with the pipeline its inner folds choose; with one encoder, its pipelines."""
    encoders = encoders_of(found)
    if len(encoders) > 1:
        return [(encoder, CHOSEN if len(pipelines) > 1 else "base") for encoder in encoders][:MOST_MODELS]
    return [name for name in found.candidates if name[1] != CHOSEN][:MOST_MODELS]


def encoders_of(found: Board) -> list[str]:
    """The encoders of a board, in their order."""
    return list(dict.fromkeys(encoder for encoder, name in found.candidates if name != CHOSEN))


def numbers(
    found: Board, pipelines: Sequence[Pipeline], made: Sequence[Effect], pairs: Sequence[tuple[str, str]]
) -> dict[str, Estimate]:
    """Everything that can be claimed: `ENCODER/FIGURE`, `ONE-minus-OTHER/FIGURE`, effects, optimism, one per task.

    An encoder stands for the pipeline that its inner folds chose, or for its only one. `ENCODER:LEVEL-minus-base` is
    the effect of a choice; `ONE:LEVEL-minus-OTHER:LEVEL/FIGURE-effect` says on which encoder it is larger.
    """
    own = CHOSEN if len(pipelines) > 1 else "base"
    metrics = {f"{name}/{found.figure}": found.estimate((name, own)) for name in encoders_of(found)}
    for one, other in pairs:
        metrics[f"{one}-minus-{other}/{found.figure}"] = found.difference((one, own), (other, own))
    for effect in (one for one in made if one.gain.defined):
        metrics[f"{effect.encoder}:{effect.factor}={effect.level}-minus-base/{found.figure}"] = effect.gain
    metrics |= _interactions(found, pipelines, pairs)
    if len(pipelines) > 1:
        for name in encoders_of(found):
            metrics[f"{name}:best-minus-chosen/{found.figure}"] = nested_board.optimism(found, name)
    if len(found.tasks) > 1:
        for task in found.tasks:
            metrics |= {
                f"{name}/{found.figure}@{task}": found.estimate((name, own), task) for name in encoders_of(found)
            }
            for one, other in pairs:
                metrics[f"{one}-minus-{other}/{found.figure}@{task}"] = found.difference((one, own), (other, own), task)
    return metrics


def _interactions(found: Board, pipelines: Sequence[Pipeline], pairs: Sequence[tuple[str, str]]) -> dict[str, Estimate]:
    base, metrics = pipelines[0], {}
    for one, other in pairs:
        for level in [pipeline.named(base) for pipeline in pipelines[1:]]:
            parts = [(1.0, (one, level)), (-1.0, (one, "base")), (-1.0, (other, level)), (1.0, (other, "base"))]
            gain = found.contrast(parts)
            if gain.defined:
                metrics[f"{one}:{level}-minus-{other}:{level}/{found.figure}-effect"] = gain
    return metrics


def blocks(found: Board, pipelines: Sequence[Pipeline], made: Sequence[Effect], *, seed: int) -> list[dict[str, Any]]:
    """Summary, leaderboard with the critical-difference picture, effects, and figures by task."""
    shown = models(found, pipelines)
    leaders = nested_board.leaderboard(found, shown) if len(shown) > 1 else []
    apart = nested_board.separated(found, shown, seed=seed) if leaders else None
    drawn = [_summary(found, pipelines, leaders)]
    if leaders:
        drawn.append(_ranks(leaders))
    if apart is not None:
        drawn.append(pages.ranking("Models over tasks", apart))
    made = [one for one in made if one.gain.defined]
    if made:
        drawn += [_effects(made, found), _effect_picture(made, found)]
    drawn.append(_by_task(found, shown))
    return drawn


def _summary(found: Board, pipelines: Sequence[Pipeline], leaders: Sequence[Any]) -> dict[str, Any]:
    tasks = f"{len(found.tasks)} questions" if len(found.tasks) > 1 else f"the question {found.tasks[0]}"
    paragraphs = [
        f"{len(encoders_of(found))} kinds of features, {len(pipelines)} pipelines and {tasks}, {found.patients} "
        "patients. Every number is from patients whom the pipeline had not seen; choices among pipelines were made on "
        "inner folds."
    ]
    if leaders:
        first = leaders[0]
        paragraphs.append(
            f"{said(first.name)} leads with a mean {pages.label(found.figure)} of {first.figure} and a mean rank of "
            f"{first.rank}; it comes first in {first.first:.0%} of redrawn patient samples."
        )
    if len(pipelines) > 1:
        told = "; ".join(f"{name} {nested_board.optimism(found, name)}" for name in encoders_of(found))
        paragraphs.append(
            f"Reporting the best of {len(pipelines)} pipelines by its outer result would flatter by: {told}."
        )
    return {"kind": "text", "title": "Summary", "paragraphs": paragraphs}


def _ranks(leaders: Sequence[Any]) -> dict[str, Any]:
    rows = [
        {
            "name": said(leader.name),
            "figure": leader.figure.to_dict(),
            "rank": leader.rank.to_dict(),
            "first": f"{leader.first:.0%}",
        }
        for leader in leaders
    ]
    columns = [("name", "model"), ("figure", "mean over tasks"), ("rank", "mean rank"), ("first", "first in")]
    return _table("Leaderboard", columns, rows, "Ranks over tasks; intervals and `first in` from redrawing patients.")


def _table(title: str, columns: Sequence[tuple[str, str]], rows: list[dict[str, Any]], note: str) -> dict[str, Any]:
    named = [{"key": key, "label": label} for key, label in columns]
    return {"kind": "table", "title": title, "note": note, "columns": named, "rows": rows}


def _effects(made: Sequence[Effect], found: Board) -> dict[str, Any]:
    rows = [
        {
            "encoder": one.encoder,
            "choice": f"{one.factor}={one.level}, not {one.against}",
            "gain": one.gain.to_dict(),
            "p": "" if one.gain.p_value is None else f"{one.gain.p_value:.2g}",
        }
        for one in made
    ]
    columns = [("encoder", "features"), ("choice", "choice"), ("gain", f"gain in {found.figure}"), ("p", "p over runs")]
    note = "Mean over tasks, other choices alike. Interval over patients; p of the corrected resampled t over runs."
    return _table("What each choice changes", columns, rows, note)


def _effect_picture(made: Sequence[Effect], found: Board) -> dict[str, Any]:
    shown = [one for one in made if one.gain.defined][:MOST_ROWS]
    return {
        "kind": "forest",
        "title": "Effects of choices",
        "note": "Right of the line the choice helps.",
        "rows": [
            {"label": f"{one.encoder}: {one.factor}={one.level}", "estimate": one.gain.to_dict()} for one in shown
        ],
        "reference": 0.0,
        "axis": f"gain in {found.figure}",
    }


def _by_task(found: Board, shown: Sequence[Name]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for task in found.tasks:
        row: Mapping[str, Any] = {said(name): found.estimate(name, task).to_dict() for name in shown}
        rows.append({"task": task, **row})
    columns = [("task", "question"), *((said(name), said(name)) for name in shown)]
    return _table("Every question", columns, rows, f"{pages.label(found.figure)} on patients not seen.")
