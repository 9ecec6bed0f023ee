"""The images behind rows: prepared as an encoder asks, as pixels or as the encoder's places on a coarse grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from radfoundry.nets import embedding
from radfoundry.records import Case, InputError, Series

MOST_BYTES = 1 << 29  # prepared images kept in memory; beyond it they are read again
MOST_PLACES = {2: 14, 3: 6}  # per axis; a head looks at where, not at every voxel


@dataclass(eq=False)
class Views:
    """Images of a table's series, read when they are asked for; places are kept, because they are small.

    `cases` are the exams by their key, where somebody asks for what is known of the patient.
    """

    series: tuple[Series, ...]
    encoder: Any
    folder: str | None
    kept: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    pixels: dict[int, np.ndarray] = field(default_factory=dict)
    room: int = MOST_BYTES
    cases: Mapping[str, Case] = field(default_factory=dict)

    def images(self, rows: Sequence[int] | np.ndarray) -> torch.Tensor:
        """(rows, channels, I, J, K) prepared as the encoder's spec says."""
        return torch.from_numpy(np.stack([self._image(int(row)) for row in rows]))

    def _image(self, row: int) -> np.ndarray:
        """One prepared image, from memory as long as there is room for it."""
        if row not in self.pixels:
            spec = self.encoder.spec
            image = embedding.image_of(self.series[row], embedding.plan_for(spec), spec, self.folder)
            if image.nbytes > self.room:
                return image
            self.room -= image.nbytes
            self.pixels[row] = image
        return self.pixels[row]

    def places(self, rows: Sequence[int] | np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled (rows, width) and places (rows, count, width) as the frozen encoder sees them."""
        for row in rows:
            if int(row) not in self.kept:
                with torch.no_grad():
                    pooled, places = seen(self.encoder, self.images([int(row)]))
                self.kept[int(row)] = (pooled[0].numpy(), places[0].numpy().astype(np.float16))
        pooled, places = zip(*(self.kept[int(row)] for row in rows), strict=True)
        return torch.from_numpy(np.stack(pooled)), torch.from_numpy(np.stack(places)).float()


def seen(encoder: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled vector and places on a grid of at most MOST_PLACES per axis; refuses an encoder without places."""
    features = encoder.encode(images)
    if features.tokens is None or features.grid is None:
        raise InputError(f"{encoder.spec.name} gives no places", remedy="use rung=frozen", finding="no-places")
    most = MOST_PLACES[encoder.spec.dimensions]
    first, second, third = (min(most, int(n)) for n in features.grid)
    maps = features.tokens.transpose(1, 2).reshape(len(images), -1, *features.grid)
    if (first, second, third) != tuple(features.grid):
        maps = nn.functional.adaptive_avg_pool3d(maps, (first, second, third))
    return features.pooled.float(), maps.flatten(2).transpose(1, 2).float()
