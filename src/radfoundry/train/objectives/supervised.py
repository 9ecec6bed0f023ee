"""Learning from labels where there are some: findings of the report, and who resembles whom to a teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from radfoundry.losses.distillation import likeness_kept, relational
from radfoundry.records import InputError
from radfoundry.train import draws
from radfoundry.train.processes import gather
from radfoundry.train.scaling import scaled
from radfoundry.train.scene import Scene, Shapes, Terms, perceptron


class Supervised(nn.Module):
    """One yes-or-no head for every finding; unknown findings (-1) take no part.

    labelled: the share of patients whose findings are taken for known, the same ones whenever they come.
    """

    needs: tuple[str, ...] = ("findings",)

    def __init__(self, shapes: Shapes, *, width: int, labelled: float) -> None:
        super().__init__()
        self.labelled = labelled
        if shapes.findings < 1:
            raise InputError("there are no findings to learn", where="objective supervised", remedy="set reports=true")
        self.head = perceptron(shapes.pooled, width, shapes.findings)

    def forward(self, scene: Scene) -> Terms:
        """Mean binary cross-entropy over all images and findings."""
        truth = each_view(scene, scene.batch.findings).float()
        known = truth >= 0
        if self.labelled < 1:
            chosen = draws.uniform(scene.batch.case, 1, seed=0, purpose="labelled") < self.labelled
            known = known & each_view(scene, chosen)
        cost = binary_cross_entropy_with_logits(
            self.head(scene.clean.pooled).float(), truth.clamp_min(0), reduction="none"
        )
        return {"loss": (cost * known).sum() / known.sum().clamp_min(1)}


def each_view(scene: Scene, values: torch.Tensor | None) -> torch.Tensor:
    """What is known of a patient, once for each of the patient's images."""
    return torch.empty(0) if values is None else values.repeat_interleave(scene.views, dim=0)


class Relate(nn.Module):
    """The student ranks likeness between patients as a frozen teacher does, and keeps it at lower resolution."""

    needs: tuple[str, ...] = ()

    def __init__(self, teacher: Any, *, temperature: float, resolution: float, as_released: bool) -> None:
        super().__init__()
        self.teacher: Any = teacher.requires_grad_(False).eval() if teacher is not None else None
        self.temperature, self.resolution, self.as_released = temperature, resolution, as_released
        self.shuffled = False

    def attach(self, encoder: Any) -> None:
        """Without a checkpoint, the encoder as it is at the start is the teacher."""
        if self.teacher is None:
            import copy

            self.teacher = copy.deepcopy(encoder).requires_grad_(False).eval()

    def as_teacher_reads(self, scene: Scene) -> torch.Tensor:
        """The images under the teacher's own rule of intensities, which a change of scale and offset cannot upset."""
        rule = self.teacher.spec.intensity
        return scene.images if rule == scene.encoder.spec.intensity else scaled(scene.images[:, 0], rule)[:, None]

    def forward(self, scene: Scene) -> Terms:
        """Terms `relation` and, where asked for, `resolution`."""
        ours = gather(scene.clean.pooled)
        with torch.no_grad():
            theirs = gather(self.teacher.encode(self.as_teacher_reads(scene)).pooled)
            if self.shuffled:  # the negative control: relations of other patients
                theirs = theirs.roll(scene.views, dims=0)
        terms = {"relation": relational(ours, theirs, temperature=self.temperature, as_released=self.as_released)}
        terms["loss"] = terms["relation"]
        if self.resolution > 0:
            coarse = gather(scene.encoder.encode(halved(scene.images)).pooled)
            # As released, the coarse image is compared with itself: no more than a spread of the batch is learned.
            terms["resolution"] = likeness_kept(coarse, coarse if self.as_released else ours)
            terms["loss"] = terms["loss"] + self.resolution * terms["resolution"]
        return terms


def halved(images: torch.Tensor) -> torch.Tensor:
    """Images at half the resolution, back on their own grid."""
    small = interpolate(images, scale_factor=0.5, mode="trilinear", align_corners=False)
    return interpolate(small, size=images.shape[2:], mode="trilinear", align_corners=False)


def build(shapes: Shapes, *, width: int = 128, labelled: float = 1.0) -> Supervised:
    """Supervised heads on findings (the second stage of VersaMammo, arXiv 2509.20271).

    labelled: share of patients that have labels, to see what few of them are worth.
    """
    if not 0 < labelled <= 1:
        raise InputError(f"labelled={labelled} is not a share", where="objective supervised", remedy="0.1, for example")
    return Supervised(shapes, width=width, labelled=labelled)


def build_relate(
    shapes: Shapes,
    *,
    teacher: str | None = None,
    temperature: float = 0.1,
    resolution: float = 1.0,
    as_released: bool = False,
) -> Relate:
    """Relational distillation from a teacher (VersaMammo), by name or checkpoint; widths need not match.

    resolution: weight of the low-resolution part. as_released: the divergence the other way round and the coarse
    image compared with itself, as in the released code.
    """
    known = None
    if teacher is not None:
        from radfoundry.config import Component
        from radfoundry.nets import embedding

        known = embedding.open_encoder(Component(name=teacher))
    return Relate(known, temperature=temperature, resolution=resolution, as_released=as_released)
