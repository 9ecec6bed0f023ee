"""What a training step is fed: images of patients, each seen in several views, with whatever is known about them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch


@dataclass(frozen=True, eq=False)
class Batch:
    """B patients in S views each; what is not known is None, and objectives that need it leave the batch out.

    images `(B, S, I, J, K)` prepared as the encoder asks · case `(B,)` a number no other sample of the run has ·
    step of the run · protocol `(B, S)` sequence index · settings `(B, S, 5)` as `simulate.stream.SETTINGS`, 0 where
    there is none · labels and lesion `(B, I, J, K)` of the first view's grid · centre_mm `(B, S, 3)` in the template ·
    shift `(B, S, 3)` first voxel of each view in the patient's common grid · age_years `(B,)` · quality `(B, S, Q)`
    physical parameters of image quality · site `(B,)` · findings `(B, F)` 0 or 1, -1 unknown · words `(B, T)` token
    numbers of the report, 0 beyond its end · study `(B,)` number of the study the report belongs to · concepts
    `(B, C, 3)` rows of first word, one past the last word, and concept number, -1 where there are fewer.
    """

    images: torch.Tensor
    case: torch.Tensor
    step: int = 0
    protocol: torch.Tensor | None = None
    settings: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    lesion: torch.Tensor | None = None
    centre_mm: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    age_years: torch.Tensor | None = None
    quality: torch.Tensor | None = None
    site: torch.Tensor | None = None
    findings: torch.Tensor | None = None
    words: torch.Tensor | None = None
    study: torch.Tensor | None = None
    concepts: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def views(self) -> int:
        """How many images there are of every patient."""
        return int(self.images.shape[1])

    @property
    def known(self) -> frozenset[str]:
        """The names of the facts this batch carries."""
        return frozenset(item.name for item in fields(self) if getattr(self, item.name) is not None)

    def to(self, device: str | torch.device) -> Batch:
        """The same batch on a device."""
        moved = {
            item.name: value.to(device, non_blocking=True)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), torch.Tensor)
        }
        return replace(self, **moved)
