"""An encoder that stays as it is while words learn to meet it: its features are worked out once and remembered."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from radfoundry.records import Features
from radfoundry.train.scene import Scene

Row = tuple[torch.Tensor, torch.Tensor | None]


@dataclass(eq=False)
class Locked:
    """Features without gradient; with `remember` those of a study are kept, as every showing has the same images.

    Locked-image tuning: Zhai et al. 2022 (LiT). grid: of places, known after the first batch.
    """

    remember: bool
    rows: dict[int, Row] = field(default_factory=dict)
    grid: tuple[int, ...] | None = None

    @torch.no_grad()
    def features(self, scene: Scene) -> Features:
        """What the encoder makes of a scene's images."""
        study = scene.batch.study
        if not self.remember or study is None:
            return scene.encoder.encode(scene.images)
        numbers = [int(number) * scene.views + view for number in study.tolist() for view in range(scene.views)]
        missing = sorted({row for row, number in enumerate(numbers) if number not in self.rows})
        if missing:
            made = scene.encoder.encode(scene.images[missing])
            self.grid = made.grid
            for place, row in enumerate(missing):
                tokens = None if made.tokens is None else made.tokens[place].half()
                self.rows[numbers[row]] = (made.pooled[place].float(), tokens)
        kept = [self.rows[number] for number in numbers]
        tokens = [token for _, token in kept if token is not None]
        pooled = torch.stack([row for row, _ in kept])
        return Features(pooled=pooled, tokens=torch.stack(tokens).float() if tokens else None, grid=self.grid)
