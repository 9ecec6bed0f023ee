"""Asking several aligned encoders the same question in words, about the same studies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from radfoundry.records import Estimate, InputError, Task
from radfoundry.tasks import in_words, pointing, retrieval, zero_shot
from radfoundry.tasks.in_words import SIMULATED, Asked

QUESTIONS: Mapping[str, Any] = {"retrieve": retrieval, "zero-shot": zero_shot, "point": pointing}


def ask(
    config: Any, task: Task, *, names: Sequence[str], progress: Callable[[str, int, int], None] | None = None
) -> dict[str, Any]:
    """What each encoder of a benchmark's settings answers, by name; all are asked about the same studies."""
    from radfoundry.nets import aligned

    found = {}
    components = [*config.encoders, *(config.against if "against" in config.model_fields_set else [])]
    for done, (name, component) in enumerate(zip(names, components, strict=True)):
        asked = studies(config, aligned.open_aligned(component.name))
        if config.permute_labels:
            asked = permuted(asked, seed=config.seed)
        extra = {"phrases": config.task.options.get("phrases")} if task.name == "zero-shot" else {}
        found[name] = QUESTIONS[task.name].measure(asked, seed=config.seed, **extra)
        if progress:
            progress(f"ask {name}", done + 1, len(components))
    return found


def studies(config: Any, model: Any) -> Asked:
    """The studies that a benchmark's settings ask about, through one model."""
    if config.cohort == SIMULATED:
        return in_words.simulated(model, crops=config.crops, patients=config.patients, seed=config.seed)
    from radfoundry.data import cohort as cohorts

    cohort = cohorts.open_cohort(config.cohort)
    if config.split is not None:
        cohort = cohort.part(config.split, "test")
    wanted = {
        fact: [values] if isinstance(values, str) else list(values)
        for fact, values in (config.test_on or config.train_on).items()
    }
    labels = dict(config.task.options.get("findings") or {})
    if config.task.name == "zero-shot" and not labels:
        raise InputError(
            "which label tells which finding is not said",
            where="task zero-shot",
            remedy="set task={name: zero-shot, findings: {tumour: LABEL}}",
        )
    return in_words.of_cohort(model, cohort, wanted=wanted, labels=labels)


def permuted(asked: Asked, *, seed: int) -> Asked:
    """The same studies, each with the image of another one: what is left of a result then was never in the images."""
    order = np.random.default_rng(seed).permutation(len(asked))
    images = None if asked.images is None else asked.images[order]
    return dataclasses.replace(asked, seen=asked.seen[order], images=images)


def differences(
    found: Mapping[str, Any], task: Task, pairs: Sequence[tuple[str, str]], *, seed: int
) -> dict[str, Estimate]:
    """Metrics `ONE-minus-OTHER/METRIC`, paired study by study; positive means that the first is better."""
    return {
        f"{one}-minus-{other}/{name}": value
        for one, other in pairs
        for name, value in QUESTIONS[task.name].difference(found[one], found[other], seed=seed).items()
    }


def inputs(config: Any, components: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Fingerprints of what went in: the cohort, and every encoder with its text side."""
    from radfoundry.nets import aligned, checkpoint

    known = {}
    for component in (item for part in components.values() for item in part):
        model = aligned.open_aligned(component.name)
        known[f"encoder {component.name}"] = checkpoint.fingerprint(model.encoder)
        known[f"text {component.name}"] = checkpoint.weight_bytes(model.side.state_dict())[:16]
    if config.cohort != SIMULATED:
        from radfoundry.data import cohort as cohorts

        known["cohort"] = cohorts.open_cohort(config.cohort).fingerprint
    return known
