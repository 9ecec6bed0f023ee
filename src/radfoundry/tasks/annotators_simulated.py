"""Pictures with a known outline and the outlines of several simulated annotators, some pictures harder than others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from radfoundry.records import InputError
from radfoundry.simulate.annotators import PANEL, Annotator, outline

SIDE = 48
HARDER = 2.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """A picture (1, I, J, 1) of mean 0 and deviation 1, its true mask (I, J, 1), and those drawn (A, I, J, 1)."""

    image: np.ndarray
    truth: np.ndarray
    drawn: np.ndarray
    degraded: bool


def phantoms(
    count: int, *, degraded: float = 0.25, panel: Sequence[Annotator] = PANEL, side: int = SIDE, seed: int = 0
) -> list[Phantom]:
    """Pictures of one to three lesions of uneven shape in textured tissue, outlined by every annotator of a panel.

    A share `degraded` of them is noisier, and everybody draws them with twice the bias and shake. Refuses shares
    outside 0 to 1 and panels of one.
    """
    if count < 1 or not 0 <= degraded <= 1 or len(panel) < 2:
        raise InputError(
            f"{count} pictures, {degraded} degraded, {len(panel)} annotators",
            where="simulated annotators",
            remedy="at least one picture, a share from 0 to 1, at least two annotators",
        )
    return [_phantom(np.random.default_rng([seed, n]), degraded, panel, side) for n in range(count)]


def _phantom(rng: np.random.Generator, degraded: float, panel: Sequence[Annotator], side: int) -> Phantom:
    from scipy import ndimage

    bent = ndimage.gaussian_filter(rng.standard_normal((side, side)), 3)
    bent *= 2.0 / bent.std()
    truth = np.zeros((side, side), bool)
    places = np.indices((side, side))
    for _ in range(int(rng.integers(1, 4))):
        centre = rng.uniform(0.22 * side, 0.78 * side, 2)
        radius = rng.uniform(3.5, 7.5)
        away = np.sqrt(((places - centre[:, None, None]) ** 2).sum(axis=0))
        truth |= away + bent < radius
    hard = bool(rng.random() < degraded)
    tissue = ndimage.gaussian_filter(rng.standard_normal((side, side)), 4)
    image = ndimage.gaussian_filter(truth * rng.uniform(0.8, 1.6), 0.8) + 0.6 * tissue / tissue.std()
    image += rng.normal(0, 0.9 if hard else 0.35, image.shape)
    factor = HARDER if hard else 1.0
    drawn = [
        outline(
            truth,
            replace(person, bias_mm=person.bias_mm * factor, shake_mm=person.shake_mm * factor),
            spacing_mm=(1.0, 1.0),
            rng=rng,
        )
        for person in panel
    ]
    image = (image - image.mean()) / image.std()
    return Phantom(
        image[None, :, :, None].astype(np.float32),
        truth[:, :, None].astype(np.uint8),
        np.stack(drawn)[..., None].astype(np.uint8),
        hard,
    )
