"""What a recipe will cost on this machine: minutes and disk, from a one-second trial of its own encoders."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from radfoundry import registry
from radfoundry.config import Component
from radfoundry.recipes.runner import CohortChoice, Recipe, needs_cohort, step_config, with_pretrained
from radfoundry.records import InputError

SERIES_PER_CASE = 4
SIMULATE_AND_INGEST_SECONDS_PER_CASE, MEGABYTES_PER_CASE = 1.0, 3.0
# Phantoms are small pictures: files, not pixels, are what they cost.
PHANTOM_SECONDS_PER_SERIES, PHANTOM_MEGABYTES_PER_SERIES = 0.05, 0.03
MOST_PASSES, MOST_SECONDS = 8, 1.0
PASSES_OF_A_STEP = 3  # a training step costs about three passes forward


def forecast(recipe: Recipe) -> list[str]:
    """Lines that say roughly how long a recipe takes and what it writes; heads and statistics are not counted."""
    learning = _pretraining(recipe)
    if not needs_cohort(recipe):
        return learning
    seconds = {title: encode_seconds(part) for title, part in sorted(_encoders(recipe).items())}
    made = [choice for choice in (recipe.cohort, *recipe.cohorts.values()) if choice.path is None]
    cases, series = _size(recipe.cohort)
    total = sum(seconds.values()) * series + sum(_making(choice)[0] for choice in made) + _taught_seconds(recipe)
    disk = sum(_making(choice)[1] for choice in made)
    each = ", ".join(f"{name} {value * 1000:.0f} ms a series" for name, value in seconds.items())
    return [
        f"forecast: about {max(1, round(total / 60))} min here for {cases} cases, {series} series ({each})",
        f"forecast: about {max(1, round(disk))} MB of disk" if made else "forecast: little disk; the cohort is there",
        *learning,
    ]


def _size(choice: CohortChoice) -> tuple[int, int]:
    """How many cases and series a cohort has, or will have."""
    if choice.path is not None:
        from radfoundry.data import cohort as cohorts

        opened = cohorts.open_cohort(choice.path)
        return len(opened), len(opened.series)
    return choice.cases, choice.cases * _series_of_a_case(choice)


def _series_of_a_case(choice: CohortChoice) -> int:
    if choice.simulate is None:
        return SERIES_PER_CASE
    preset = _phantom(choice)
    if preset is not None:
        return len(preset.simulate(0, seed=0).series)
    return len(choice.simulate.options.get("sequences") or range(SERIES_PER_CASE))


def _phantom(choice: CohortChoice) -> Any:
    """What makes the patients if they are phantoms, else None."""
    from radfoundry.simulate.phantoms import PhantomOptions

    if choice.simulate is None:
        return None
    preset = registry.build("cohorts", choice.simulate.name, **choice.simulate.options)
    return preset if isinstance(preset, PhantomOptions) else None


def _making(choice: CohortChoice) -> tuple[float, float]:
    """Seconds and megabytes to simulate and ingest a cohort."""
    cases, series = _size(choice)
    if _phantom(choice) is not None:
        return series * PHANTOM_SECONDS_PER_SERIES, series * PHANTOM_MEGABYTES_PER_SERIES
    return cases * SIMULATE_AND_INGEST_SECONDS_PER_CASE, cases * MEGABYTES_PER_CASE


def _taught_seconds(recipe: Recipe) -> float:
    """Seconds of the pretraining steps that learn from a cohort of the recipe."""
    total, known = 0.0, {}
    for number, step in enumerate(recipe.steps):
        for verb, given in step.items():
            if verb != "pretrain" or given.get("cohort") is None:
                continue
            config = step_config(verb, with_pretrained(given, recipe, Path("steps"), before=number), recipe)
            known[number] = config.encoder if config.encoder.name in registry.entries("encoders") else None
            begun = known[number] or next((part for part in reversed(known.values()) if part is not None), None)
            if config.minutes is not None:
                total += 60 * config.minutes
            elif begun is not None:
                images = (config.steps or 0) * config.batch * config.crops.views
                total += PASSES_OF_A_STEP * images * encode_seconds(begun)
    return total


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


def _encoders(recipe: Recipe) -> dict[str, Component]:
    """The encoders that a recipe embeds its cohort with, by name; several sizes of one by their options as well."""
    found: dict[str, Component] = {}
    for step in recipe.steps:
        for verb, given in step.items():
            config = step_config(verb, given, recipe, cohort="cohort")
            if verb == "pretrain" or getattr(
                config, "runs", ()
            ):  # learning is counted apart; finished runs cost nothing
                continue
            for field in ("encoder", "encoders", "against"):
                value: Any = getattr(config, field, ())
                for part in value if isinstance(value, (list, tuple)) else [value]:
                    options = " ".join(f"{key}={option}" for key, option in part.options.items())
                    found[f"{part.name} {options}".strip()] = part
    return {title: part for title, part in found.items() if part.name in registry.entries("encoders")}


def encode_seconds(component: Component) -> float:
    """Seconds one image takes through an encoder here: the best of a few passes, so that other work counts little."""
    import torch

    encoder = registry.build("encoders", component.name, **component.options)
    image = torch.zeros(1, encoder.spec.channels, *encoder.spec.shape)
    spent: list[float] = []
    while len(spent) < 2 or (len(spent) < MOST_PASSES and sum(spent) < MOST_SECONDS):
        started = time.perf_counter()
        with torch.no_grad():
            encoder.encode(image)
        spent.append(time.perf_counter() - started)
    return min(spent)
