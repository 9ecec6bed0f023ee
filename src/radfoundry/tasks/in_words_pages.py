"""What a report shows of questions asked in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radfoundry.records import Estimate, Task
from radfoundry.tasks import pages
from radfoundry.tasks.in_words import SIMULATED

REFERENCE = {"recall@10": None, "zero-shot-auroc": 0.5, "pointing-hit": None}


def blocks(
    config: Any, task: Task, *, metrics: Mapping[str, Estimate], gaps: Mapping[str, Estimate]
) -> list[dict[str, Any]]:
    """A summary, the main measure by encoder, all measures, and paired differences."""
    main = task.metrics[0]
    chosen = {key.partition("/")[0]: value for key, value in metrics.items() if key.partition("/")[2] == main}
    said = "; ".join(f"{name} {value}" for name, value in chosen.items())
    who = (
        f"{config.patients} simulated studies that no training shows"
        if config.cohort == SIMULATED
        else "the studies of the cohort that have a report"
    )
    closing = (
        "Every study was given another one's image on purpose: this is a negative control."
        if config.permute_labels
        else "No label was used to teach: only reports."
    )
    found: list[dict[str, Any]] = [
        {
            "kind": "text",
            "title": "Summary",
            "paragraphs": [f"{task.about} Asked about {who}. {pages.label(main)}: {said}.", closing],
        },
        {
            "kind": "forest",
            "title": pages.capital(f"{pages.label(main)} by encoder"),
            "note": "Points with 95 % intervals.",
            "rows": [{"label": name, "estimate": value.to_dict()} for name, value in chosen.items()],
            "reference": REFERENCE.get(main),
            "axis": pages.label(main),
        },
        pages.numbers("Results", metrics, note=task.about),
    ]
    if gaps:
        found.append(pages.numbers("Paired differences", gaps, note="Positive means that the first is better."))
    return found
