"""What a report shows of fused answers: beside each image alone, with images taken away, and what each image added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radfoundry.records import Estimate
from radfoundry.tasks import contributions, pages
from radfoundry.tasks.fusion_beside import BEST, FUSED, WITHOUT, Beside

PART = "contribution-"


def blocks(
    beside: Beside, summary: dict[str, Any], metrics: Mapping[str, Estimate]
) -> tuple[dict[str, Any], dict[str, Estimate], list[dict[str, Any]]]:
    """The summary with one sentence more, the numbers left for the table of results, and the blocks in between."""
    main = next(iter(metrics))
    gaps = {name: value for name, value in metrics.items() if "-minus-" in name}
    sizes = {name: value for name, value in metrics.items() if name.startswith(PART)}
    points = {name.partition("/")[0]: value for name, value in metrics.items() if "/" in name and name not in gaps}
    own = {name: value for name, value in metrics.items() if "/" not in name and name not in sizes}
    said = _verdict(gaps, main)
    summary = {**summary, "paragraphs": [*summary["paragraphs"], *([said] if said else [])]}
    shown = []
    if points:
        rows = [{"label": FUSED, "estimate": own[main].to_dict()}]
        rows += [
            {"label": _words(name), "estimate": value.to_dict()} for name, value in points.items() if value.defined
        ]
        shown.append(
            {
                "kind": "forest",
                "title": "Fused, and what stands beside it",
                "note": f"Points with 95 % intervals on the same tested patients. '{_words(BEST)}' is the one chosen "
                "on held-out training patients.",
                "rows": rows,
                "reference": 0.5 if "auroc" in main or "concordance" in main else None,
                "axis": pages.label(main),
            }
        )
        shown.append(pages.numbers("Paired differences", gaps, note="Positive means that the first is better."))
    if beside.added is not None and len(beside.added.slots) > 1:
        shown += contributions.blocks(beside.added, sizes)
    return summary, own, shown


def _words(name: str) -> str:
    if name == BEST:
        return "best single image"
    return name.replace(f"{WITHOUT}-", f"{WITHOUT} ") if name.startswith(f"{WITHOUT}-") else name


def _verdict(gaps: Mapping[str, Estimate], main: str) -> str:
    """Whether fusing was worth it, in one sentence, or nothing where there was nothing to compare with."""
    gap = next((value for name, value in gaps.items() if name.startswith(f"{FUSED}-minus-{BEST}/")), None)
    if gap is None or not gap.defined:
        return ""
    if gap.low > 0:
        return f"Fusing was worth it: {pages.label(main)} is better than that of the best single image by {gap}."
    if gap.high < 0:
        return f"Fusing cost something: the best single image is better in {pages.label(main)} (difference {gap})."
    return f"These patients do not show that fusing beats the best single image in {pages.label(main)}: {gap}."
