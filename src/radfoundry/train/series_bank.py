"""Simulated series to learn types from: pixel features of many bodies and protocols, and headers beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radfoundry import runs
from radfoundry.data.header_tags import read_header, tags
from radfoundry.data.series_types import ANATOMIES, SEQUENCES
from radfoundry.nets.series_pixels import WIDTH, pixel_features
from radfoundry.records import InputError
from radfoundry.simulate.anatomy.regions import REGIONS
from radfoundry.simulate.series_headers import draw_series, listed
from radfoundry.simulate.series_images import series_images

BODIES = ("brain", *REGIONS)
BRAIN_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class PixelBank:
    """Pixel features `(n, WIDTH)` of simulated images, with the body and the image protocol of each."""

    features: np.ndarray
    body: np.ndarray
    protocol: np.ndarray

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, eq=False)
class SeriesTable:
    """Series to learn from, one a row: header numbers, words and which lists are stated; pixel features and whether
    there are any; the sequence, anatomy and agent (0 none, 1 given) that are true; the make that wrote it."""

    numbers: np.ndarray
    words: np.ndarray
    stated: np.ndarray
    pixels: np.ndarray
    has_pixels: np.ndarray
    sequence: np.ndarray
    anatomy: np.ndarray
    agent: np.ndarray
    make: np.ndarray
    protocol: np.ndarray

    def __len__(self) -> int:
        return len(self.sequence)

    def take(self, rows: np.ndarray) -> SeriesTable:
        """The rows of an index or mask."""
        return SeriesTable(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def joined(parts: Sequence[SeriesTable]) -> SeriesTable:
    """Several tables as one."""
    names = SeriesTable.__dataclass_fields__
    return SeriesTable(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def image_protocols(body: str) -> tuple[str, ...]:
    """Which kinds of image are made of a body: all that protocols ask for, FLAIR and labelled blood in heads alone."""
    found = dict.fromkeys(name for plan in listed()["protocols"].values() for name in plan["images"])
    heads = ("FLAIR", "ASL", "SWI")
    return tuple(name for name in found if body == "brain" or name not in heads)


def make_bank(bodies: int, *, seed: int, protocols_per_body: int = 12) -> PixelBank:
    """Simulate `bodies` bodies (three tenths heads, the rest spread over all regions) and describe their pixels."""
    rows = list(_entries(bodies, seed, protocols_per_body))
    features = np.stack([row[2] for row in rows]) if rows else np.zeros((0, WIDTH), np.float32)
    return PixelBank(features, np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))


def _entries(bodies: int, seed: int, per_body: int) -> Iterator[tuple[str, str, np.ndarray]]:
    others = BODIES[1:]
    for index in range(bodies):
        rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
        name = "brain" if rng.random() < BRAIN_SHARE else others[int(rng.integers(len(others)))]
        known = image_protocols(name)
        count = len(known) if name == "brain" else per_body
        chosen = [known[int(k)] for k in rng.permutation(len(known))[:count]]
        for protocol, volume in series_images(name, chosen, rng=rng):
            vector = pixel_features(volume)
            if vector is not None:
                yield name, protocol, vector


def save_bank(bank: PixelBank, path: str | Path) -> None:
    """Write a bank as one npz file, whole or not at all."""
    with runs.atomic(path) as partial, partial.open("wb") as handle:
        np.savez_compressed(handle, features=bank.features.astype(np.float32), body=bank.body, protocol=bank.protocol)


def read_banks(paths: Sequence[str | Path]) -> PixelBank:
    """Banks read from files and joined; refuses files that are no banks."""
    parts = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as found:
                parts.append((found["features"], found["body"], found["protocol"]))
        except (OSError, KeyError, ValueError):
            raise InputError("is not a bank of pixel features", where=str(path), remedy="make one first") from None
    features, body, protocol = (np.concatenate(part) for part in zip(*parts, strict=True))
    return PixelBank(features, body, protocol)


def draw_table(count: int, bank: PixelBank, *, seed: int, make: str | None = None) -> SeriesTable:
    """`count` simulated series: a header, and the pixels of an image of the same kind and region from the bank.

    Regions that are not simulated (neck, shoulder, foot, heart, whole body) have headers alone.
    """
    rng = np.random.default_rng(seed)
    places: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(bank.body.tolist(), bank.protocol.tolist(), strict=True)):
        places.setdefault(key, []).append(row)
    known = tags()
    table = SeriesTable(
        numbers=np.full((count, len(known.numbers)), np.nan, np.float32),
        words=np.zeros((count, len(known.columns)), np.float32),
        stated=np.zeros((count, len(known.words)), bool),
        pixels=np.zeros((count, WIDTH), np.float32),
        has_pixels=np.zeros(count, bool),
        sequence=np.zeros(count, int),
        anatomy=np.zeros(count, int),
        agent=np.zeros(count, int),
        make=np.empty(count, "U12"),
        protocol=np.empty(count, "U32"),
    )
    for row in range(count):
        drawn = draw_series(rng, make=make)
        header = read_header(drawn.acquisition, shape=drawn.shape, spacing_mm=drawn.spacing_mm)
        table.numbers[row], table.words[row], table.stated[row] = header.numbers, header.words, header.stated
        table.sequence[row], table.anatomy[row] = SEQUENCES.index(drawn.sequence), ANATOMIES.index(drawn.anatomy)
        table.agent[row], table.make[row], table.protocol[row] = int(drawn.agent), drawn.make, drawn.protocol
        fitting = [place for body in drawn.bodies for image in drawn.images for place in places.get((body, image), ())]
        if fitting:
            table.pixels[row], table.has_pixels[row] = bank.features[fitting[int(rng.integers(len(fitting)))]], True
    return table
