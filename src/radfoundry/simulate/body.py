"""What lies where in one simulated patient: tissue fractions on a grid in mm, and masks of what was put there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from radfoundry.records import InputError


@dataclass(frozen=True, eq=False)
class Body:
    """Tissue fractions `(tissues, I, J, K)`; what is missing to 1 is air. The affine leads to RAS mm.

    `truth` holds shares `(I, J, K)` of things to be found (lesions, organs), on the same grid. `gain` `(I, J, K)`
    multiplies the signal of every voxel: the texture of tissue, the same in every sequence; None is 1 everywhere.
    """

    tissues: tuple[str, ...]
    fractions: torch.Tensor
    affine: np.ndarray
    truth: Mapping[str, torch.Tensor] = field(default_factory=dict)
    gain: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.fractions.ndim != 4 or len(self.tissues) != self.fractions.shape[0]:
            raise InputError(f"{len(self.tissues)} tissues for fractions of shape {tuple(self.fractions.shape)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid shape."""
        _, i, j, k = self.fractions.shape
        return (i, j, k)

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def share(self, tissue: str) -> torch.Tensor:
        """The fraction map of one tissue; zeros where this body has none of it."""
        if tissue in self.tissues:
            return self.fractions[self.tissues.index(tissue)]
        return torch.zeros(self.shape)

    def with_inclusion(self, tissue: str, share: torch.Tensor, *, name: str = "") -> Body:
        """The same body with a share of every voxel turned into another tissue; the rest shrinks in proportion.

        The sum of all fractions changes only where the inclusion replaces air. `name` keeps the share as truth.
        """
        kept = self.fractions * (1 - share)
        if tissue in self.tissues:
            names = self.tissues
            kept[names.index(tissue)] += share
        else:
            names = (*self.tissues, tissue)
            kept = torch.cat([kept, share[None]])
        truth = {key: value * (1 - share) for key, value in self.truth.items()} if name else dict(self.truth)
        if name:
            truth[name] = truth.get(name, torch.zeros_like(share)) + share
        return Body(names, kept, self.affine, truth, self.gain)
