"""A predictor: a folder with a fitted model, what it answers, on whom it was fitted, and which images it accepts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.config import Component
from radfoundry.data.masks import is_mask
from radfoundry.nets import checkpoint, embedding
from radfoundry.records import Cohort, EncoderSpec, Estimate, InputError, Predictions, Task, counted
from radfoundry.tasks import accepts as limits
from radfoundry.tasks import finish as finishing
from radfoundry.tasks import fitted_files, priors, visits
from radfoundry.tasks.examples import Examples, Fitted, by_case
from radfoundry.tasks.views import Views

FORMAT = 1
RECORD = "predictor.json"
CARD = "card.md"
FOLDER = "predictor"
ENCODER = "encoder.safetensors"
FITTED = "fitted.safetensors"
REMEDY = "give a folder written by radfoundry adapt"


@dataclass(frozen=True, eq=False)
class Predictor:
    """A fitted model with all it needs to answer about new scans.

    `about` is the record as it is written: intended use, training cohort, metrics, versions; `prior` is the region it
    looks inside, if any.
    """

    task: Task
    classes: tuple[str, ...]
    encoder: Any
    fitted: Fitted
    finish: finishing.Finish
    accepts: limits.Accepts
    about: Mapping[str, Any]
    prior: priors.Prior | None = None

    @property
    def spec(self) -> EncoderSpec:
        """What the encoder expects of an image."""
        return self.encoder.spec


@dataclass(frozen=True, eq=False)
class Said:
    """Answers about new cases: raw scores (target is a dummy), finished answers, and what was refused and why.

    `series` counts the images behind each case's answer; `refused` lists (series key, case key, reason); `missing`
    says of each case which kinds of image it lacks, where the model reads several (else it is empty); `features` are
    the mean features of each case's images.
    """

    predictions: Predictions
    answers: finishing.Answers
    series: tuple[int, ...]
    refused: tuple[tuple[str, str, str], ...]
    missing: tuple[str, ...] = ()
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))


def write(predictor: Predictor, folder: Path, *, component: Component, pack: bool = True) -> None:
    """Write a predictor into a folder; with `pack` an encoder that came from a file is copied into it."""
    folder.mkdir(parents=True)
    from_file = component.name.endswith(".safetensors")
    if from_file and pack:
        shutil.copyfile(component.name, folder / ENCODER)
    fitted_files.write(predictor.fitted, folder / FITTED, probe=_probe(predictor.encoder))
    record = {
        "format": FORMAT,
        "task": {name: getattr(predictor.task, name) for name in ("name", "target", "kind", "unit", "about")},
        "classes": list(predictor.classes),
        "encoder": {
            "name": ENCODER if from_file and pack else component.name,
            "options": component.options,
            "packed": from_file and pack,
            "called": predictor.spec.name,
            "spec": asdict(predictor.spec),
        },
        "finish": predictor.finish.to_dict(),
        "accepts": predictor.accepts.to_dict(),
        "prior": None if predictor.prior is None else predictor.prior.to_dict(),
        **predictor.about,
    }
    seal(record, folder)


def seal(record: dict[str, Any], folder: Path) -> None:
    """Write the card and the record of a predictor, with the digests of all its files."""
    (folder / CARD).write_text(card(record), encoding="utf-8")
    record["files"] = {path.name: runs.digest_file(path) for path in sorted(folder.iterdir())}
    runs.write_json(folder / RECORD, record)


def reseal(folder: Path) -> None:
    """Seal a predictor again after a file was added to it."""
    record = read_record(folder)
    for name in (RECORD, CARD):
        (folder / name).unlink()
    seal({key: value for key, value in record.items() if key != "files"}, folder)


def opened(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """A predictor's own folder and its record; refuses files that are missing or were changed."""
    folder = folder_of(path)
    record = read_record(folder)
    runs.check_files(folder, record["files"], remedy=REMEDY)
    return folder, record


def read(path: str | Path) -> Predictor:
    """The predictor in a folder, or in the run folder of `radfoundry adapt`.

    Refuses folders without one, files that were changed or exchanged, and an encoder that does not give the features
    the head was fitted on.
    """
    folder, record = opened(path)
    about = record["encoder"]
    name = str(folder / ENCODER) if about["packed"] else about["name"]
    encoder = embedding.open_encoder(Component(name=name, **about["options"]))
    if hasattr(encoder, "eval"):
        encoder.eval()
    fitted, probe = fitted_files.read(folder / FITTED, encoder=encoder)
    if not _same(encoder, about["spec"], probe):
        raise InputError(
            f"encoder {about['called']} does not give the features the head was fitted on",
            where=str(folder),
            remedy="use the encoder file it was fitted with",
            finding="encoder",
        )
    task = Task(**{key: value for key, value in record["task"].items() if key != "metrics"})
    classes = tuple(record["classes"])
    finish = finishing.Finish.from_dict(record["finish"])
    accepted = limits.Accepts.from_dict(record["accepts"])
    prior = None if record.get("prior") is None else priors.restored(record["prior"])
    return Predictor(task, classes, encoder, fitted, finish, accepted, record, prior)


def folder_of(path: str | Path) -> Path:
    """The predictor's own folder, given it or the run folder around it."""
    inner = Path(path) / FOLDER
    return inner if (inner / RECORD).is_file() else Path(path)


def kind_of(path: str | Path) -> str:
    """The kind of question that a predictor answers, for example `binary`."""
    return str(read_record(folder_of(path))["task"]["kind"])


def read_record(folder: str | Path) -> dict[str, Any]:
    """The record of a predictor as plain values."""
    place = Path(folder) / RECORD
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
        known = record["format"]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("no predictor here", where=str(folder), remedy=REMEDY, finding="not-a-predictor") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError("its record is damaged", where=str(place), remedy=REMEDY, finding="damaged") from None
    if known != FORMAT:
        raise InputError(f"predictor format {known} is not {FORMAT}", where=str(place), remedy="fit it again")
    return record


def predict(
    predictor: Predictor, cohort: Cohort, *, where: str = "", progress: embedding.Progress | None = None
) -> Said:
    """Answer about every case of a cohort that has an acceptable series; the others are refused with the reason.

    Refuses a cohort in which nothing is acceptable.
    """
    kept, refused = acceptable(predictor, cohort)
    if not kept.series:
        reasons = sorted({reason for _, _, reason in refused})
        raise InputError(
            f"none of {len(cohort.series)} series can be answered about: {'; '.join(reasons[:3]) or 'no series'}",
            where=where or cohort.path or "scans",
            remedy="give images like those the predictor was fitted on (see its card.md)",
            finding="outside",
        )
    if predictor.prior is not None:
        table = priors.embed_inside(kept, predictor.encoder, predictor.prior, sources=cohort, progress=progress)
        case_of = {series.key: series.case for series in cohort.series}
        mask = {series.key for series in cohort.series if is_mask(series)}
        refused = [item for item in refused if item[0] not in mask]
        refused += [(key, case_of[key], reason) for key, reason in table.refused]
    else:
        table = embedding.embed(kept, predictor.encoder, progress=progress)
    if predictor.task.unit in visits.PAIRED:
        table = visits.paired(kept, table)
        case_of = {series.key: series.case for series in kept.series}
        refused += [(key, case_of[key], reason) for key, reason in table.refused]
    series = table.series
    rows = Examples(
        features=table.vectors.astype(float),
        answer=np.zeros(len(series)),
        case=np.array([item.case for item in series]),
        patient=np.array([item.patient for item in series]),
        site=np.array([item.site or "unknown" for item in series]),
        row=np.arange(len(series)),
        series=np.array([item.key for item in series]),
        views=Views(series, predictor.encoder, kept.path, cases={case.key: case for case in kept.cases}),
    )
    predictions = by_case([(rows, predictor.fitted.predict(rows))])
    counts = tuple(int((rows.case == case).sum()) for case in predictions.case)
    answers = finishing.finish(predictions.score, predictor.finish)
    features = by_case([(rows, rows.features)]).score
    return Said(predictions, answers, counts, tuple(refused), _missing(predictor.fitted, rows), features)


def _missing(fitted: Any, rows: Examples) -> tuple[str, ...]:
    """What each case lacks, in order of the case's name, of a model that reads several kinds of image."""
    return tuple(fitted.exams(rows).missing()) if hasattr(fitted, "exams") else ()


def acceptable(predictor: Predictor, cohort: Cohort) -> tuple[Cohort, list[tuple[str, str, str]]]:
    """The cohort with its acceptable series alone, and what was refused."""
    cases, refused = [], []
    for case in cohort.cases:
        kept = []
        for series in case.series:
            reason = limits.refusal(series, predictor.accepts, predictor.spec)
            if not reason:
                try:
                    reason = limits.emptiness(series.load())
                except InputError as error:
                    reason = error.what
            if reason:
                refused.append((series.key, case.key, reason))
            else:
                kept.append(series)
        if kept:
            cases.append(replace(case, series=tuple(kept)))
    return replace(cohort, cases=tuple(cases)), refused


def _same(encoder: Any, spec: Mapping[str, Any], probe: np.ndarray) -> bool:
    """Whether an encoder asks for the same images and gives the same features as the one fitted on."""
    if runs.digest(asdict(encoder.spec)) != runs.digest(spec):
        return False
    now = _probe(encoder)
    close = checkpoint.TOLERANCE
    return now.shape == probe.shape and np.allclose(now, probe, atol=close, rtol=close)


def _probe(encoder: Any) -> np.ndarray:
    return checkpoint.embed_probe(encoder).numpy()


def card(record: Mapping[str, Any]) -> str:
    """The record as a page a radiologist can read."""
    task, trained = record["task"], record["trained"]
    accepted = limits.Accepts.from_dict(record["accepts"])
    lines = [
        f"# Predictor: {task['name']}",
        "",
        f"**Question.** {task['about']}",
        "",
        f"**Intended use.** {record['intended_use']}",
        "",
        *([f"**Not for use: {record['control']}.**", ""] if record.get("control") else []),
        f"**Fitted on** {counted(trained['cases'], 'exam')} of {counted(trained['patients'], 'patient')} "
        f"(cohort {trained['cohort']}), {trained['how']}.",
        "",
        "| measure on patients it had not seen | value (95 % interval) | n |",
        "| --- | --- | --- |",
        *(_metric_row(name, value) for name, value in record["metrics"].items()),
        "",
        "**Accepts**",
        "",
        *accepted_lines(accepted),
        "",
        f"**Calibration.** {_calibration(record['finish'])}",
        "",
        "Research software, not a medical device.",
        "",
    ]
    return "\n".join(lines)


def _metric_row(name: str, value: Any) -> str:
    estimate = value if isinstance(value, Estimate) else Estimate.from_dict(value)
    return f"| {name} | {estimate.text(3)} | {estimate.n} |"


def accepted_lines(accepted: limits.Accepts) -> Sequence[str]:
    """What is accepted, one line each."""
    lines = [f"- modality: {', '.join(accepted.modality)}, {accepted.dimensions}D"]
    lines += [f"- {limits.words(name)}: {', '.join(values)}" for name, values in accepted.facts.items()]
    for name, ranges in (("voxel spacing", accepted.spacing_mm), ("extent", accepted.extent_mm)):
        if ranges:
            lines.append(f"- {name}: {_limits(ranges)} mm")
    if accepted.size_pixels:
        lines.append(f"- size: {_limits(accepted.size_pixels)} pixels")
    return lines


def _limits(ranges: limits.Ranges) -> str:
    return " x ".join(f"{low:.3g}-{high:.3g}" for low, high in ranges)


def _calibration(how: Mapping[str, Any]) -> str:
    found = f"Chosen on {how['patients']} held-out training patients." if how["patients"] else ""
    point = how["operating_point"]
    cut = f" Cut-off {point['threshold']:.3g} ({point['rule']})." if point else ""
    note = f" {how['note'].capitalize()}." if how["note"] else ""
    return f"{found}{cut}{note}".strip() or "None."
