"""The 36 header tags that tell a series' type, as numbers and words of known lists; missing stays missing.

The tags and their words are in header_tags.yaml beside this module.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from radfoundry.records import Acquisition, Series

FILE = Path(__file__).with_name("header_tags.yaml")
LONGEST_TEXT = 400


@dataclass(frozen=True)
class Tags:
    """Which tags there are: numbers with their unit, and lists of words with the pattern that finds each."""

    numbers: Mapping[str, tuple[str, str, float]]
    words: Mapping[str, tuple[str, tuple[tuple[str, re.Pattern[str]], ...]]]

    @property
    def names(self) -> tuple[str, ...]:
        """All tags, numbers first."""
        return (*self.numbers, *self.words)

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """The columns of the word matrix: (tag, word), each tag ending with `another` for words not on its list."""
        return tuple(
            (tag, word) for tag, (_, words) in self.words.items() for word in (*(w for w, _ in words), "another")
        )


@dataclass(frozen=True, eq=False)
class Header:
    """What a header says: numbers `(numbers,)` with NaN where missing; words `(columns,)` of 0 and 1; which lists of
    words are there at all `(words,)`."""

    numbers: np.ndarray
    words: np.ndarray
    stated: np.ndarray

    @property
    def known(self) -> int:
        """How many of the tags are there."""
        return int(np.isfinite(self.numbers).sum() + self.stated.sum())


@functools.cache
def tags() -> Tags:
    """The tags of header_tags.yaml."""
    listed = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    numbers = {
        name: ("geometry" if "geometry" in item else "from", item.get("geometry") or item["from"], float(item["unit"]))
        for name, item in listed["numbers"].items()
    }
    words = {
        name: (item["from"], tuple((str(word), re.compile(str(text))) for word, text in item["words"].items()))
        for name, item in listed["words"].items()
    }
    return Tags(numbers, words)


def geometry_of(
    acquisition: Acquisition, shape: Sequence[int] | None, spacing_mm: Sequence[float] | None
) -> dict[str, float]:
    """Rows, columns, field of view, voxel size, number of slices and volumes; what is not known is left out.

    `shape` is (C, I, J, K) and `spacing_mm` that of I, J, K with slices along K, as readers of slices build them.
    """
    found: dict[str, float] = {}
    matrix, field = acquisition.matrix, acquisition.field_of_view_mm
    if shape is not None:
        columns, rows, slices = (int(n) for n in shape[1:])
        found |= {"rows": rows, "columns": columns, "slices": slices, "volumes": int(shape[0])}
        if spacing_mm is not None:
            found |= {
                "field_of_view_rows_mm": rows * spacing_mm[1],
                "field_of_view_columns_mm": columns * spacing_mm[0],
                "in_plane_mm": min(spacing_mm[0], spacing_mm[1]),
            }
            if slices > 1:
                found |= {"slice_distance_mm": spacing_mm[2], "coverage_mm": slices * spacing_mm[2]}
    elif matrix is not None:
        found |= {"rows": matrix[1], "columns": matrix[0]}
        if field is not None:
            found |= {"field_of_view_rows_mm": field[1], "field_of_view_columns_mm": field[0]}
            found["in_plane_mm"] = field[0] / max(matrix[0], 1)
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def read_header(
    acquisition: Acquisition,
    *,
    shape: Sequence[int] | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> Header:
    """The header of one series as the tags see it.

    >>> said = read_header(Acquisition(modality="MR", echo_time_ms=90.0, scanning_sequence=("SE", "IR")))
    >>> said.known, len(said.numbers) + len(said.stated)
    (3, 36)
    """
    known = tags()
    geometry = geometry_of(acquisition, shape, spacing_mm)
    numbers = [
        _number(geometry.get(source) if kind == "geometry" else getattr(acquisition, source))
        for kind, source, _ in known.numbers.values()
    ]
    words: list[float] = []
    stated = []
    for source, listed in known.words.values():
        text = _text(getattr(acquisition, source))
        found = [float(pattern.search(text) is not None) for _, pattern in listed] if text else [0.0] * len(listed)
        words += [*found, float(bool(text) and not any(found))]
        stated.append(bool(text))
    return Header(np.array(numbers, np.float32), np.array(words, np.float32), np.array(stated))


def header_of(series: Series) -> Header:
    """The header of a series of a cohort, slices taken to lie along the coarsest axis."""
    shape, spacing = laid_out(series.shape, series.spacing_mm)
    return read_header(series.acquisition, shape=shape, spacing_mm=spacing)


def laid_out(
    shape: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[tuple[int, int, int, int], tuple[float, float, float]]:
    """Shape and spacing with the slices last: image files may hold them in any order, so the coarsest axis counts.

    >>> laid_out((1, 20, 256, 256), (5.0, 0.9, 0.9))
    ((1, 256, 256, 20), (0.9, 0.9, 5.0))
    """
    order = [0, 1, 2]
    if spacing_mm[2] < max(spacing_mm) * 0.999:
        coarsest = int(np.argmax(spacing_mm))
        order = [axis for axis in order if axis != coarsest] + [coarsest]
    i, j, k = order
    n = tuple(int(size) for size in shape)
    return (n[0], n[1 + i], n[1 + j], n[1 + k]), (
        float(spacing_mm[i]),
        float(spacing_mm[j]),
        float(spacing_mm[k]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else float(value)


def _text(value: str | Sequence[str] | None) -> str:
    if value is None:
        return ""
    joined = value if isinstance(value, str) else " ".join(str(part) for part in value)
    return joined.strip().upper()[:LONGEST_TEXT]
