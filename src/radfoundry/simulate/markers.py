"""Letters on films: lead markers in the beam and words burned in afterwards, of a size in mm or in pixels."""

from __future__ import annotations

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.shortcuts import GLYPHS

# The letters that `shortcuts.GLYPHS` lacks, in the same five-by-seven dots; drawn for this project.
MORE_GLYPHS = {
    "B": ("####.", "#...#", "#...#", "####.", "#...#", "#...#", "####."),
    "C": (".####", "#....", "#....", "#....", "#....", "#....", ".####"),
    "D": ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
    "E": ("#####", "#....", "#....", "####.", "#....", "#....", "#####"),
    "I": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "#####"),
    "M": ("#...#", "##.##", "#.#.#", "#.#.#", "#...#", "#...#", "#...#"),
    "N": ("#...#", "##..#", "##..#", "#.#.#", "#..##", "#..##", "#...#"),
    "O": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    "S": (".####", "#....", "#....", ".###.", "....#", "....#", "####."),
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
    "U": ("#...#", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    " ": (".....",) * 7,
}
CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


def letters(text: str, *, height_px: int) -> np.ndarray:
    """Text as a picture of true and false `(columns, rows)`: `height_px` high, never smaller than its dots.

    >>> letters("L", height_px=7).shape
    (5, 7)
    """
    glyphs = {**MORE_GLYPHS, **GLYPHS}
    unknown = sorted(set(text) - set(glyphs))
    if unknown or not text:
        raise InputError(f"no glyph for {', '.join(unknown) or 'nothing'}", remedy=f"use {' '.join(sorted(glyphs))}")
    scale = max(1, round(height_px / 7))
    parts = []
    for letter in text:
        parts += [np.array([[dot == "#" for dot in row] for row in glyphs[letter]]), np.zeros((7, 1), bool)]
    return np.kron(np.concatenate(parts[:-1], axis=1), np.ones((scale, scale), bool)).T


def placed(stamp: np.ndarray, shape: tuple[int, int], *, corner: str, margin_px: tuple[int, int]) -> np.ndarray:
    """A stamp in a corner of an empty picture of the given shape; refuses one that does not fit."""
    if corner not in CORNERS:
        raise InputError(f"unknown corner {corner!r}", remedy=f"one of {', '.join(CORNERS)}")
    room = [size - part - 2 * margin for size, part, margin in zip(shape, stamp.shape, margin_px, strict=True)]
    if min(room) < 0:
        raise InputError(f"letters of {stamp.shape} pixels do not fit an image of {shape}")
    down, side = corner.split("-")
    column = margin_px[0] if side == "left" else shape[0] - margin_px[0] - stamp.shape[0]
    row = margin_px[1] if down == "top" else shape[1] - margin_px[1] - stamp.shape[1]
    picture = np.zeros(shape, bool)
    picture[column : column + stamp.shape[0], row : row + stamp.shape[1]] = stamp
    return picture
