"""What a recipe will cost on this machine: minutes and disk, from a one-second trial of its own encoders."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from radfoundry import registry
from radfoundry.recipes.runner import Recipe, needs_cohort, step_config, with_pretrained
from radfoundry.records import InputError

SERIES_PER_CASE = 4
SIMULATE_AND_INGEST_SECONDS_PER_CASE = 1.0
MEGABYTES_PER_CASE = 3.0


def forecast(recipe: Recipe) -> list[str]:
    """Lines that say roughly how long a recipe takes and what it writes; heads and statistics are not counted."""
    learning = _pretraining(recipe)
    if not needs_cohort(recipe):
        return learning
    encoders = _encoders(recipe)
    seconds = {name: encode_seconds(name) for name in sorted(encoders)}
    cases, made = recipe.cohort.cases, recipe.cohort.path is None
    chosen = recipe.cohort.simulate.options.get("sequences") if recipe.cohort.simulate is not None else None
    series = cases * (len(chosen) if chosen else SERIES_PER_CASE)
    if not made:
        from radfoundry.data import cohort as cohorts

        opened = cohorts.open_cohort(str(recipe.cohort.path))
        cases, series = len(opened), len(opened.series)
    total = sum(seconds.values()) * series + (cases * SIMULATE_AND_INGEST_SECONDS_PER_CASE if made else 0)
    disk = cases * MEGABYTES_PER_CASE if made else 0
    each = ", ".join(f"{name} {value * 1000:.0f} ms a series" for name, value in seconds.items())
    return [
        f"forecast: about {max(1, round(total / 60))} min here for {cases} cases, {series} series ({each})",
        f"forecast: about {disk:.0f} MB of disk" if made else "forecast: little disk; the cohort is there already",
        *learning,
    ]


def _pretraining(recipe: Recipe) -> list[str]:
    """What every pretraining step says of itself after a trial of a few of its training steps."""
    lines = []
    for index, step in enumerate(recipe.steps):
        for verb, given in step.items():
            if verb == "pretrain" and given.get("cohort") is None:
                asked = with_pretrained(given, recipe, Path("steps"), before=index)
                config = step_config(verb, asked, recipe)
                lines += [f"step {index + 1}, pretrain: {line}" for line in _tried(config)]
    return lines


def _tried(config: Any) -> list[str]:
    """The forecast of one pretraining step; one that goes on from an earlier step's file cannot be tried yet."""
    try:
        return registry.resolve("stages", "pretrain").forecast(config)
    except InputError as error:
        if error.finding != "missing-file":
            raise
        return ["forecast: known once the step that it goes on from is done"]


def _encoders(recipe: Recipe) -> set[str]:
    found: set[str] = set()
    for step in recipe.steps:
        for verb, given in step.items():
            config = step_config(verb, given, recipe, cohort="cohort")
            for field in ("encoder", "encoders", "against"):
                value: Any = getattr(config, field, ())
                found |= {part.name for part in (value if isinstance(value, (list, tuple)) else [value])}
    return {name for name in found if name in registry.entries("encoders")}


def encode_seconds(name: str) -> float:
    """Seconds one image takes through an encoder here: the second of two passes."""
    import torch

    encoder = registry.build("encoders", name)
    image = torch.zeros(1, encoder.spec.channels, *encoder.spec.shape)
    spent = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with torch.no_grad():
            encoder.encode(image)
        spent = time.perf_counter() - started
    return spent
