"""`radfoundry plan`: how many labels a target needs, or what a reader trial would find, each with its doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from radfoundry import runs
from radfoundry.config import Component, Settings
from radfoundry.records import Cohort, Estimate, InputError, Run, Task
from radfoundry.stats.curve_points import CurvePoints, case_points, score_points
from radfoundry.stats.label_budget import (
    HORIZON,
    CurveForecast,
    LabelPlan,
    average_chance,
    forecast,
    forecast_difference,
    foresight,
    plan_labels,
)
from radfoundry.stats.label_costs import CostComparison, compare_costs

KINDS = ("labels", "readers")
Progress = Callable[[str, int, int], None]


class Config(Settings):
    """What to plan; for labels where the learning curve comes from (one of points, predictions, cohort)."""

    what: Literal["labels", "readers"] = Field(default="labels", description="labels, or a reader trial (with cohort)")
    points: str | None = Field(default=None, description="CSV with n, score and optionally draw, curve")
    predictions: str | None = Field(default=None, description="CSV with n, case, target, score; optionally draw, curve")
    cohort: str | None = Field(default=None, description="cohort folder: heads are fitted on growing subsets of it")
    target: float = Field(default=0.9, gt=0.5, lt=1, description="AUROC wanted")
    margin: float = Field(default=0.0, ge=0, lt=0.5, description="added to the target, to plan on the safe side")
    costs: list[float] = Field(default=[], description="cost of one label of each curve, to compare their cost")
    validation_positives: int | None = Field(default=None, ge=2, description="with points: positives judged on")
    validation_negatives: int | None = Field(default=None, ge=2, description="with points: negatives judged on")
    task: Component | None = Field(default=None, description="with cohort: a yes-or-no question")
    encoders: list[Component] = Field(default=[Component(name="vit3d-tiny")], description="with cohort: features")
    against: list[Component] = Field(default=[], description="with cohort: baseline features")
    head: Component | None = Field(default=None, description="with cohort: logistic or knn")
    train_on: dict[str, list[str] | str] = Field(default={}, description="with cohort: series, e.g. sequence=FLAIR")
    against_on: dict[str, list[str] | str] = Field(default={}, description="labels: compare with these series instead")
    sizes: list[int] = Field(default=[5, 8, 12, 18, 25, 35, 50], description="with cohort: numbers of positives")
    orders: int = Field(default=8, ge=2, description="with cohort: orders of labelling")
    negatives_per_positive: float = Field(default=1.0, gt=0, description="with cohort: negatives labelled beside")
    held_out: float = Field(default=0.4, gt=0, lt=1, description="with cohort: share of patients judged on")
    permute_labels: bool = Field(default=False, description="deal the answers out to other patients (negative control)")
    dealings: int = Field(
        default=12, ge=2, description="labels, with permute_labels: dealings the chance is averaged over"
    )
    readers: int = Field(default=8, ge=2, description="readers: how many read every case alone and with the AI")
    reader_auroc: float = Field(default=0.75, gt=0.5, lt=1, description="readers: AUROC of a reader alone")
    trust: float = Field(default=0.4, ge=0, le=1, description="readers: weight they give to the AI")
    gain: float = Field(default=0.05, gt=0, lt=0.5, description="readers: gain in accuracy worth finding")
    draws: int = Field(default=1000, ge=50, description="redrawn experiments")
    seed: int = Field(default=0, ge=0, description="seed of everything drawn")
    to: str | None = Field(default=None, description="run folder to write")


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Read or measure the curves, forecast each, plan, compare, and write plan.json, curves.csv and a picture."""
    if config.what == "readers":
        return _plan_readers(config, progress)
    curves, inputs, notes = _curves(config, progress)
    forecasts = {name: forecast(points[0], draws=config.draws, rng=config.seed) for name, points in curves.items()}
    plans = {name: plan_labels(curve, config.target, margin=config.margin) for name, curve in forecasts.items()}
    if config.permute_labels:
        plans = {name: _over_dealings(plan, curves[name], config) for name, plan in plans.items()}
    metrics: dict[str, Estimate] = {}
    for name, plan in plans.items():
        prefix = f"{name}/" if len(plans) > 1 or config.cohort else ""
        metrics |= {f"{prefix}{key}": value for key, value in _numbers(forecasts[name], plan).items()}
    names = list(forecasts)
    for other in names[1:]:
        metrics[f"{names[0]}-minus-{other}/auroc-forecast"] = forecast_difference(forecasts[names[0]], forecasts[other])
    costs = _costs(config, forecasts)
    with runs.writing("plan", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(inputs)
        writer.metrics.update(metrics)
        writer.notes += [*notes, *(f"{name}: {plan.decision}" for name, plan in plans.items()), *_cost_notes(costs)]
        written = {"plans": plans, "costs": costs}
        plain = {kind: {name: _fields(item) for name, item in found.items()} for kind, found in written.items()}
        runs.write_json(writer.folder / "plan.json", plain)
        _write_curves(forecasts, writer.folder / "curves.csv")
        _draw(forecasts, config.target, writer.folder / "learning-curve.png")
        writer.unstable.add("learning-curve.png")
        runs.write_json(writer.folder / "blocks.json", _blocks(forecasts, plans, metrics, config))
    return writer.finished


def _over_dealings(plan: LabelPlan, dealt: Sequence[CurvePoints], config: Config) -> LabelPlan:
    """The plan of the first dealing of the answers with the chance averaged over all dealings."""
    chances = [plan.reachable.value]
    for points in dealt[1:]:
        curve = forecast(points, draws=config.draws, rng=config.seed)
        chances.append(plan_labels(curve, config.target, margin=config.margin).reachable.value)
    chance = average_chance(chances, of="dealings of the answers")
    return replace(plan, reachable=chance, decision=f"first dealing: {plan.decision}")


def _fields(record: LabelPlan | CostComparison) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


Curves = dict[str, Sequence[CurvePoints]]


def _curves(config: Config, progress: Progress | None) -> tuple[Curves, dict[str, str], list[str]]:
    """The learning curves by name (one each, or one for each dealing of the answers), inputs and notes."""
    given = [name for name in ("points", "predictions", "cohort") if getattr(config, name) is not None]
    if len(given) != 1:
        raise InputError(
            f"{len(given)} sources of a learning curve ({', '.join(given) or 'none'})",
            where="plan settings",
            remedy="give one of points=CSV, predictions=CSV, cohort=FOLDER",
        )
    if config.cohort is not None:
        return _measured(config, progress)
    if config.permute_labels:
        raise InputError("a table's answers cannot be dealt out", where="permute_labels", remedy="give a cohort")
    path = Path(str(config.points or config.predictions))
    table = _read(path, ("n", "score") if config.points else ("n", "case", "target", "score"))
    groups = table["curve"] if "curve" in table else np.full(len(table["n"]), "labels")
    curves: Curves = {}
    for name in dict.fromkeys(groups.tolist()):
        part = {key: column[groups == name] for key, column in table.items()}
        curves[str(name)] = [_from_scores(part, config) if config.points else _from_cases(part, str(path))]
    return curves, {str(path.name): runs.digest_file(path)}, []


def _read(path: Path, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"case": str, "draw": str, "patient": str, "curve": str})
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path", finding="missing-file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"not a table ({error})", where=str(path), remedy="give a CSV with a header") from None
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(
            f"no column {', '.join(missing)}", where=str(path), remedy=f"columns here: {', '.join(map(str, table))}"
        )
    return {str(name): table[name].to_numpy() for name in table}


def _from_scores(part: Mapping[str, np.ndarray], config: Config) -> CurvePoints:
    counts = (config.validation_positives, config.validation_negatives)
    if (counts[0] is None) != (counts[1] is None):
        raise InputError("one validation count", remedy="give validation_positives and validation_negatives")
    known = None if counts[0] is None or counts[1] is None else (counts[0], counts[1])
    return score_points(part["n"], part["score"], draw=part.get("draw"), validation=known)


def _from_cases(part: Mapping[str, np.ndarray], where: str) -> CurvePoints:
    """One fixed validation set scored after every training: (draws, sizes, cases)."""
    draw = part.get("draw", np.full(len(part["n"]), "1"))
    draws, sizes, cases = np.unique(draw), np.unique(part["n"]), np.unique(part["case"])
    place = (np.searchsorted(draws, draw), np.searchsorted(sizes, part["n"]), np.searchsorted(cases, part["case"]))
    cube = np.full((len(draws), len(sizes), len(cases)), np.nan)
    cube[place] = part["score"]
    if np.isnan(cube).any() or len(draw) != cube.size:
        raise InputError(
            f"{len(draw)} rows for {len(draws)} draws x {len(sizes)} sizes x {len(cases)} cases",
            where=where,
            remedy="score every validation case once for every n and draw",
        )
    first = np.unique(part["case"], return_index=True)[1]
    patient = part["patient"][first] if "patient" in part else None
    return case_points(sizes, cube, part["target"][first], patient=patient)


def _measured(config: Config, progress: Progress | None) -> tuple[Curves, dict[str, str], list[str]]:
    from radfoundry.nets import embedding
    from radfoundry.tasks import heads
    from radfoundry.tasks.label_curve import CurveDesign, label_curves

    cohort, task, truth = _asked(config)
    first, second = (_wanted(facts) for facts in (config.train_on, config.against_on))
    if config.against_on:
        truth = _with_both(cohort, truth, first, second)
    design = CurveDesign(
        tuple(config.sizes),
        draws=config.orders,
        negatives_per_positive=config.negatives_per_positive,
        held_out=config.held_out,
        series=first,
        seed=config.seed,
    )
    dealings = config.dealings if config.permute_labels else 0
    curves: Curves = {}
    inputs = {"cohort": cohort.fingerprint}
    for place, component in enumerate([*config.encoders, *config.against]):
        name = component.name.rsplit("/", 1)[-1].removesuffix(".safetensors")
        table = embedding.embed(cohort, embedding.open_encoder(component), progress=progress)
        asked = {"task": task, "truth": truth, "head": heads.named(config.head, task.kind), "dealings": dealings}
        curves[name] = label_curves(table, design=design, **asked)
        if config.against_on and place < len(config.encoders):
            other = f"{name}-on-{'-'.join(item for chosen in second.values() for item in chosen)}"
            curves[other] = label_curves(table, design=replace(design, series=second), **asked)
        inputs[f"encoder {name}"] = table.fingerprint
    return (
        curves,
        inputs,
        [f"n counts positives; {config.negatives_per_positive:g} negatives were labelled beside each"],
    )


def _wanted(facts: Mapping[str, list[str] | str]) -> dict[str, list[str]]:
    return {fact: [item] if isinstance(item, str) else list(item) for fact, item in facts.items()}


def _with_both(
    cohort: Cohort, truth: Mapping[str, Any], first: dict[str, list[str]], second: dict[str, list[str]]
) -> dict[str, Any]:
    """The truth of cases that have both kinds of series: only on the same patients are two curves comparable."""
    from radfoundry.tasks.examples import matches

    both = {
        case.key
        for case in cohort.cases
        if all(any(matches(item, wanted) for item in case.series) for wanted in (first, second))
    }
    return {key: answer for key, answer in truth.items() if key in both}


def _asked(config: Config) -> tuple[Cohort, Task, Mapping[str, Any]]:
    """The cohort, the question and the truth by case; for readers dealt out to others where the settings say so."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.tasks import questions

    if config.cohort is None or config.task is None:
        missing = "no cohort" if config.cohort is None else "no question"
        raise InputError(missing, where="plan settings", remedy="add cohort=FOLDER task=lesion-present or another one")
    cohort = cohorts.open_cohort(config.cohort)
    task, truth = questions.answers(cohort, questions.named(config.task))
    if config.permute_labels and config.what == "readers":
        patients = {case.key: case.patient for case in cohort.cases}
        truth = questions.permuted(truth, patients, rng=np.random.default_rng(config.seed))
    return cohort, task, truth


def _numbers(curve: CurveForecast, plan: LabelPlan) -> dict[str, Estimate]:
    found = {
        "reachable": plan.reachable,
        "labels": plan.labels,
        "auroc-now": curve.at(curve.points.size[-1])[0],
        "auroc-after-next-round": plan.expected,
        "auroc-forecast": curve.at(2 * curve.points.size[-1])[0],
    }
    if len(curve.points.size) >= 5:
        found["foresight"] = foresight(curve.points)
    return found


def _costs(config: Config, forecasts: Mapping[str, CurveForecast]) -> dict[str, CostComparison]:
    if not config.costs:
        return {}
    if len(config.costs) != len(forecasts) or len(forecasts) < 2:
        raise InputError(
            f"{len(config.costs)} costs for {len(forecasts)} curves",
            where="costs",
            remedy="give one per curve, 2 or more",
        )
    names = list(forecasts)
    return {
        f"{names[0]} or {other}": compare_costs(
            forecasts[names[0]], forecasts[other], config.target, cost_each=(config.costs[0], config.costs[place])
        )
        for place, other in enumerate(names[1:], start=1)
    }


def _cost_notes(costs: Mapping[str, CostComparison]) -> list[str]:
    return [
        f"cost, {pair}: {found.first.text(0)} or {found.second.text(0)}; "
        f"chance that the second is cheaper: {found.second_cheaper.value:.2f}"
        for pair, found in costs.items()
    ]


def _grid(curve: CurveForecast) -> np.ndarray:
    """Sizes from the last one measured to the horizon: before it the points speak for themselves."""
    return np.unique(np.geomspace(curve.points.size[-1], HORIZON * curve.points.size[-1], 25).round())


def _write_curves(forecasts: Mapping[str, CurveForecast], path: Path) -> None:
    lines = ["curve,kind,n,auroc,low,high"]
    for name, curve in forecasts.items():
        for n, score, error in zip(curve.points.size, curve.points.score, curve.points.error, strict=True):
            lines.append(f"{name},measured,{n:g},{score:.4f},{score - 1.96 * error:.4f},{score + 1.96 * error:.4f}")
        grid = _grid(curve)
        for n, item in zip(grid, curve.at(grid), strict=True):
            lines.append(f"{name},forecast,{n:g},{item.value:.4f},{item.low:.4f},{item.high:.4f}")
    with runs.atomic(path) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _draw(forecasts: Mapping[str, CurveForecast], target: float, path: Path) -> None:
    from radfoundry.stats import plots

    drawn = plots.plot_learning_curve(
        [_picture(name, curve) for name, curve in forecasts.items()], quantity="AUROC", target=target
    )
    plots.figure_of(drawn).savefig(path, dpi=130)


def _picture(name: str, curve: CurveForecast) -> dict[str, Any]:
    score, error, grid = curve.points.score, 1.96 * curve.points.error, _grid(curve)
    ahead = curve.at(grid)
    bands = {key: [getattr(item, key) for item in ahead] for key in ("value", "low", "high")}
    ends = {"low": np.maximum(score - error, 0), "high": np.minimum(score + error, 1)}
    return {"name": name, "n": curve.points.size, "value": score, **ends, "forecast": {"n": grid, **bands}}


def _blocks(
    forecasts: Mapping[str, CurveForecast],
    plans: Mapping[str, LabelPlan],
    metrics: Mapping[str, Estimate],
    config: Config,
) -> list[dict[str, Any]]:
    said = [
        f"{name}: {plan.decision}. Chance of reaching {plan.target:g} within ten times the labels seen: "
        f"{plan.reachable.value:.2f}. Labels needed: {plan.labels.text(0)}."
        for name, plan in plans.items()
    ]
    control = [
        f"The answers were dealt out to other patients on purpose, {config.dealings} times: a negative control. "
        "The chance is the mean over these dealings; the curve shown is that of the first."
    ]
    closing = "Label in rounds and plan again: a number from a short curve is a range, not a promise."
    text = [*said, closing, *(control if config.permute_labels else [])]
    return [
        _text(text),
        {
            "kind": "learning-curve",
            "title": "Learning curve",
            "axis": "AUROC",
            "target": config.target,
            "curves": [_picture(name, curve) for name, curve in forecasts.items()],
        },
        _table(metrics),
    ]


def _plan_readers(config: Config, progress: Progress | None) -> Run:
    """A simulated trial: readers read the cohort's cases alone and with the scores of a head on frozen features."""
    from radfoundry.nets import embedding
    from radfoundry.tasks import heads, probe
    from radfoundry.tasks.trial import plan_trial

    cohort, task, truth = _asked(config)
    table = embedding.embed(cohort, embedding.open_encoder(config.encoders[0]), progress=progress)
    design = probe.design(config.train_on, None, split=None, folds=5, seed=config.seed)
    head = heads.named(config.head, task.kind)
    found = probe.probe(cohort, table, task=task, truth=truth, head=head, design=design)
    metrics = plan_trial(
        found.predictions,
        readers=config.readers,
        reader_auroc=config.reader_auroc,
        trust=config.trust,
        gain=config.gain,
        seed=config.seed,
    )
    with runs.writing("plan", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=cohort.fingerprint, encoder=table.fingerprint)
        writer.metrics.update(metrics)
        writer.notes += ["readers are simulated; the AI's scores and the truth are the cohort's", *found.notes]
        said = [
            f"{config.readers} simulated readers with the AI: AUROC {metrics['auroc-with-ai']} after "
            f"{metrics['auroc-alone']} alone, change {metrics['auroc-change']}.",
            f"Accuracy where the AI was wrong changed by {metrics['accuracy-change-ai-wrong']}.",
        ]
        runs.write_json(writer.folder / "blocks.json", [_text(said), _table(metrics)])
    return writer.finished


def _text(paragraphs: list[str]) -> dict[str, Any]:
    return {"kind": "text", "title": "Summary", "paragraphs": paragraphs}


def _table(metrics: Mapping[str, Estimate]) -> dict[str, Any]:
    columns = [
        {"key": "name", "label": "measure"},
        {"key": "estimate", "label": "value (95 % interval)"},
        {"key": "method", "label": "method"},
    ]
    rows = [{"name": key, "estimate": item.to_dict(), "method": item.method} for key, item in metrics.items()]
    return {"kind": "table", "title": "Numbers", "note": "", "columns": columns, "rows": rows}
