"""Training batches of pictures from a cohort: the films of an exam, whole, moved a little, with the exam's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from radfoundry.config import Component
from radfoundry.data import prepare
from radfoundry.nets import embedding
from radfoundry.records import Cohort, EncoderSpec, InputError, Series
from radfoundry.text import findings
from radfoundry.text.tokens import Tokeniser
from radfoundry.train.batches import Batch
from radfoundry.train.cohort_source import FIRST_SAMPLE, dealt, numbered_sites, readable, words_of
from radfoundry.train.processes import Place
from radfoundry.train.sources import shared_cases

# What can be learned from whole pictures without anything that only the simulator knows.
OBJECTIVES = ("align", "supervised", "similar", "contrast")
RAREST, COMMONEST = 0.03, 0.97


@dataclass(frozen=True, eq=False)
class Album:
    """The pictures of a cohort as an encoder reads them, kept in memory with two bytes a pixel.

    pictures `(V, I, J)` · exams: places in it, exam by exam · site `(V,)` · words: a report per exam, or None ·
    findings `(N, F)` 1 where the report of an exam says that a finding is there, by the rules of `text.findings`, -1
    where they cannot read it, and their names.
    """

    pictures: np.ndarray
    exams: tuple[tuple[int, ...], ...]
    site: np.ndarray
    words: np.ndarray | None = None
    findings: np.ndarray | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FromAlbum:
    """Random exams, each in so many of its pictures, moved by up to `shift` pixels; edges are repeated.

    Of an exam with more pictures than views some are drawn; one with fewer shows its first again, moved anew.
    """

    album: Album
    size: int
    views: int
    shift: int
    seed: int
    place: Place

    def batch(self, step: int) -> Batch:
        """`size` samples of this process; the same step gives the same batch."""
        numbers = shared_cases(step, self.size, self.place)
        images = np.empty((self.size, self.views, *self.album.pictures.shape[1:], 1), np.float32)
        chosen = np.empty((self.size, self.views), int)
        exams = np.empty(self.size, int)
        for row, number in enumerate(numbers):
            rng = np.random.default_rng(np.random.SeedSequence([self.seed, 3, number]))
            exams[row] = rng.integers(len(self.album.exams))
            here = self.album.exams[exams[row]]
            chosen[row] = np.resize(rng.permutation(here) if len(here) > self.views else here, self.views)
            for view, picture in enumerate(chosen[row]):
                away = rng.integers(-self.shift, self.shift + 1, 2)
                images[row, view, ..., 0] = moved(self.album.pictures[picture], away)
        return Batch(
            images=torch.from_numpy(images),
            case=torch.tensor(numbers) + FIRST_SAMPLE,
            step=step,
            site=torch.from_numpy(self.album.site[chosen[:, 0]]),
            words=None if self.album.words is None else torch.from_numpy(self.album.words[exams]),
            findings=None if self.album.findings is None else torch.from_numpy(self.album.findings[exams]),
            study=torch.from_numpy(exams),
        )


def moved(picture: np.ndarray, away: np.ndarray) -> np.ndarray:
    """A picture `(I, J)` moved by so many pixels along each axis, its edge repeated where nothing is known.

    >>> moved(np.array([[1, 2, 3]]), np.array([0, 1])).tolist()
    [[1, 1, 2]]
    """
    first, second = (
        np.clip(np.arange(size) - step, 0, size - 1) for size, step in zip(picture.shape, away, strict=True)
    )
    return picture[first[:, None], second[None]]


def gathered(
    cohort: Cohort, spec: EncoderSpec, *, tokeniser: Tokeniser | None = None, report_length: int = 128
) -> Album:
    """Every picture that an encoder can read, prepared as its spec says; refuses a cohort without any."""
    kept, exams, cases = readable(cohort, spec)
    _, site = numbered_sites(kept)
    words = words_of(cases, tokeniser, report_length)
    found, names = (None, ()) if tokeniser is None else told([case.reports for case in cases])
    return Album(_pictures(kept, spec, cohort.path), exams, site, words, found, names)


def _pictures(series: Sequence[Series], spec: EncoderSpec, folder: str | None) -> np.ndarray:
    """`(V, I, J)` half-precision pictures, read one by one so that all of them never stand in memory at full length."""
    plan = prepare.Plan(orientation=spec.orientation, spacing_mm=spec.spacing_mm, intensity=spec.intensity)
    found: list[np.ndarray] = []
    for item in series:
        found.append(embedding.image_of(item, plan, spec, folder)[0, :, :, 0].astype(np.float16))
        if found[-1].shape != found[0].shape:
            raise InputError(
                "pictures of different sizes cannot be learned from together",
                where=f"encoder {spec.name}",
                remedy="choose an encoder that brings them to one size, for example conv2d-tiny",
                finding="shape",
            )
    return np.stack(found)


def told(reports: Sequence[Sequence[str]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """`(N, F)` 1 where an exam's reports say that a finding is there, 0 where not, and the findings' names.

    What a report does not mention counts as not there; a report that the rules cannot read (another language) tells
    nothing, -1. Findings of nearly nobody or nearly everybody are left out.
    """
    said = [_stated("\n".join(texts)) for texts in reports]
    read = [one for one in said if one is not None]
    names = [
        name
        for name in sorted(set().union(*read))
        if RAREST <= sum(name in one for one in read) / len(read) <= COMMONEST
    ]
    rows = [[-1] * len(names) if one is None else [int(name in one) for name in names] for one in said]
    return np.array(rows, int).reshape(len(said), len(names)), tuple(names)


def _stated(text: str) -> set[str] | None:
    """The findings that a report says are there; None for a report that the rules refuse."""
    try:
        mentions = findings.read(text)
    except InputError:
        return None
    return {name for name, verdict in findings.verdicts(mentions).items() if verdict.state == "present"}


def shuffled(album: Album, *, seed: int) -> Album:
    """The album with every exam's report given to another exam: a negative control. Refuses fewer than two reports."""
    found = None if album.findings is None else dealt(album.findings, seed=seed)
    return replace(album, words=dealt(album.words, seed=seed), findings=found)


def refuse_unfit(objectives: Sequence[Component]) -> None:
    """Refuse objectives that need a volume, or what only the simulator knows, or one place in several films."""
    for part in objectives:
        if part.name not in OBJECTIVES:
            raise InputError(
                f"{part.name} cannot be learned from pictures",
                where="objectives",
                remedy=f"use {', '.join(OBJECTIVES)}",
            )
    for part in objectives:
        if part.name == "contrast" and part.options.get("dense") != 0:
            raise InputError(
                "films of an exam do not show the same anatomy at the same place",
                where="objective contrast",
                remedy="set dense: 0",
            )
