"""From a cohort to a table of features: prepare each series as the encoder asks, encode it, remember the answer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.data import pool, prepare
from radfoundry.records import Cohort, EncoderSpec, InputError, Series

if TYPE_CHECKING:
    import pandas as pd

    from radfoundry.config import Component

PART_ROWS = 64
FLAT = "a 2D image, and the encoder reads volumes"
DEEP = "a volume, and the encoder reads 2D images"
WRITTEN = "encoder.safetensors"  # what pretraining and full tuning leave in their run folder
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One feature vector per series, with the keys that say whose it is; `refused` lists series left out and why."""

    series: tuple[Series, ...]
    vectors: np.ndarray
    encoder: str
    fingerprint: str
    plan: str
    refused: tuple[tuple[str, str], ...] = ()

    def frame(self) -> pd.DataFrame:
        """The table as it is written to a run folder: keys, header facts, then f0 … fN."""
        import pandas as pd

        keys = pd.DataFrame(
            {
                "series": [series.key for series in self.series],
                "case": [series.case for series in self.series],
                "patient": [series.patient for series in self.series],
                "site": [series.site for series in self.series],
                "sequence": [series.sequence for series in self.series],
                "encoder": self.encoder,
            }
        )
        features = pd.DataFrame(self.vectors, columns=[f"f{index}" for index in range(self.vectors.shape[1])])
        return pd.concat([keys, features], axis=1)


def settled(component: Component) -> Component:
    """A setting that names an encoder; a run folder that wrote one stands for its file."""
    inside = Path(component.name) / WRITTEN
    return component.model_copy(update={"name": str(inside)}) if inside.is_file() else component


def open_encoder(component: Component) -> Any:
    """The encoder a setting names: a registry name with options, the path of a checkpoint, or a run that wrote one."""
    component = settled(component)
    if component.name.endswith(".safetensors"):
        from radfoundry.nets import checkpoint

        return checkpoint.load(component.name)
    return registry.build("encoders", component.name, **component.options)


def plan_for(spec: EncoderSpec) -> prepare.Plan:
    """How a series has to be prepared for an encoder.

    Of the spec's options, `intensity` are those of the intensity rule, and `fit` says how a picture of any size
    comes to the spec's shape (then the prepared copy keeps its own size).
    """
    return prepare.Plan(
        orientation=spec.orientation,
        spacing_mm=spec.spacing_mm,
        shape=None if "fit" in spec.options else spec.shape,
        intensity=spec.intensity,
        options=dict(spec.options.get("intensity", {})),
    )


def embed(
    cohort: Cohort,
    encoder: Any,
    *,
    batch: int = 1,
    spread: Spread | None = None,
    progress: Progress | None = None,
) -> Embeddings:
    """Features of every series of a cohort, computed once and kept inside the cohort for the next time.

    What was finished before an interruption is not computed again; with `batch=1` the numbers do not even
    depend on where it was interrupted. A series that the encoder's spec does not cover (another modality,
    or no pixels of the right kind) is left out and listed in `refused`. With `spread` series are encoded one by
    one in other processes; the numbers are those of `batch=1`.
    """
    from radfoundry.nets import checkpoint

    plan = plan_for(encoder.spec)
    mark = checkpoint.fingerprint(encoder)
    cache = _Cache(cohort.path, f"{encoder.spec.name}-{runs.digest([mark, plan.fingerprint])}")
    series, refused = _fitting(cohort, encoder.spec)
    reads_header = getattr(encoder, "acquisition", None) is not None
    known = cache.read()
    missing = [item for item in series if _key(item, reads_header) not in known]
    done = len(series) - len(missing)
    here = ((group, _encoded(encoder, group, cohort.path)) for group in _groups(missing, batch))
    for group, vectors in here if spread is None else _elsewhere(missing, spread, cohort.path):
        keys = [_key(item, reads_header) for item in group]
        known.update(zip(keys, vectors, strict=True))
        cache.add(keys, vectors)
        done += len(group)
        if progress:
            progress(f"embed {encoder.spec.name}", done, len(series))
    cache.flush()
    rows = [known[_key(item, reads_header)] for item in series]
    vectors = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
    return Embeddings(tuple(series), vectors, encoder.spec.name, mark, plan.fingerprint, tuple(refused))


def _encoded(encoder: Any, group: Sequence[Series], folder: str | None) -> np.ndarray:
    """Features of a few series, `(n, features)`."""
    import torch

    plan = plan_for(encoder.spec)
    images = np.stack([image_of(item, plan, encoder.spec, folder) for item in group])
    with torch.no_grad():
        header = _header(group) if getattr(encoder, "acquisition", None) is not None else {}
        return encoder.encode(torch.from_numpy(images), **header).pooled.float().cpu().numpy()


@dataclass(frozen=True)
class Spread:
    """Encode in other processes: the encoder by its setting, how many processes, and the engine (`data.pool`)."""

    component: Component
    workers: int = 0
    engine: str = "local"


@dataclass(frozen=True)
class _One:
    """Encodes one series in a process of its own, where the encoder is opened once."""

    component: Component
    folder: str | None

    def __call__(self, series: Series) -> np.ndarray:
        return _encoded(_opened(self.component.model_dump_json()), [series], self.folder)


@functools.cache
def _opened(said: str) -> Any:
    from radfoundry.config import Component

    return open_encoder(Component.model_validate_json(said))


def _elsewhere(
    series: Sequence[Series], spread: Spread, folder: str | None
) -> Iterator[tuple[Sequence[Series], np.ndarray]]:
    task = _One(spread.component, folder)
    for answer in pool.each(task, series, workers=spread.workers, engine=spread.engine):
        if answer.result is None:
            raise answer.error or InputError("gave no features", where=answer.task.key)
        yield [answer.task], answer.result


def _key(series: Series, reads_header: bool) -> str:
    """What decides a series' features: its pixels, and its header where the encoder reads it."""
    if not reads_header:
        return series.content
    return runs.digest([series.content, dataclasses.asdict(series.acquisition)])


def _header(group: Sequence[Series]) -> dict[str, Any]:
    from radfoundry.nets.acquisition import stated

    return {"acquisition": stated([series.acquisition for series in group])}


def _fitting(cohort: Cohort, spec: EncoderSpec) -> tuple[list[Series], list[tuple[str, str]]]:
    fitting, refused = [], []
    for series in cohort.series:
        reason = refusal(series, spec)
        if reason:
            refused.append((series.key, reason))
        else:
            fitting.append(series)
    if not fitting:
        first = f"; first: {refused[0][1]}" if refused else ""
        raise InputError(
            f"no series fits encoder {spec.name} ({len(cohort.series)} looked at{first})",
            where=cohort.path or "cohort",
            remedy=_way_out(refused[0][1] if refused else ""),
            finding="modality",
        )
    return fitting, refused


def _way_out(reason: str) -> str:
    if reason == FLAT:
        return "for pictures take encoder=vit2d-tiny, or encoder.name=intensity encoder.dimensions=2"
    if reason == DEEP:
        return "for volumes take encoder=vit3d-tiny or encoder=intensity"
    return "choose an encoder for this modality (radfoundry list encoders)"


def left_out(refused: Sequence[tuple[str, str]], *, shown: int = 3) -> list[str]:
    """One line for each reason why series were left out, with how many there are and the first of them.

    >>> left_out([("s-1", "a volume"), ("s-2", "a volume"), ("s-3", "empty")], shown=1)
    ['2 left out: a volume (s-1, …)', '1 left out: empty (s-3)']
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in refused:
        by_reason.setdefault(reason, []).append(name)
    return [
        f"{len(names)} left out: {reason} ({', '.join(names[:shown])}{', …' if len(names) > shown else ''})"
        for reason, names in by_reason.items()
    ]


def refusal(series: Series, spec: EncoderSpec) -> str:
    """Why a series is outside an encoder's spec, or nothing when it is inside."""
    modality = series.acquisition.modality
    flat = series.shape[3] == 1
    if modality is not None and modality not in spec.modality:
        return f"modality {modality} is not one of {', '.join(spec.modality)}"
    if spec.dimensions == 3 and flat:
        return FLAT
    if spec.dimensions == 2 and not flat:
        return DEEP
    return ""


def image_of(series: Series, plan: prepare.Plan, spec: EncoderSpec, folder: str | None) -> np.ndarray:
    """(channels, I, J, K) float32; a series over time or b-value is averaged, colours become grey."""
    cache = None if folder is None else Path(folder) / "cache"
    if series.shape[3] == 1 and series.plane in ("coronal", "sagittal"):
        plan = dataclasses.replace(plan, orientation=None)  # turned, a film of another plane would lie on edge
    array = prepare.prepared(series, plan, cache=cache).array.astype(np.float32)
    if len(array) != spec.channels:
        array = np.repeat(array.mean(axis=0, keepdims=True), spec.channels, axis=0)
    if "fit" in spec.options and spec.shape is not None:
        from radfoundry.nets import picture_size

        array = picture_size.to_size(array, spec.shape, spec.options["fit"])
    return array


def _groups(series: Sequence[Series], size: int) -> Iterator[Sequence[Series]]:
    for start in range(0, len(series), size):
        yield series[start : start + size]


@dataclass
class _Cache:
    """Feature vectors by the content of the image they came from, in parts that are each written whole."""

    cohort: str | None
    name: str
    waiting: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)

    @property
    def folder(self) -> Path | None:
        return None if self.cohort is None else Path(self.cohort) / "cache" / "embeddings" / self.name

    def read(self) -> dict[str, np.ndarray]:
        import pandas as pd

        found: dict[str, np.ndarray] = {}
        for part in sorted(self.folder.glob("part-*.parquet")) if self.folder and self.folder.is_dir() else ():
            table = pd.read_parquet(part)
            vectors = table.drop(columns="content").to_numpy(np.float32)
            found.update(zip(table["content"], vectors, strict=True))
        return found

    def add(self, keys: Sequence[str], vectors: np.ndarray) -> None:
        self.waiting += list(zip(keys, vectors, strict=True))
        if len(self.waiting) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        if self.folder is None or not self.waiting:
            return
        import pandas as pd

        contents, vectors = zip(*self.waiting, strict=True)
        table = pd.DataFrame(np.stack(vectors), columns=[f"f{index}" for index in range(len(vectors[0]))])
        table.insert(0, "content", list(contents))
        with runs.atomic(self.folder / f"part-{runs.digest(sorted(contents))}.parquet") as partial:
            table.to_parquet(partial, index=False)
        self.waiting.clear()
