"""Where named places of the template head lie in one simulated person, in RAS mm of every scan of theirs."""

from __future__ import annotations

import numpy as np
import torch

from radfoundry.simulate.fields import enlarged, interpolate
from radfoundry.simulate.head import EYES_MM, head
from radfoundry.simulate.subject import Subject, displaced

# In the template's mm: the eyes are where the simulated head has them, the commissures where the midline crosses them.
PLACES_MM: dict[str, tuple[float, float, float]] = {
    "eye_left": EYES_MM[0],
    "eye_right": EYES_MM[1],
    "anterior_commissure": (0.0, 3.0, -4.0),
    "posterior_commissure": (0.0, -24.0, -2.0),
}
STEPS = 6


def landmarks_mm(subject: Subject) -> dict[str, np.ndarray]:
    """Each named place `(3,)` in the person, found by inverting the way from the person to the template."""
    template = head(2.0)
    moved = enlarged(displaced(subject, template), template.shape)[3:]
    found = {}
    for name, place in PLACES_MM.items():
        wanted = torch.tensor((np.array(place) - template.affine[:3, 3]) / template.affine[0, 0], dtype=torch.float32)
        nearest = int((moved - wanted[:, None, None, None]).square().sum(dim=0).argmin())
        voxel = np.array(np.unravel_index(nearest, template.shape), float)
        here = torch.from_numpy(template.affine[:3, :3] @ voxel + template.affine[:3, 3]).float()[None]
        for _ in range(STEPS):
            there = interpolate(moved, template.affine, here)[:, 0]
            here = here - (there - wanted)[None] * float(template.affine[0, 0])
        found[name] = here[0].numpy().astype(float)
    return found


def landmark_labels(subject: Subject) -> dict[str, float]:
    """The same as columns of a label table: `eye_left_x_mm` and so on."""
    return {
        f"{name}_{axis}_mm": round(float(value), 2)
        for name, place in landmarks_mm(subject).items()
        for axis, value in zip("xyz", place, strict=True)
    }
