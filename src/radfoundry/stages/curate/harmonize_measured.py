"""Before and after harmonising: can sites be told apart, and is a site that taught nothing answered better?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.records import Cohort, Estimate, InputError
from radfoundry.stages.curate.harmonize_choice import COMBAT, Chosen, covariates_of, looking_of
from radfoundry.stages.curate.settings import Block, Config

Metrics = dict[str, Estimate]
UNMEASURABLE = ("too-few", "one-site", "one-class")


def measured(
    cohort: Cohort, config: Config, chosen: Chosen, *, methods: Sequence[tuple[str, Mapping[str, Any]]], title: str
) -> tuple[Metrics, list[Block], list[str]]:
    """Metrics before (`none/…`), after (`METHOD/…`) and their paired difference, tables for the page, and remarks.

    Everything is learned anew in every turn from its teaching side, whatever `split` says, so that no patient who is
    tested has taught the harmoniser or the head.
    """
    from radfoundry.tasks import harmonized, pages, sites

    site, patient = np.array(chosen.site), np.array([item.patient for item in chosen.series])
    cache = Path(str(cohort.path)) / "cache" / "harmonized"
    plain = harmonized.ImageFeatures(chosen.series, looking_of(config), cache=cache)
    changed: Any = harmonized.ImageFeatures(chosen.series, plain.looking, methods, cache=cache)
    if title == COMBAT:
        covariates = covariates_of(cohort, chosen, config.covariates)
        changed = harmonized.CombatFeatures(plain, site, covariates, tuple(config.covariates))
    options = {"folds": config.folds, "seed": config.seed}
    rows = sites.Rows(site, patient)
    guesses = [sites.site_predictions(rows, features, **options) for features in (plain, changed)]
    metrics = {
        "none/site-accuracy": sites.site_accuracy(guesses[0], seed=config.seed),
        f"{title}/site-accuracy": sites.site_accuracy(guesses[1], seed=config.seed),
        f"{title}-minus-none/site-accuracy": sites.site_accuracy_difference(guesses[1], guesses[0], seed=config.seed),
    }
    remarks = []
    for name, answer, asked in questions_of(cohort, config, chosen):
        members = sites.Rows(site[asked], patient[asked], answer[asked])
        try:
            found = [
                sites.left_out_predictions(members, _of_some(features, asked), **options)
                for features in (plain, changed)
            ]
        except InputError as error:
            if error.finding not in UNMEASURABLE or config.permute_labels:
                raise
            remarks.append(f"{name} not measured: {error}")
            continue
        metrics |= _answers(found[0], found[1], (title, name), seed=config.seed)
    note = "Features before and after; a logistic head taught by other patients. Answers: by other sites as well."
    gaps = {name: value for name, value in metrics.items() if "-minus-" in name}
    levels = {name: value for name, value in metrics.items() if "-minus-" not in name}
    return (
        metrics,
        [
            pages.numbers("Sites and answers", levels, note=note),
            pages.numbers(
                "After minus before", gaps, note="Paired over patients. Sites should fall, answers should rise."
            ),
        ],
        remarks,
    )


def _answers(before: Any, after: Any, names: tuple[str, str], *, seed: int) -> Metrics:
    """The metrics of one question: before, after, and their paired difference; names: the method and the question."""
    from radfoundry.tasks import sites

    title, question = names
    found = {}
    for label, one in (("none", before), (title, after)):
        for metric, value in sites.left_out_measures(one, seed=seed).items():
            found[f"{label}/{_named(metric, question)}"] = value
    for metric, value in sites.left_out_differences(after, before, seed=seed).items():
        found[f"{title}-minus-none/{_named(metric, question)}"] = value
    return found


def _named(metric: str, question: str) -> str:
    """`auroc` of a question, with one threshold for all sites or within each."""
    return f"{metric.replace('auroc', f'auroc-{question}', 1)}"


def _of_some(features: Any, asked: np.ndarray) -> Any:
    """The features of some of the rows, for turns that only know these."""
    from radfoundry.tasks.sites import Part

    def wide(rows: np.ndarray) -> np.ndarray:
        full = np.zeros(len(asked), bool)
        full[np.flatnonzero(asked)[rows]] = True
        return full

    def of(part: Part) -> np.ndarray:
        return features(Part(wide(part.teaching), wide(part.tested), wide(part.looked_at)))[asked]

    return of


def questions_of(cohort: Cohort, config: Config, chosen: Chosen) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each question by its target, with answers `(n,)` and which series have one; refuses questions of a quantity."""
    from radfoundry.tasks import questions

    found = []
    for component in config.task:
        task, truth = questions.answers(cohort, questions.named(component))
        if task.kind != "binary":
            raise InputError(
                f"{task.target} is not a yes-or-no question", where="task", remedy="classify a label of two"
            )
        if config.permute_labels:
            owners = {case.key: case.patient for case in cohort.cases}
            truth = questions.permuted(truth, owners, rng=np.random.default_rng(config.seed))
        asked = np.array([item.case in truth for item in chosen.series])
        answer = np.array([int(truth.get(item.case, 0)) for item in chosen.series])
        found.append((task.target.replace("_", "-"), answer, asked))
    return found
