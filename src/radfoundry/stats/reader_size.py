"""How many readers and cases a reader study needs, by simulating the study and its analysis many times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import fdtri, ncfdtr, ndtr

from radfoundry.records import Estimate, InputError
from radfoundry.stats.inputs import Seed, at_least, generator, interval_level
from radfoundry.stats.mrmc import ReaderComparison, obuchowski_rockette
from radfoundry.stats.proportions import proportion
from radfoundry.stats.reader_model import ReaderDesign, ReaderModel, simulate_study
from radfoundry.stats.readers import ReaderStudy
from radfoundry.stats.readers_two_way import binary_readers, right_readings


@dataclass(frozen=True)
class ReaderStudyPlan:
    """The power of every design tried, and the one with the fewest readings that is powerful enough (or None).

    A design counts as powerful enough when the lower limit of its simulated power reaches the aim, so that a lucky
    simulation does not shrink a study.
    """

    designs: tuple[tuple[ReaderDesign, Estimate], ...]
    smallest: ReaderDesign | None
    aim: float
    gain: float


def reader_study_power(
    model: ReaderModel,
    design: ReaderDesign,
    gain: float,
    *,
    alpha: float = 0.05,
    simulations: int = 500,
    rng: Seed = 0,
) -> Estimate:
    """The chance that a study of this size finds a true gain (two-sided), with the simulation's own uncertainty.

    With gain 0 it is the chance of a false finding. AUROC is analysed by Obuchowski-Rockette with DeLong
    covariances, accuracy by reader x case variances, both with readers and cases random.

    >>> print(reader_study_power(ReaderModel(), ReaderDesign(4, 20, 20), 0.05, simulations=20).n)
    20
    """
    interval_level(1 - alpha)
    source = generator(rng)
    found = 0
    for _ in range(at_least(simulations, 1, "simulations")):
        # The simulated second arm is the better one; differences are first minus second.
        test = study_test(simulate_study(model, design, gain=gain, rng=source), model.figure)
        right_side = gain == 0 or test.value * gain < 0
        found += test.p_value is not None and test.p_value < alpha and right_side
    title = f"{simulations} simulated studies of {design.readers} readers x {design.cases} cases in two arms"
    note = f"share with p < {alpha:g} for a gain of {gain:g} in {model.figure}"
    return replace(proportion(found, simulations, name="power"), method=title, note=note)


def study_test(study: ReaderStudy, figure: str) -> Estimate:
    """The difference between the two arms of a simulated study, by the analysis this package recommends for it."""
    if figure == "accuracy":
        return binary_readers(study).differences[0].estimate
    return obuchowski_rockette(study, covariance="delong").differences[0].estimate


def false_findings(
    model: ReaderModel, design: ReaderDesign, *, alpha: float = 0.05, simulations: int = 500, rng: Seed = 0
) -> dict[str, Estimate]:
    """How often two tests call a difference in accuracy that is not there: the two-way one, and the pooled McNemar.

    The pooled test takes every reading for a case of its own. It is computed here to show why not to use it.

    Args:
        model: with figure "accuracy".
        design: the study.
        alpha: two-sided error rate that both tests promise.
        simulations: simulated studies without a true difference.
        rng: seed or generator.
    """
    if model.figure != "accuracy":
        raise InputError(f"figure {model.figure!r}", remedy="give a ReaderModel with figure='accuracy'")
    source, found = generator(rng), {"two-way": 0, "pooled": 0}
    for _ in range(at_least(simulations, 1, "simulations")):
        study = simulate_study(model, design, rng=source)
        test = study_test(study, "accuracy")
        found["two-way"] += test.p_value is not None and test.p_value < alpha
        right, _ = right_readings(study, "accuracy")
        up, down = (int((right[0] - right[1] == side).sum()) for side in (1, -1))
        found["pooled"] += 2 * float(ndtr(-abs(up - down) / math.sqrt(max(up + down, 1)))) < alpha
    title = f"{simulations} simulated studies without a difference"
    note = f"share with p < {alpha:g}"
    return {
        name: replace(proportion(count, simulations, name=name), method=title, note=note)
        for name, count in found.items()
    }


def reader_study_size(
    model: ReaderModel,
    gain: float,
    designs: Sequence[ReaderDesign],
    *,
    power: float = 0.8,
    simulations: int = 500,
    rng: Seed = 0,
) -> ReaderStudyPlan:
    """Try several designs by simulation and name the one with the fewest readings that reaches the wanted power.

    Args:
        model: where the variation comes from; take it from a pilot or from `STRUCTURES`.
        gain: the smallest difference worth finding.
        designs: numbers of readers and cases that can be had.
        power: the wanted chance of finding the gain.
        simulations: simulated studies per design.
        rng: seed or generator.
    """
    interval_level(power)
    if not designs:
        raise InputError("no designs to try", remedy="give at least one ReaderDesign")
    source = generator(rng)
    tried = tuple(
        (item, reader_study_power(model, item, gain, simulations=simulations, rng=source)) for item in designs
    )
    enough = [item for item, chance in tried if chance.low >= power]
    smallest = min(enough, key=lambda item: item.readers * item.cases, default=None)
    return ReaderStudyPlan(tried, smallest, power, gain)


def power_from_pilot(
    pilot: ReaderComparison, gain: float, *, readers: int, cases: int, alpha: float = 0.05
) -> Estimate:
    """The power of a larger study of the same kind, projected from a pilot's variance components by formula.

    Args:
        pilot: a two-arm comparison with readers and cases random; its `averages[0].n` is its number of cases.
        gain: the smallest difference worth finding.
        readers, cases: of the planned study, the mix of diseased and healthy as in the pilot.
        alpha: two-sided error rate.

    A pilot's components are themselves uncertain, and no interval is given for that: plan for less power than
    wanted, or simulate with a range of models. Source: Hillis & Berbaum, Acad Radiol 2004;11:1260.
    """
    at_least(readers, 2, "readers")
    at_least(cases, 2, "cases")
    pilot_cases, parts = pilot.averages[0].n, pilot.components
    if len(pilot.arms) != 2 or pilot_cases < 2 or math.isnan(parts.ms_arm_reader):
        raise InputError("the pilot is not a two-arm study of several readers", remedy="see obuchowski_rockette")
    shrink = pilot_cases / cases
    shared = max(parts.covariance2 - parts.covariance3, 0.0)
    own = max(parts.variance_arm_reader, 0.0) + shrink * (parts.variance - parts.covariance1 - shared)
    error = own + shrink * readers * shared
    title = f"projected from a pilot of {pilot.figures.shape[1]} readers and {pilot_cases} cases"
    note = "a formula, without the pilot's own uncertainty"
    if not own > 0:
        return Estimate.undefined("the pilot shows no variation between readers", n=cases, method=title)
    df2 = (readers - 1) * (error / own) ** 2
    critical = float(fdtri(1.0, df2, 1 - alpha))
    chance = 1 - float(np.asarray(ncfdtr(1.0, df2, readers * gain**2 / (2 * error), critical)))
    return Estimate(chance, method=title, n=cases, note=note)
