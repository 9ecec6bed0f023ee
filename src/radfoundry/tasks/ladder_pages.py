"""What a report shows of a ladder: the choice, every rung beside it with its interval, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radfoundry.records import Estimate, Task
from radfoundry.tasks import ladder, measure, pages


def numbers(found: ladder.Climb, task: Task, *, seed: int) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Metrics of every rung and of the choice (`NAME/METRIC`), and the choice minus each baseline, paired."""
    metrics = {
        f"{name}/{metric}": value
        for name, predictions in found.found.items()
        for metric, value in measure.measure(predictions, task, seed=seed).items()
    }
    chosen = found.found[ladder.CHOSEN]
    gaps = {
        f"{ladder.CHOSEN}-minus-{name}/{metric}": value
        for name in ("trivial", "header", "radiomics", "scratch", "full")
        if name in found.found and name != found.name
        for metric, value in measure.difference(chosen, found.found[name], task, seed=seed).items()
    }
    return metrics, gaps


def baseline_gaps(gaps: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The paired differences to what uses no foundation model, by its name."""
    short = {key.partition("/")[0].removeprefix(f"{ladder.CHOSEN}-minus-"): value for key, value in gaps.items()}
    return {name: value for name, value in short.items() if name in ladder.WITHOUT}


def blocks(
    found: ladder.Climb, task: Task, metrics: Mapping[str, Estimate], gaps: Mapping[str, Estimate]
) -> list[dict[str, Any]]:
    """Summary, forest of rungs, differences, and how the choice fell."""
    main = next(iter(metrics)).partition("/")[2]
    said = ladder.verdict(found, baseline_gaps(gaps), metric=pages.label(main))
    folds = ", ".join(f"{name} in {count}" for name, count in found.choices.items())
    rows = [
        {"name": name, "loss": f"{value:.3g}", "chosen": "yes" if name == found.name else ""}
        for name, value in found.losses.items()
    ]
    return [
        {
            "kind": "text",
            "title": "Summary",
            "paragraphs": [
                f"{task.about} {said}",
                f"The choice was made on held-out patients of the training part: the simplest rung within one standard "
                f"error of the best. Over the outer folds it fell on {folds}; on all patients, on {found.name}.",
                f"Tested on patients that took no part in it, the choice reaches {pages.label(main)} "
                f"{metrics[f'{ladder.CHOSEN}/{main}']}.",
            ],
        },
        {
            "kind": "forest",
            "title": f"{pages.label(main)} by rung",
            "note": "Points with 95 % intervals, on tested patients.",
            "rows": [
                {"label": name, "estimate": metrics[f"{name}/{main}"].to_dict()}
                for name in found.found
                if metrics[f"{name}/{main}"].defined
            ],
            "reference": 0.5 if "auroc" in main or "concordance" in main else None,
            "axis": pages.label(main),
        },
        pages.numbers("Paired differences", gaps, note="Positive means that the choice is better."),
        {
            "kind": "table",
            "title": "How the choice fell",
            "note": "Mean loss of held-out training patients (log loss, absolute error, or discordant pairs).",
            "columns": [
                {"key": "name", "label": "rung"},
                {"key": "loss", "label": "held-out loss"},
                {"key": "chosen", "label": "chosen"},
            ],
            "rows": rows,
        },
        pages.numbers("All numbers", metrics, note=task.about),
    ]
