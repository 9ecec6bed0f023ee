"""Features of images as a harmoniser leaves them, with everything learned on the teaching side of each turn alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.data import combat, harmonize, prepare
from radfoundry.nets import embedding
from radfoundry.records import InputError, Series
from radfoundry.tasks.sites import Part
from radfoundry.volume import Volume

Methods = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Loaded:
    """The images of series, read anew each time they are gone over, one at a time in memory."""

    series: tuple[Series, ...]

    def __iter__(self) -> Iterator[Volume]:
        for item in self.series:
            yield item.load()


def fit_by_sequence(methods: Methods, series: Sequence[Series]) -> dict[str, harmonize.Chain]:
    """One fitted chain per sequence, since T1 and T2 have no common scale; unknown sequences are one group."""
    chains = {}
    for name in sorted({sequence_of(item) for item in series}):
        members = tuple(item for item in series if sequence_of(item) == name)
        try:
            chains[name] = harmonize.fit(methods, Loaded(members))
        except InputError as error:
            if error.finding != "too-few":
                raise
            raise InputError(error.what, where=f"sequence {name}", remedy=error.remedy, finding="too-few") from None
    return chains


def sequence_of(series: Series) -> str:
    """The sequence of a series, or `unknown`."""
    return series.sequence or "unknown"


@dataclass(frozen=True)
class Looking:
    """How images become features: the encoder, and the middle so many mm of the image that it is shown."""

    encoder: Any
    crop_mm: float | None = None

    @property
    def mark(self) -> list[Any]:
        """What decides the features, as plain values."""
        from radfoundry.nets import checkpoint

        return [checkpoint.fingerprint(self.encoder), embedding.plan_for(self.encoder.spec).fingerprint, self.crop_mm]

    def at(self, volume: Volume) -> np.ndarray:
        """One feature vector `(p,)` of one image."""
        import torch

        spec = self.encoder.spec
        array = prepare.prepare(self.cropped(volume), embedding.plan_for(spec)).array.astype(np.float32)
        if len(array) != spec.channels:
            array = np.repeat(array.mean(axis=0, keepdims=True), spec.channels, axis=0)
        with torch.no_grad():
            return self.encoder.encode(torch.from_numpy(array)[None]).pooled[0].float().numpy()

    def cropped(self, volume: Volume) -> Volume:
        """The middle of an image."""
        if self.crop_mm is None:
            return volume
        size = [
            min(n, max(1, round(self.crop_mm / step))) for n, step in zip(volume.shape, volume.spacing_mm, strict=True)
        ]
        return volume.crop([(n - kept) // 2 for n, kept in zip(volume.shape, size, strict=True)], size)


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of every series after image methods; with no method, of the images as they are.

    Called with a turn, fits the methods on the teaching series alone and gives `(n, p)`, rows that neither teach nor
    are tested left at 0. Turns that would give the same answer share it, and a folder `cache` keeps it for the next
    run with the same images, methods and encoder.
    """

    series: tuple[Series, ...]
    looking: Looking
    methods: Methods = ()
    cache: Path | None = None
    kept: dict[bytes, np.ndarray] = field(default_factory=dict)

    def __call__(self, part: Part) -> np.ndarray:
        """Features `(n, p)` for one turn."""
        learns = harmonize.learns(self.methods)
        key = part.teaching.tobytes() if learns else b""
        wanted = part.teaching | part.tested if learns else np.ones(len(self.series), bool)
        found = self.kept.get(key)
        missing = wanted if found is None else wanted & ~np.abs(found).any(axis=1)
        if missing.any():
            made = self._remembered(part.teaching if learns else np.zeros(0, bool), missing)
            found = made if found is None else found + made
            self.kept[key] = found
        return self.kept[key]

    def _remembered(self, teaching: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        if self.cache is None:
            return self._made(teaching, wanted)
        asked = [self.looking.mark, [[name, dict(options)] for name, options in self.methods]]
        who = [[item.content for item in self.series], np.flatnonzero(teaching), np.flatnonzero(wanted)]
        place = self.cache / f"{runs.digest([*asked, *who])}.npy"
        if place.is_file():
            with suppress(ValueError, EOFError):  # a damaged file is made again
                return np.load(place, allow_pickle=False)
        made = self._made(teaching, wanted)
        with runs.atomic(place) as partial, partial.open("wb") as handle:
            np.save(handle, made, allow_pickle=False)
        return made

    def _made(self, teaching: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        taught = [self.series[index] for index in np.flatnonzero(teaching)]
        learns = harmonize.learns(self.methods)
        chains = fit_by_sequence(self.methods, taught if learns else self.series) if self.methods else {}
        rows: dict[int, np.ndarray] = {}
        for index in np.flatnonzero(wanted):
            volume = self.series[index].load()
            if self.methods:
                volume = chain_for(self.series[index], chains).apply(volume)
            rows[int(index)] = self.looking.at(volume)
        table = np.zeros((len(self.series), len(next(iter(rows.values())))))
        for index, values in rows.items():
            table[index] = values
        return table


def chain_for(series: Series, chains: Mapping[str, harmonize.Chain]) -> harmonize.Chain:
    """The chain of a series' sequence; refused when no training image had that sequence."""
    if sequence_of(series) not in chains:
        raise InputError(
            f"no training image is {sequence_of(series)} (learned: {', '.join(sorted(chains))})",
            where=f"series {series.key}",
            remedy="choose series with on.sequence=, or put such images into the training part",
            finding="unseen-sequence",
        )
    return chains[sequence_of(series)]


@dataclass(frozen=True, eq=False)
class CombatFeatures:
    """Features of untouched images with ComBat learned on the teaching rows; a new site is learned without answers."""

    plain: ImageFeatures
    site: np.ndarray
    covariates: np.ndarray
    names: tuple[str, ...] = ()

    def __call__(self, part: Part) -> np.ndarray:
        """Features `(n, p)` for one turn."""
        table, teach = self.plain(part), part.teaching
        model = combat.fit(table[teach], self.site[teach], covariates=self.covariates[teach], names=self.names)
        for name in sorted(set(self.site[part.tested]) - set(model.sites)):
            rows = part.looked_at & (self.site == name)
            model = model.with_site(table[rows], name, self.covariates[rows])
        wanted = teach | part.tested
        found = np.zeros_like(table)
        found[wanted] = model.apply(table[wanted], self.site[wanted], self.covariates[wanted])
        return found
