"""Training batches from a cohort on disk, alone or mixed with simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from radfoundry.data import prepare
from radfoundry.data.patches import PatchReader
from radfoundry.data.store import StoredVolume
from radfoundry.nets import embedding
from radfoundry.records import Acquisition, Case, Cohort, EncoderSpec, InputError, Series
from radfoundry.text import tokens
from radfoundry.text.tokens import Tokeniser
from radfoundry.train import draws
from radfoundry.train.batches import Batch
from radfoundry.train.objectives.restore import bent
from radfoundry.train.processes import Place
from radfoundry.train.sources import Source, shared_cases

# Numbers of samples from cohorts begin here, so that they never meet those of simulated patients.
FIRST_SAMPLE = 1 << 40
TRIES = 3


@dataclass(frozen=True, eq=False)
class Shelf:
    """What a cohort offers for training: opened volumes, which belong to one exam, and what their headers say.

    exams: places in the reader, exam by exam · protocol `(V,)` sequence index or -1 · settings `(V, 5)` as
    `simulate.stream.SETTINGS`, 0 where unknown · site `(V,)` · words: a report per exam, or None.
    """

    reader: PatchReader
    exams: tuple[tuple[int, ...], ...]
    protocol: np.ndarray
    settings: np.ndarray
    site: np.ndarray
    sites: tuple[str, ...]
    words: np.ndarray | None = None

    @property
    def largest_site(self) -> float:
        """The share of volumes from the site that has most: what guessing would reach."""
        return float(np.bincount(self.site, minlength=1).max() / max(1, len(self.site)))


@dataclass(frozen=True, eq=False)
class FromCohort:
    """Random places of random exams. Views are different series of the exam at the same place in mm.

    An exam with fewer series than views shows one again with its grey values bent, so that the anatomy stays and the
    contrast changes. Every exam is equally likely, every place in a volume too, the emptiest of three left out.
    """

    shelf: Shelf
    size: int
    views: int
    seed: int
    place: Place

    def batch(self, step: int) -> Batch:
        """`size` samples of this process."""
        numbers = shared_cases(step, self.size, self.place)
        crop = self.shelf.reader.size
        images = np.empty((self.size, self.views, *crop), np.float32)
        chosen = np.empty((self.size, self.views), int)
        again = np.zeros((self.size, self.views), bool)
        exams = np.empty(self.size, int)
        for row, number in enumerate(numbers):
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, 2, number]))
            exams[row] = rng.integers(len(self.shelf.exams))
            series = rng.permutation(self.shelf.exams[exams[row]])
            chosen[row] = np.resize(series, self.views)
            again[row] = np.arange(self.views) >= len(series)
            self.fill(images[row], chosen[row], rng)
        case = torch.tensor(numbers) + FIRST_SAMPLE
        return Batch(
            images=self.bend(torch.from_numpy(images), torch.from_numpy(again), case),
            case=case,
            step=step,
            protocol=torch.from_numpy(self.shelf.protocol[chosen]),
            settings=torch.from_numpy(self.shelf.settings[chosen]),
            site=torch.from_numpy(self.shelf.site[chosen[:, 0]]),
            words=None if self.shelf.words is None else torch.from_numpy(self.shelf.words[exams]),
            study=torch.from_numpy(exams),
        )

    def fill(self, images: np.ndarray, chosen: np.ndarray, rng: np.random.Generator) -> None:
        """Write the views of one sample: a place in the first series, the same place in mm in the others."""
        reader = self.shelf.reader
        first = int(chosen[0])
        room = np.array(reader.stored[first].shape[1:]) - reader.size + 1
        best = -1.0
        start = np.zeros(3, int)
        for place in rng.integers(0, room, (TRIES, 3)):
            reader.read_into(images[:1], first, place)
            spread = float(images[0].std())
            if spread > best:
                best, start = spread, place
        for view, number in enumerate(chosen.tolist()):
            there = start if number == first else self.same_place(first, start, number)
            reader.read_into(images[view : view + 1], number, there)

    def same_place(self, first: int, start: np.ndarray, other: int) -> np.ndarray:
        """The first voxel of the box in another volume whose middle lies at the same mm, moved inside if need be."""
        reader = self.shelf.reader
        half = (np.array(reader.size) - 1) / 2
        here, there = reader.stored[first], reader.stored[other]
        centre_mm = here.affine[:3, :3] @ (start + half) + here.affine[:3, 3]
        voxel = np.linalg.solve(there.affine[:3, :3], centre_mm - there.affine[:3, 3]) - half
        return np.clip(np.round(voxel).astype(int), 0, np.array(there.shape[1:]) - reader.size)

    def bend(self, images: torch.Tensor, again: torch.Tensor, case: torch.Tensor) -> torch.Tensor:
        """Images shown again get another contrast."""
        if not bool(again.any()):
            return images
        rows = case[:, None] * self.views + torch.arange(self.views)
        random = draws.uniform(rows[again], 5, seed=self.seed, purpose="remap")
        images = images.clone()
        images[again] = bent(images[again], random)
        return images


@dataclass(frozen=True)
class Mixed:
    """Whole batches from one of two sources, drawn step by step with a given share from the first."""

    first: Source
    second: Source
    share: float
    seed: int

    def batch(self, step: int) -> Batch:
        """The batch of the source that the step falls to; all processes draw the same."""
        drawn = float(draws.uniform(torch.tensor([step]), 1, seed=self.seed, purpose="source"))
        return (self.first if drawn < self.share else self.second).batch(step)


def shelve(
    cohort: Cohort,
    spec: EncoderSpec,
    *,
    crop: int,
    protocols: Sequence[str],
    tokeniser: Tokeniser | None = None,
    report_length: int = 128,
) -> Shelf:
    """Prepare every series an encoder can read, as its spec says, and open the results; done once per cohort.

    Volumes smaller than the crop are filled up. Refuses a cohort none of whose series fits.
    """
    if cohort.path is None:
        raise InputError("this cohort lies in no folder", where="cohort", remedy="open it from disk")
    kept, exams, cases = readable(cohort, spec)
    paths = [prepared_path(series, spec, crop=crop, cache=Path(cohort.path) / "cache") for series in kept]
    sites, site = numbered_sites(kept)
    names = list(protocols)
    return Shelf(
        reader=PatchReader.open(paths, (crop, crop, crop)),
        exams=exams,
        protocol=np.array([names.index(s.sequence) if s.sequence in names else -1 for s in kept]),
        settings=np.stack([settings_of(series.acquisition) for series in kept]),
        site=site,
        sites=sites,
        words=words_of(cases, tokeniser, report_length),
    )


def readable(cohort: Cohort, spec: EncoderSpec) -> tuple[list[Series], tuple[tuple[int, ...], ...], list[Case]]:
    """The series that an encoder can read, their places in that list exam by exam, and these exams; refuses none."""
    kept: list[Series] = []
    exams: list[tuple[int, ...]] = []
    cases: list[Case] = []
    for case in cohort.cases:
        fitting = [series for series in case.series if not embedding.refusal(series, spec)]
        if fitting:
            exams.append(tuple(range(len(kept), len(kept) + len(fitting))))
            kept += fitting
            cases.append(case)
    if not kept:
        raise InputError(
            f"no series fits encoder {spec.name}",
            where=cohort.path or "cohort",
            remedy="choose another encoder",
            finding="modality",
        )
    return kept, tuple(exams), cases


def numbered_sites(series: Sequence[Series]) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the sites, sorted, and the number of each series' own `(V,)`."""
    names = tuple(sorted({item.site or "" for item in series}))
    return names, np.array([names.index(item.site or "") for item in series])


def prepared_path(series: Series, spec: EncoderSpec, *, crop: int, cache: Path) -> Path:
    """The prepared copy of a series in the cache, at least one crop large along every axis."""
    plan = prepare.Plan(orientation=spec.orientation, spacing_mm=spec.spacing_mm, intensity=spec.intensity)
    prepare.prepared(series, plan, cache=cache)
    path = prepare.cached_path(series.content, plan, cache=cache)
    shape = StoredVolume.open(path).shape[1:]
    if min(shape) >= crop:
        return path
    wide = (max(shape[0], crop), max(shape[1], crop), max(shape[2], crop))
    plan = prepare.Plan(orientation=spec.orientation, spacing_mm=spec.spacing_mm, intensity=spec.intensity, shape=wide)
    prepare.prepared(series, plan, cache=cache)
    return prepare.cached_path(series.content, plan, cache=cache)


def settings_of(acquisition: Acquisition) -> np.ndarray:
    """A header's settings as simulated crops carry them: times logarithmic, 0 where the header says nothing."""
    times = (acquisition.repetition_time_ms, acquisition.echo_time_ms, acquisition.inversion_time_ms)
    logs = [float(np.log(max(time, 0.1))) if time else 0.0 for time in times]
    return np.array([*logs, acquisition.flip_angle_deg or 0.0, acquisition.field_strength_t or 0.0], np.float32)


def reported(cohort: Cohort) -> Cohort:
    """The exams with a report; without one there is nothing to meet, and silence is not health. Refuses none at all."""
    cases = tuple(case for case in cohort.cases if any(text.strip() for text in case.reports))
    if not cases:
        raise InputError("this cohort has no reports", where=cohort.path or "cohort", remedy="set reports=false")
    return replace(cohort, cases=cases)


def reports_tokeniser(cohort: Cohort, *, size: int = 1024) -> Tokeniser:
    """A tokeniser trained on a cohort's own reports; refuses a cohort without any."""
    return tokens.train([text for case in reported(cohort).cases for text in case.reports], size=size)


def shuffled(shelf: Shelf, *, seed: int) -> Shelf:
    """The shelf with every exam's report given to another exam: a negative control. Refuses fewer than two reports."""
    return replace(shelf, words=dealt(shelf.words, seed=seed))


def dealt(words: np.ndarray | None, *, seed: int) -> np.ndarray:
    """Reports `(N, T)` dealt out so that nobody keeps their own; refuses fewer than two."""
    if words is None or len(words) < 2:
        raise InputError("there are no reports to shuffle", where="shuffle_reports", remedy="set reports=true")
    order = np.random.default_rng(seed).permutation(len(words))
    # Everybody gets the report of the next in a random order.
    given = np.empty_like(words)
    given[order] = words[np.roll(order, 1)]
    return given


def words_of(cases: Sequence[Case], tokeniser: Tokeniser | None, length: int) -> np.ndarray | None:
    """`(N, T)` token numbers of every exam's reports; None without a tokeniser."""
    if tokeniser is None:
        return None
    return np.array([tokeniser.padded("\n".join(case.reports), length) for case in cases])
