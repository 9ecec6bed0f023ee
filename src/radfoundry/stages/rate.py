"""`radfoundry rate`: teach a small network to score image quality as people do, from few scored scans."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from radfoundry import registry, runs
from radfoundry.config import Settings
from radfoundry.records import Estimate, InputError, Predictions, Run, counted

if TYPE_CHECKING:
    from radfoundry.nets.rater import Rater
    from radfoundry.train.scored import Scored

Progress = Callable[[str, int, int], None]
PHYSICS, SCRATCH, SHUFFLED, UNIFORM, MUTE = "physics", "scratch", "shuffled-prompt", "uniform-slices", "no-prompt"
VARIANTS = (SCRATCH, SHUFFLED, UNIFORM, MUTE)
RATER = "rater.safetensors"


class Physics(Settings):
    """The first stage: what bad settings and moving patients do to images, learned from simulated heads alone."""

    patients: int = Field(default=4, ge=1, description="simulated patients, each in four sequences")
    series: int = Field(default=200, ge=16, description="scans spoiled by known amounts")
    steps: int = Field(default=200, ge=1, description="optimiser steps")


class Config(Settings):
    """Whose scores to learn from, and what to compare with."""

    cohort: str = Field(description="cohort folder made by radfoundry ingest, labelled with scores from 0 to 100")
    targets: list[str] = Field(
        default=["reading", "measuring"],
        min_length=1,
        description="labels with scores, one for every purpose: TARGET of a series, or TARGET_SEQUENCE of its case",
    )
    start: str = Field(default=PHYSICS, description="physics, scratch, or a rater.safetensors to go on from")
    beside: list[str] = Field(default=[SCRATCH], description=f"what to compare with: {', '.join(VARIANTS)}")
    physics: Physics = Field(default=Physics(), description="the first stage, from simulation")
    scored: int = Field(default=40, ge=8, description="scans whose scores teach in every teaching")
    test_share: float = Field(default=0.5, gt=0, lt=1, description="share of patients that only test")
    teachings: int = Field(default=3, ge=1, description="how often other scored scans are drawn")
    steps: int = Field(default=80, ge=1, description="optimiser steps on scores")
    permute_labels: bool = Field(default=False, description="deal the scores out to other scans (negative control)")
    seed: int = Field(default=0, ge=0, description="seed of weights, simulation, patients and draws")
    to: str | None = Field(default=None, description="run folder to write")


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Learn physics from simulation, then scores from few scans; test on patients nobody learned from.

    Metrics are `START/srcc` and paired differences `START-minus-OTHER/srcc` over teachings with other scored scans,
    and `all-scans/…` of the rater that is kept. Writes `rater.safetensors`, taught by all scored scans but those of
    the test patients, with the half width that held 95 % of the test scans.
    """
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import rater as nets
    from radfoundry.tasks import rating as measures
    from radfoundry.train import scored as given

    _check(config)
    cohort = cohorts.open_cohort(config.cohort)
    scores = given.read_scores(cohort, config.targets, progress=progress)
    scores = given.permuted(scores, seed=config.seed) if config.permute_labels else scores
    plan = Plan(config, scores, *_parts(scores, config), _start(config, progress))
    found = _teachings(plan, progress)
    final, answers = taught(plan, plan.start, np.flatnonzero(plan.teaching), turn=config.teachings)
    whole = measures.measure(answers, seed=config.seed)
    metrics = {**_metrics(found, config), **{f"all-scans/{name}": value for name, value in whole.items()}}
    half_widths = _half_widths(scores.purpose[plan.test], answers)
    count = len(np.unique(scores.series[plan.teaching]))
    about = f"scores for {' and '.join(config.targets)} of {count} scans, started from {config.start}"
    with runs.writing("rate", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        writer.metrics.update(metrics)
        nets.save(nets.TrainedRater(final, half_widths, about), writer.folder / RATER)
        _write_answers(scores.purpose[plan.test], answers, writer.folder / "scores.csv")
        runs.write_json(writer.folder / "blocks.json", _blocks(plan, metrics, half_widths))
    return writer.finished


@dataclass(frozen=True, eq=False)
class Plan:
    """What every teaching shares: settings, scores, rows of the test, which rows may teach, the pretrained rater."""

    config: Config
    scores: Scored
    test: np.ndarray
    teaching: np.ndarray
    pretrained: Rater | None

    @property
    def start(self) -> str:
        """The name of the first way of teaching."""
        return self.config.start if self.config.start in (PHYSICS, SCRATCH) else "given"


def _check(config: Config) -> None:
    unknown = [name for name in config.beside if name not in VARIANTS]
    if unknown:
        raise registry.unknown("comparison", unknown[0], VARIANTS, where="beside")


def _parts(scores: Scored, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the test, and which rows may teach; no patient is in both."""
    patients = np.unique(scores.patient)
    count = round(len(patients) * config.test_share)
    if count < 4 or len(patients) - count < 4:
        raise InputError(
            f"{counted(len(patients), 'patient')} with scores: too few to test on some of them", where="rate"
        )
    testing = np.isin(scores.patient, np.random.default_rng(config.seed).permutation(patients)[:count])
    return np.flatnonzero(testing), ~testing


def _start(config: Config, progress: Progress | None) -> Rater | None:
    """The rater to go on from, or None for a fresh one; physics is learned once and kept beside the cohort."""
    from radfoundry.nets import rater as nets
    from radfoundry.train import rating

    if config.start == SCRATCH:
        return None
    if config.start != PHYSICS:
        return nets.load(config.start).net
    asked = {**config.physics.model_dump(), "seed": config.seed}
    kept = Path(config.cohort) / ".rater" / f"physics-{runs.digest(asked)[:12]}.safetensors"
    if not kept.exists():
        learned = rating.learn_physics(**asked, progress=progress)
        nets.save(nets.TrainedRater(learned, {}, "the physics of simulated scans; no scores yet"), kept)
    return nets.load(kept).net


def _teachings(plan: Plan, progress: Progress | None) -> dict[str, list[Predictions]]:
    """What raters taught in every way say of the test scans, for every draw of scored scans."""
    from radfoundry.train.scored import permuted

    config, scores = plan.config, plan.scores
    found: dict[str, list[Predictions]] = {name: [] for name in (plan.start, *config.beside)}
    for turn in range(config.teachings):
        rng = np.random.default_rng(np.random.SeedSequence([config.seed, turn, 5]))
        chosen = rng.permutation(np.unique(scores.series[plan.teaching]))[: config.scored]
        rows = np.flatnonzero(np.isin(scores.series, chosen))
        # A control deals anew for every teaching: one chance dealing would be taken for an answer.
        dealt = permuted(scores, seed=config.seed + turn) if config.permute_labels else scores
        for name in found:
            found[name].append(taught(replace(plan, scores=dealt), name, rows, turn=turn)[1])
        if progress is not None:
            progress("teachings", turn + 1, config.teachings)
    return found


def taught(plan: Plan, name: str, rows: np.ndarray, *, turn: int) -> tuple[Rater, Predictions]:
    """One rater taught one way by the scores in `rows`, and what it says of the test rows."""
    from radfoundry.train import rating, scored

    config, scores = plan.config, plan.scores
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, turn, 9]))
    learned, asked = (scored.prompted(scores.lesson.take(part), name, rng=rng) for part in (rows, plan.test))
    rater = rating.teach(
        None if name == SCRATCH else plan.pretrained,
        learned,
        purposes=config.targets,
        steps=config.steps,
        seed=config.seed + turn,
        salient=name != UNIFORM,
    )
    said = rating.said_of(rater, asked)[0]
    truth = np.asarray(scores.lesson.scores)[plan.test]
    return rater, Predictions(scores.names[plan.test], scores.patient[plan.test], truth, said)


def _metrics(found: Mapping[str, list[Predictions]], config: Config) -> dict[str, Estimate]:
    from radfoundry.tasks import rating as measures

    first = next(iter(found))
    metrics = {f"{name}/srcc": measures.mean_srcc(part, seed=config.seed) for name, part in found.items()}
    for name in config.beside:
        metrics[f"{first}-minus-{name}/srcc"] = measures.srcc_difference(found[first], found[name], seed=config.seed)
    return metrics


def _half_widths(purpose: np.ndarray, answers: Predictions) -> dict[str, float]:
    """For every purpose how far 95 % of the scores of test scans lay at most (split conformal, Vovk et al. 2005)."""
    missed = np.abs(answers.score - answers.target)
    widths = {}
    for name in np.unique(purpose):
        own = np.sort(missed[purpose == name])
        widths[str(name)] = round(float(own[min(len(own) - 1, int(np.ceil(0.95 * (len(own) + 1))) - 1)]), 2)
    return widths


def _write_answers(purpose: np.ndarray, answers: Predictions, path: Path) -> None:
    with runs.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("series", "patient", "purpose", "given", "said"))
        rows = zip(answers.case, answers.patient, purpose, answers.target, answers.score, strict=True)
        writer.writerows((str(case).split(" ")[0], *rest, round(float(said), 2)) for case, *rest, said in rows)


def _blocks(plan: Plan, metrics: Mapping[str, Estimate], half_widths: Mapping[str, float]) -> list[dict[str, Any]]:
    from radfoundry.tasks import pages

    config = plan.config
    series, patients = len(np.unique(plan.scores.series)), len(np.unique(plan.scores.patient))
    said = (
        f"{len(plan.scores.names)} scores ({', '.join(config.targets)}) of {series} series of {patients} patients. "
        f"{config.teachings} times {config.scored} scans of some patients taught a rater, tested on the others: "
        f"Spearman correlation with the given scores {metrics[f'{plan.start}/srcc']}."
    )
    closing = (
        "The scores were dealt out to other scans on purpose: this is a negative control."
        if config.permute_labels
        else "The rater knows the taste of those who scored, not what is good for a patient. 95 % of test scans lay "
        + ", ".join(f"within {value:.0f} points for {name}" for name, value in half_widths.items())
        + "."
    )
    return [
        {"kind": "text", "title": "Summary", "paragraphs": [said, closing]},
        pages.numbers("Agreement with the given scores", metrics, note="SRCC: Spearman, PLCC: Pearson correlation."),
    ]
