"""Picture for docs/curate.md from benchmarks/results/curate_types.json: python figure.py RESULTS.json OUT.png."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WAYS = {
    "fused": ("header and pixels", "#1b6e3c", "o"),
    "header": ("header alone", "#2166ac", "s"),
    "pixels": ("pixels alone", "#a35c00", "^"),
}


def draw(told: dict[str, Any], path: Path) -> None:
    """Accuracy against the share of tags missing or wrong, for three ways of looking, with 95 % intervals."""
    damage = {name: value for name, value in told["files"]["damage"].items() if name.endswith("%")}
    shares = [int(name[:-1]) for name in damage]
    figure, axis = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    for place, (name, (label, colour, mark)) in enumerate(WAYS.items()):
        found = [damage[share][name] for share in damage]
        values = [item["value"] for item in found]
        below = [item["value"] - item["low"] for item in found]
        above = [item["high"] - item["value"] for item in found]
        spots = [share + (place - 1) * 0.7 for share in shares]
        axis.errorbar(spots, values, yerr=[below, above], color=colour, marker=mark, capsize=3, label=label)
    axis.set_xticks(shares)
    axis.set_xlabel("tags missing or wrong, %")
    axis.set_ylabel("share of series named rightly")
    axis.set_ylim(0, 1.02)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, loc="upper right")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
