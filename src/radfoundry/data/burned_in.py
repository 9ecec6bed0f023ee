"""Text burned into pixels: found as rows of flat, sharp-edged strokes of one brightness, and painted over.

No text is read: the detector looks for what letters drawn by a machine have in common (strokes thinner than their
height, one brightness, sharp edges, neighbours of the same height on one line) and anatomy has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

LONGEST_SIDE = 1100  # finer pictures are reduced: letters of one are then 5 to 60 pixels high
GLYPH_HEIGHT = (5, 60)
STROKE = 4  # half the widest stroke, in pixels of the reduced picture
LEAST_CONTRAST = 18.0  # of 255
LEAST_LETTERS = 3
SHARPNESS = 0.16  # least share of a letter's contrast that its edge crosses in one pixel
# A logistic rule over the numbers of `row_features` and their squares, fitted to rows of letters drawn in five
# typefaces on 150 public films, sonograms and mammograms against the rows their anatomy gives.
LIMITS = np.array([4, 0.6, 1.5, 1, 1, 1, 1, 1, 2, 1, 1])
WEIGHTS = np.array(
    [
        *(-1.16, 3.193, 19.419, -4.72, -1.733, -0.611, 14.824, -13.159, 4.478, 2.941, 5.812),
        *(0.296, 2.415, -7.395, 2.173, 0.105, 4.687, -11.895, 7.797, -2.644, 1.514, -0.194),
    ]
)
LEAST_SCORE = 11.25  # log odds of 2 beyond the intercept
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Glyphs:
    """Candidates for letters: boxes `(n, 4)` as top, left, bottom, right, and five numbers of each.

    level: brightest value · contrast: over the surroundings · sharpness: steepest step over the contrast ·
    fill: share of the box · core: share of the letter's pixels near its brightest.
    """

    boxes: np.ndarray
    level: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray
    fill: np.ndarray
    core: np.ndarray

    @property
    def height(self) -> np.ndarray:
        """Heights in pixels."""
        return self.boxes[:, 2] - self.boxes[:, 0]

    def take(self, rows: np.ndarray) -> Glyphs:
        """The candidates of a mask or an index."""
        return Glyphs(*(getattr(self, item.name)[rows] for item in fields(self)))


def text_boxes(picture: np.ndarray) -> list[Box]:
    """Boxes (top, left, bottom, right; pixels, ends exclusive) around burned-in text of a picture.

    picture: (rows, columns) or (rows, columns, 3), any numbers. Bright and dark letters are looked for at two
    scales. Refuses nothing; a picture of one brightness has no text.

    >>> picture = np.zeros((64, 200), np.uint8)
    >>> text_boxes(picture)
    []
    """
    grey = picture.astype(np.float32)
    grey = grey.max(axis=2) if grey.ndim == 3 else grey
    low, high = np.percentile(grey[:: max(grey.shape[0] // 512, 1), :: max(grey.shape[1] // 512, 1)], (0.5, 99.5))
    brightest = min(float(grey.max()), high + (high - low)) if high > low else float(grey.max())
    low = float(grey.min()) if high <= low else max(float(grey.min()), low - (high - low))
    if not brightest > low:
        return []
    scaled = np.clip((grey - low) * (255.0 / (brightest - low)), 0, 255)
    found: list[Box] = []
    factor = max(1.0, max(scaled.shape) / LONGEST_SIDE)
    for reduction in (factor, 2 * factor):
        small = _reduced(scaled, reduction)
        if min(small.shape) < 16:
            continue
        for sign in (small, 255.0 - small):
            for box in _lines(sign):
                top, left, bottom, right = (round(float(edge) * reduction) for edge in box)
                found.append((top, left, bottom, right))
    return merged(found, scaled.shape)


def masked(picture: np.ndarray, boxes: Sequence[Box], *, value: float | None = None) -> np.ndarray:
    """A copy `(..., rows, columns)` with each box painted in one value, the picture's smallest unless told another."""
    painted = picture.copy()
    for top, left, bottom, right in boxes:
        painted[..., top:bottom, left:right] = picture.min() if value is None else value
    return painted


def _reduced(picture: np.ndarray, factor: float) -> np.ndarray:
    from PIL import Image

    if factor == 1.0:
        return picture
    size = (max(int(picture.shape[1] / factor), 1), max(int(picture.shape[0] / factor), 1))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _lines(picture: np.ndarray) -> Iterator[Box]:
    """Boxes around rows of bright letters."""
    glyphs = _glyphs(picture)
    if len(glyphs.boxes) < LEAST_LETTERS:
        return
    for members in _rows(glyphs):
        row = glyphs.take(members)
        if _is_text(row):
            height = int(np.median(row.height))
            top, left = row.boxes[:, :2].min(axis=0)
            bottom, right = row.boxes[:, 2:].max(axis=0)
            yield (top - height // 2, left - height, bottom + height // 2, right + height)


def _glyphs(picture: np.ndarray) -> Glyphs:
    from scipy import ndimage

    size = 2 * STROKE + 1
    hat = picture - ndimage.grey_opening(picture, size=(size, size))
    texture = float(np.percentile(hat[::2, ::2], 80))
    threshold = max(LEAST_CONTRAST, 1.5 * texture)
    # Half of the local contrast separates strokes from their blurred edges.
    peak = ndimage.maximum_filter(hat, size=5)
    labels, count = ndimage.label((hat > threshold) & (hat > 0.5 * peak), structure=np.ones((3, 3)))
    places = ndimage.find_objects(labels)
    boxes = np.array([(p[0].start, p[1].start, p[0].stop, p[1].stop) for p in places], int).reshape(count, 4)
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    fit = (height >= GLYPH_HEIGHT[0]) & (height <= GLYPH_HEIGHT[1]) & (width <= 9 * height)
    numbers = np.arange(1, count + 1)[fit]
    if not len(numbers):
        empty = np.zeros(0)
        return Glyphs(np.zeros((0, 4), int), empty, empty, empty, empty, empty)
    area = ndimage.sum_labels(np.ones_like(picture), labels, numbers)
    steepest = np.maximum(
        np.abs(np.diff(picture, axis=0, append=picture[-1:])), np.abs(np.diff(picture, axis=1, append=picture[:, -1:]))
    )
    contrast = ndimage.maximum(hat, labels, numbers)
    level = np.zeros(count + 1, np.float32)
    level[numbers] = ndimage.maximum(picture, labels, numbers) - 0.2 * contrast
    glyphs = Glyphs(
        boxes[fit],
        ndimage.maximum(picture, labels, numbers),
        contrast,
        ndimage.mean(ndimage.maximum_filter(steepest, size=3), labels, numbers) / contrast,
        area / (height[fit] * width[fit]),
        ndimage.mean(picture >= level[labels], labels, numbers),
    )
    return glyphs.take((glyphs.fill > 0.12) & (glyphs.sharpness > SHARPNESS))


def _rows(glyphs: Glyphs) -> list[np.ndarray]:
    """Candidates that are neighbours on one line, transitively."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count, boxes, height = len(glyphs.boxes), glyphs.boxes, glyphs.height
    order = np.argsort(boxes[:, 0], kind="stable")
    first, second = [], []
    tops = boxes[order, 0]
    for place, index in enumerate(order):
        stop = np.searchsorted(tops, boxes[index, 2])
        others = order[place + 1 : stop]
        if not len(others):
            continue
        overlap = np.minimum(boxes[others, 2], boxes[index, 2]) - boxes[others, 0]
        tall = np.maximum(height[others], height[index])
        gap = np.maximum(boxes[others, 1], boxes[index, 1]) - np.minimum(boxes[others, 3], boxes[index, 3])
        level = np.abs(glyphs.level[others] - glyphs.level[index])
        near = (
            (overlap >= 0.5 * tall)
            & (gap <= 1.2 * tall)
            & (level <= 0.2 * np.maximum(glyphs.contrast[others], glyphs.contrast[index]))
        )
        first += [index] * int(near.sum())
        second += others[near].tolist()
    links = coo_matrix((np.ones(len(first)), (first, second)), shape=(count, count))
    _, group = connected_components(links, directed=False)
    by_group = np.argsort(group, kind="stable")
    rows = np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1)
    return [row for row in rows if len(row) >= 2]


def row_features(row: Glyphs) -> np.ndarray:
    """What tells a row of letters from anatomy: eleven numbers, free of scale."""
    height, width = row.height, row.boxes[:, 3] - row.boxes[:, 1]
    middle, contrast = np.median(height), np.median(row.contrast)
    letters = np.maximum(1, np.round(width / height)).sum()
    order = np.argsort(row.boxes[:, 1])
    gaps = (row.boxes[order[1:], 1] - row.boxes[order[:-1], 3]) / middle
    return np.array(
        [
            np.log(letters),
            np.std(row.level) / contrast,
            np.median(row.sharpness),
            np.median(np.abs(row.boxes[:, 2] - np.median(row.boxes[:, 2]))) / middle,
            np.median(np.abs(row.boxes[:, 0] - np.median(row.boxes[:, 0]))) / middle,
            np.median(row.core),
            contrast / 255,
            np.median(row.level) / 255,
            np.std(gaps),
            np.std(height) / middle,
            np.median(row.fill),
        ]
    )


def _is_text(row: Glyphs) -> bool:
    """Whether candidates on one line look like letters: enough of them, and the fitted rule says so."""
    width = row.boxes[:, 3] - row.boxes[:, 1]
    letters = np.maximum(1, np.round(width / row.height)).sum()  # letters that touch count as several
    if letters < LEAST_LETTERS:
        return False
    features = np.clip(row_features(row), 0, LIMITS)
    return bool(np.concatenate([features, features**2]) @ WEIGHTS >= LEAST_SCORE)


def merged(boxes: Sequence[Box], shape: tuple[int, ...]) -> list[Box]:
    """Overlapping boxes joined, cut to the picture, in reading order."""
    if not boxes:
        return []
    from scipy import ndimage

    covered = np.zeros(shape, bool)
    for top, left, bottom, right in boxes:
        covered[max(top, 0) : bottom, max(left, 0) : right] = True
    labels, _ = ndimage.label(covered)
    return [(p[0].start, p[1].start, p[0].stop, p[1].stop) for p in ndimage.find_objects(labels)]
