"""What a pretraining run is fed: the simulator, a cohort or both, with a tokeniser where reports are read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from radfoundry.data import cohort as cohorts
from radfoundry.nets import aligned, sentences, text
from radfoundry.records import InputError
from radfoundry.text.tokens import Tokeniser
from radfoundry.train import album, cohort_source, reports, sources
from radfoundry.train.kept import Kept
from radfoundry.train.processes import Place
from radfoundry.train.sources import Simulated, Source


@dataclass(frozen=True, eq=False)
class Data:
    """What a run learns from: the source of its batches, its simulator, its cohort if any, and who reads reports.

    begun: the text side that the run goes on from, if it does · findings: what the batches' findings are called.
    """

    source: Source
    simulated: Simulated
    shelf: cohort_source.Shelf | None = None
    tokeniser: Tokeniser | None = None
    begun: aligned.TextSide | None = None
    findings: tuple[str, ...] = reports.FINDINGS


def data_of(config: Any, plan: Any, spec: Any, place: Place) -> Data:
    """The simulator, the cohort, or both mixed, with this process's share of every batch; config: of the stage."""
    share, left = divmod(config.batch, place.world * config.accumulate)
    if left or share < 1:
        raise InputError(
            f"{config.batch} patients cannot be shared by {place.world} processes in {config.accumulate} parts",
            where="batch",
            remedy=f"set batch to a multiple of {place.world * config.accumulate}",
        )
    device = place.device if config.workers == 0 else "cpu"
    simulated = Simulated(plan, share, config.seed, spec.intensity, place, device, shift=config.crops.shift)
    begun, known = text_side(config) or (None, None)
    if spec.dimensions == 2:
        return _of_pictures(config, simulated, spec, Data(simulated, simulated, tokeniser=known, begun=begun))
    if config.cohort is not None:
        return _with_cohort(config, simulated, spec, Data(simulated, simulated, tokeniser=known, begun=begun))
    if config.reports:
        made = known or _pieces(config) or reports.learned_tokeniser(plan, seed=config.seed, size=config.text.tokens)
        simulated = _reading(simulated, made, config, begun)
    source: Source = simulated if config.crops.patients is None else Kept(simulated, config.crops.patients)
    return Data(source, simulated, tokeniser=simulated.tokeniser, begun=begun)


def _reading(simulated: Simulated, tokeniser: Tokeniser, config: Any, begun: aligned.TextSide | None) -> Simulated:
    """The simulator with reports, as long as who reads them can take."""
    length = config.text.length if begun is None else begun.sizes.length
    return dataclasses.replace(simulated, tokeniser=tokeniser, report_length=length, shuffled=config.shuffle_reports)


def _learned_from(config: Any) -> Any:
    """The cohort, or the part of it that may teach; where reports are read, its exams that have one."""
    cohort = cohorts.open_cohort(str(config.cohort))
    cohort = cohort if config.split is None else cohort.part(config.split, "train")
    return cohort_source.reported(cohort) if config.reports else cohort


def _of_pictures(config: Any, simulated: Simulated, spec: Any, known: Data) -> Data:
    """Whole pictures of a cohort; nothing is simulated on the way, and no simulated patient can be asked."""
    album.refuse_unfit(config.objectives)
    if config.cohort is None or config.simulated:
        raise InputError(
            "pictures are not simulated on the way", where="pretrain", remedy="set cohort=FOLDER and simulated=0"
        )
    if config.check_steps or config.gains:
        raise InputError(
            "live checks and gains ask simulated volumes, which an encoder of pictures does not read",
            where="pretrain",
            remedy="set check_steps=0 and gains=0",
        )
    idle = [name for name in ("spacing_mm", "protocols", "patients") if getattr(config.crops, name) is not None]
    if idle:
        raise InputError("has no effect on pictures", where=f"crops.{idle[0]}", remedy="leave it out")
    cohort = _learned_from(config)
    tokeniser = None
    length = config.text.length if known.begun is None else known.begun.sizes.length
    if config.reports:
        tokeniser = known.tokeniser or _pieces(config) or cohort_source.reports_tokeniser(cohort)
    made = album.gathered(cohort, spec, tokeniser=tokeniser, report_length=length)
    if config.shuffle_reports:
        made = album.shuffled(made, seed=config.seed)
    views, shift = simulated.plan.views, config.crops.shift
    source = album.FromAlbum(made, simulated.size, views, shift, config.seed, simulated.place)
    return Data(source, simulated, None, tokeniser, known.begun, made.names)


def _with_cohort(config: Any, simulated: Simulated, spec: Any, known: Data) -> Data:
    cohort = _learned_from(config)
    tokeniser = None
    length = config.text.length if known.begun is None else known.begun.sizes.length
    if config.reports:
        tokeniser = known.tokeniser or _pieces(config) or cohort_source.reports_tokeniser(cohort)
        simulated = _reading(simulated, tokeniser, config, known.begun)
    plan = simulated.plan
    shelf = cohort_source.shelve(
        cohort, spec, crop=plan.size, protocols=plan.protocols, tokeniser=tokeniser, report_length=length
    )
    if config.shuffle_reports:
        shelf = cohort_source.shuffled(shelf, seed=config.seed)
    real = cohort_source.FromCohort(shelf, simulated.size, plan.views, config.seed, simulated.place)
    source = real if config.simulated == 0 else cohort_source.Mixed(simulated, real, config.simulated, config.seed)
    return Data(source, simulated, shelf, tokeniser, known.begun)


def _pieces(config: Any) -> Any:
    """The pieces of words of a sentence encoder taught elsewhere; None where our own encoder is to learn."""
    return None if config.text.encoder == aligned.OWN else sentences.WordPieces(config.text.encoder)


def text_side(config: Any) -> tuple[aligned.TextSide, Tokeniser] | None:
    """The text side that lies beside the checkpoint a run goes on from, if there is one and reports are read."""
    name = config.encoder.name
    there = config.reports and name.endswith(".safetensors") and aligned.beside(name).is_file()
    return aligned.load(aligned.beside(name)) if there else None


def facts_of(data: Data, text_width: int) -> dict[str, int]:
    """How many tokens, findings and measures of quality the batches carry, and how long a report's vector is."""
    facts = {"quality": len(sources.QUALITY)}
    if data.tokeniser is not None:
        width = text_width if data.begun is None else data.begun.sizes.text_width
        facts |= {"vocabulary": data.tokeniser.size, "text_width": width, "findings": len(data.findings)}
    return facts


def reader_of(config: Any, data: Data) -> Any:
    """A fresh text encoder of the size asked for; None where there is nothing to read."""
    if data.tokeniser is None:
        return None
    size = config.text
    if data.begun is None and size.encoder != aligned.OWN:
        return sentences.Sentences(size.encoder)
    return text.small(
        vocabulary=data.tokeniser.size, width=size.width, depth=size.depth, length=size.length, seed=config.seed
    )
