"""Images that are the same or nearly the same: exact by content, near by a perceptual hash checked pixel by pixel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from radfoundry.records import InputError, Series
from radfoundry.volume import Volume

SIDE = 32
LOW = 8
BLOCK_ROWS = 512
SAMPLED = 4096
MASK_VALUES = 4  # an image of so few values is a mask: blobs look alike without being the same picture
# Chosen on 2D sets of brain MRI, breast ultrasound and chest radiographs: see docs/split.md.
BITS_APART = 10
CORRELATION = 0.95
DETAIL_CORRELATION = 0.7


@dataclass(frozen=True)
class Signatures:
    """What is compared of n images: hash bits under the 8 flips and turns, and small pictures of them.

    bits: (8, n, 63) of -1 and 1 · pictures: (n, 32, 32) · details: (n, 32, 32), the pictures without their
    broad shading; both of mean 0 and length 1, or all 0 for an image of one brightness.
    """

    bits: np.ndarray
    pictures: np.ndarray
    details: np.ndarray


def near_duplicate_groups(
    volumes: Iterable[Volume], *, bits_apart: int = BITS_APART, correlation: float = CORRELATION
) -> list[tuple[int, ...]]:
    """Groups of 2D images that show the same picture, also when mirrored, turned, scaled, brightened or recompressed.

    `volumes` are images with K = 1, in any sizes; the answer names them by their place in that order, every
    image in at most one group, groups of two or more. A pair is found when the 63 bits of the perceptual hash
    (signs of the low frequencies of a 32 x 32 picture, Zauner 2010) differ in at most `bits_apart`, and is
    kept when the pictures correlate by at least `correlation` and so does their detail. Images
    of one brightness and masks are in no group. Refuses volumes with K > 1.

    >>> image = np.random.default_rng(0).random((40, 40)).cumsum(0).cumsum(1)
    >>> other = np.random.default_rng(1).random((40, 40)).cumsum(0)
    >>> near_duplicate_groups([Volume.of(a, np.eye(4)) for a in (image, other, 5 + image[::-1])])
    [(0, 2)]
    """
    pictures = [_small(volume) for volume in volumes]
    if not pictures:
        return []
    pairs = _pairs(_signatures(np.stack(pictures)), bits_apart, correlation)
    return _joined(pairs)


def same_images(series: Sequence[Series]) -> list[tuple[str, ...]]:
    """Keys of series that hold the same image (any kind, equal content) or nearly the same (2D images)."""
    by_content: dict[str, list[str]] = defaultdict(list)
    for item in series:
        if item.content and item.sequence != "mask":
            by_content[item.content].append(item.key)
    flat = [item for item in series if item.shape[3] == 1 and item.sequence != "mask"]
    near = near_duplicate_groups(item.load() for item in flat)
    named = [[flat[index].key for index in group] for group in near]
    exact = [keys for keys in by_content.values() if len(keys) > 1]
    order = {item.key: place for place, item in enumerate(series)}
    pairs = ((order[group[0]], order[other]) for group in (*named, *exact) for other in group[1:])
    keys = list(order)
    return [tuple(keys[place] for place in group) for group in _joined(pairs)]


def _small(volume: Volume) -> np.ndarray:
    """An image as 32 x 32 grey values."""
    from PIL import Image

    if volume.shape[2] != 1:
        raise InputError(f"expected 2D images, got a volume of shape {volume.shape}", remedy="compare contents instead")
    grey = np.asarray(volume.array[..., 0], dtype=np.float32).mean(axis=0)
    if len(np.unique(grey.ravel()[:: max(grey.size // SAMPLED, 1)])) <= MASK_VALUES:
        return np.zeros((SIDE, SIDE), dtype=np.float32)
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX))


def _signatures(small: np.ndarray) -> Signatures:
    from scipy.fft import dctn
    from scipy.ndimage import gaussian_filter

    spectrum = dctn(small.astype(np.float64), axes=(1, 2), norm="ortho")[:, :LOW, :LOW]
    signs = (-1.0) ** np.arange(LOW)
    variants = []
    for turned in (spectrum, spectrum.transpose(0, 2, 1)):
        for down in (1.0, signs[:, None]):
            for across in (1.0, signs[None, :]):
                flat = (turned * down * across).reshape(len(small), -1)[:, 1:]
                variants.append(np.where(flat > np.median(flat, axis=1, keepdims=True), 1, -1))
    details = small - np.stack([gaussian_filter(picture, 3.0) for picture in small])
    return Signatures(np.stack(variants).astype(np.float32), _unit(small), _unit(details))


def _unit(pictures: np.ndarray) -> np.ndarray:
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    length = np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    return np.where(length > 1e-6 * SIDE, centred / np.maximum(length, 1e-12), 0.0)


def _pairs(found: Signatures, bits_apart: int, correlation: float) -> Iterator[tuple[int, int]]:
    """Pairs (first < second) of near-duplicates, each variant of the first against the second as it is."""
    count, bits = found.bits.shape[1:]
    least = bits - 2 * bits_apart  # the product of two sign vectors that differ in that many places
    plain = found.bits[0]
    for start in range(0, count, BLOCK_ROWS):
        for variant in range(8):
            rows, columns = np.nonzero(found.bits[variant, start : start + BLOCK_ROWS] @ plain[start:].T >= least)
            rows, columns = rows + start, columns + start
            ahead = rows < columns
            yield from _checked(found, rows[ahead], columns[ahead], variant, correlation)


def _checked(
    found: Signatures, rows: np.ndarray, columns: np.ndarray, variant: int, correlation: float
) -> Iterator[tuple[int, int]]:
    for start in range(0, len(rows), 4096):
        part, other = rows[start : start + 4096], columns[start : start + 4096]
        whole = (_moved(found.pictures[part], variant) * found.pictures[other]).sum(axis=(1, 2))
        fine = (_moved(found.details[part], variant) * found.details[other]).sum(axis=(1, 2))
        kept = (whole >= correlation) & (fine >= DETAIL_CORRELATION)
        yield from zip(part[kept].tolist(), other[kept].tolist(), strict=True)


def _moved(pictures: np.ndarray, variant: int) -> np.ndarray:
    """Pictures flipped and turned as the hash variant of that number is."""
    moved = pictures.transpose(0, 2, 1) if variant & 4 else pictures
    moved = moved[:, ::-1] if variant & 2 else moved
    return moved[:, :, ::-1] if variant & 1 else moved


def _joined(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Places joined by pairs, transitively; each group sorted, groups in order."""
    leader: dict[int, int] = {}

    def root(place: int) -> int:
        while leader.setdefault(place, place) != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        leader[high] = low
    groups: dict[int, list[int]] = defaultdict(list)
    for place in sorted(leader):
        groups[root(place)].append(place)
    return sorted(tuple(group) for group in groups.values())
