"""Inside and outside: another cohort, a later time, or sites never seen, each beside cross-validation inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.records import Cohort, Estimate, InputError, Run, Task
from radfoundry.stages.benchmark.settings import Config, Progress

WAYS = {"external": ("path",), "later": ("from",), "sites": ()}
Outcomes = dict[tuple[str, str], Any]


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """The gap between inside and outside for every encoder, pipeline and question; positive is what is lost outside."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.stages.benchmark import asking
    from radfoundry.tasks import nested_gap, pages

    way = _way(config)
    cohort = cohorts.open_cohort(config.cohort)
    outside = cohorts.open_cohort(way.options["path"]) if way.name == "external" else None
    plan = asking.plan(config, [cohort] if outside is None else [cohort, outside], progress=progress)
    keys = _kept_outside(way, cohort, outside)
    found: dict[str, Outcomes] = {}
    metrics: dict[str, Estimate] = {}
    for task, truth in plan.questions.values():
        found[task.name] = _answers(config, plan, (task, truth), keys, way.name)
        suffix = f"@{task.name}" if len(plan.questions) > 1 else ""
        for (encoder, words), gap in found[task.name].items():
            own = encoder if words == "base" else f"{encoder}:{words}"
            for key, value in nested_gap.measured(gap, seed=config.seed).items():
                metrics[f"{own}/{key}{suffix}"] = value
        metrics |= _paired(config, plan, found[task.name], suffix)
    with runs.writing("benchmark", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        if outside is not None:
            writer.inputs["outside"] = outside.fingerprint
        writer.inputs.update({f"encoder {one.name}": one.table.fingerprint for one in plan.sources})
        writer.metrics.update(metrics)
        writer.notes += plan.notes
        blocks = _blocks(config, metrics, found, way)
        blocks.insert(1, pages.people(cohort))
        blocks.append(pages.thumbnails(cohort, writer.folder))
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _way(config: Config) -> Component:
    """The way outside, with the options it needs and no others."""
    if config.test is None:
        raise InputError("no way outside", where="test", remedy=f"one of {', '.join(WAYS)}")
    name, options = config.test.name, config.test.options
    if name not in WAYS:
        raise registry.unknown("way outside", name, WAYS, where="test")
    for option in options:
        if option not in WAYS[name]:
            raise registry.unknown("option", option, WAYS[name], where=f"test={name}")
    missing = [option for option in WAYS[name] if option not in options]
    if missing:
        raise InputError(f"needs {missing[0]}", where=f"test={name}", remedy=f"add test.{missing[0]}=")
    return config.test


def _kept_outside(way: Component, cohort: Cohort, outside: Cohort | None) -> dict[str, bool]:
    """By case, whether it is kept outside; cases in neither part (earlier exams of later patients) are left out."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.data import splits

    if outside is not None:
        return dict.fromkeys((case.key for case in cohort.cases), False) | dict.fromkeys(
            (case.key for case in outside.cases), True
        )
    if way.name == "later":
        cohorts.refuse_moved_dates(cohort)
        parts = splits.by_date(cohort.cases, test_from=str(way.options["from"]))
        return {key: part == "test" for key, part in parts.items()}
    return dict.fromkeys((case.key for case in cohort.cases), False)


def _answers(
    config: Config, plan: Any, question: tuple[Task, Mapping[str, Any]], keys: Mapping[str, bool], way: str
) -> Outcomes:
    from radfoundry.tasks import nested, nested_gap

    task, truth = question
    found: Outcomes = {}
    for rows in plan.rows(task, {key: value for key, value in truth.items() if key in keys}, config):
        away = np.array([keys[case] for case in rows.rows.case.tolist()])
        for pipeline in plan.pipelines:
            if not nested.answers(rows, pipeline):
                continue
            own = rows.encoder, pipeline.named(plan.pipelines[0])
            if way == "sites":
                found[own] = nested_gap.outside_sites(rows, pipeline, design=plan.design)
            else:
                found[own] = nested_gap.outside_part(rows, pipeline, away, design=plan.design)
    return found


def _paired(config: Config, plan: Any, found: Outcomes, suffix: str) -> dict[str, Estimate]:
    """Who is better outside: encoders against baselines, and every choice against the base, on the same patients."""
    from radfoundry.tasks import nested_gap

    names = [one.name for one in plan.sources]
    mine, others = names[: len(config.encoders)], names[len(config.encoders) :]
    pairs = {f"{one}-minus-{other}": ((one, "base"), (other, "base")) for one in mine for other in others}
    pairs |= {f"{own[0]}:{own[1]}-minus-base": (own, (own[0], "base")) for own in found if own[1] != "base"}
    made: dict[str, Estimate] = {}
    for name, (first, second) in pairs.items():
        if first in found and second in found:
            value = nested_gap.outside_difference(found[first], found[second], seed=config.seed)
            made |= {f"{name}/{key}{suffix}": one for key, one in value.items()}
    return made


def _blocks(
    config: Config, metrics: Mapping[str, Estimate], found: Mapping[str, Outcomes], way: Component
) -> list[dict[str, Any]]:
    from radfoundry.tasks import nested_gap, pages

    told = {"external": "another cohort", "later": f"exams from {way.options.get('from')} on", "sites": "unseen sites"}
    gaps = {key: value for key, value in metrics.items() if "/gap-" in key and "-minus-" not in key}
    said = "; ".join(f"{key.partition('/')[0]} {value}" for key, value in list(gaps.items())[:6])
    closing = "A gap whose interval lies above 0 is lost outside; one that includes 0 may be chance."
    summary = {
        "kind": "text",
        "title": "Summary",
        "paragraphs": [f"Inside against {told[way.name]}. Internal minus external: {said}.", closing],
    }
    if config.permute_labels:
        summary["paragraphs"].append("The answers were dealt out to other patients: this is a negative control.")
    sites: list[dict[str, Any]] = []
    for task, outcomes in found.items():
        for (encoder, words), gap in outcomes.items() if way.name == "sites" else ():
            each = nested_gap.by_site(gap, seed=config.seed)
            rows = {f"{site}: {key}": value for site, one in each.items() for key, value in one.items()}
            sites.append(pages.numbers(f"{task}, {encoder} {words}: every site", rows))
    blocks = [summary, _table(metrics), _forest(gaps), *sites]
    differences = {key: value for key, value in metrics.items() if "-minus-" in key}
    return [*blocks, pages.numbers("Outside, paired", differences, note="Positive means that the first is better.")]


def _table(metrics: Mapping[str, Estimate]) -> dict[str, Any]:
    """One row per model and question: inside, outside, gap."""
    rows: dict[str, dict[str, Any]] = {}
    for key, value in metrics.items():
        owner, _, metric = key.partition("/")
        side, _, figure = metric.partition("-")
        if side in ("internal", "external", "gap") and "-minus-" not in owner:
            named = f"{owner} {figure.replace('@', ', ')}"
            rows.setdefault(named, {"name": named})[side] = value.to_dict()
    columns: Sequence[tuple[str, str]] = (
        ("name", "model"),
        ("internal", "inside"),
        ("external", "outside"),
        ("gap", "gap"),
    )
    return {
        "kind": "table",
        "title": "Inside and outside",
        "note": "Inside: folds between patients. Outside: patients kept away from all fitting.",
        "columns": [{"key": key, "label": label} for key, label in columns],
        "rows": list(rows.values()),
    }


def _forest(gaps: Mapping[str, Estimate]) -> dict[str, Any]:
    rows = [
        {
            "label": key.partition("/")[0] + (f" {key.partition('@')[2]}" if "@" in key else ""),
            "estimate": value.to_dict(),
        }
        for key, value in gaps.items()
        if value.defined
    ]
    return {
        "kind": "forest",
        "title": "What is lost outside",
        "note": "Points with 95 % intervals.",
        "rows": rows,
        "reference": 0.0,
        "axis": "inside minus outside",
    }
