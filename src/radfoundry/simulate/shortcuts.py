"""Things in an image that give the answer away without being the disease: burned-in letters, tied to the label."""

from __future__ import annotations

import numpy as np

from radfoundry.records import InputError
from radfoundry.volume import Volume

# Five-by-seven dot letters, one string of seven rows each; drawn for this project.
GLYPHS = {
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
    "P": ("####.", "#...#", "#...#", "####.", "#....", "#....", "#...."),
    "A": (".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "X": ("#...#", "#...#", ".#.#.", "..#..", ".#.#.", "#...#", "#...#"),
}


def burn(volume: Volume, text: str, *, brightness: float | None = None, scale: int = 1) -> Volume:
    """The image with letters burned into a corner of every slice, as film markers and workstations leave them.

    `brightness` is 0.9 of the image's maximum unless given. Refuses letters there are no glyphs for, and
    images too small for them.
    """
    unknown = sorted(set(text) - set(GLYPHS))
    if unknown or not text:
        raise InputError(f"no glyph for {', '.join(unknown) or 'nothing'}", remedy=f"use {', '.join(GLYPHS)}")
    letters = [np.array([[dot == "#" for dot in row] for row in GLYPHS[letter]]) for letter in text]
    spaced = [part for letter in letters for part in (letter, np.zeros((7, 1), bool))]
    stamp = np.kron(np.concatenate(spaced, axis=1), np.ones((scale, scale), bool)).T  # first axis runs along rows
    if stamp.shape[0] + 2 > volume.shape[0] or stamp.shape[1] + 2 > volume.shape[1]:
        raise InputError(f"letters of {stamp.shape} do not fit slices of {volume.shape[:2]}")
    array = volume.array.copy()
    level = 0.9 * float(array.max()) if brightness is None else brightness
    corner = array[:, 2 : 2 + stamp.shape[0], 2 : 2 + stamp.shape[1], :]
    corner[:, stamp, :] = level
    return volume.with_array(array)


def tied(present: bool, *, rate: float, rng: np.random.Generator) -> bool:
    """Whether the shortcut is there: with probability `rate` in the diseased, 1 - `rate` in the healthy.

    A rate of 0.5 is no shortcut at all, 1 gives the label away completely.
    """
    if not 0 <= rate <= 1:
        raise InputError(f"rate {rate} is not a share", remedy="give 0.5 (no shortcut) to 1 (the label itself)")
    return bool(rng.random() < (rate if present else 1 - rate))
