"""Report and image restore each other: hidden places with the report's help, hidden words with the image's."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from radfoundry.losses.distillation import finding_similarity
from radfoundry.losses.reconstruction import masked_distance, patches_of
from radfoundry.records import InputError
from radfoundry.text.tokens import MASK, PAD, START
from radfoundry.train import draws
from radfoundry.train.objectives.align import need_reports
from radfoundry.train.objectives.masked import block_mask, hide
from radfoundry.train.objectives.supervised import each_view
from radfoundry.train.processes import gather
from radfoundry.train.scene import Scene, Shapes, Terms


class CrossAttention(nn.Module):
    """Tokens of one kind look at tokens of the other; a gate that starts half open decides how much is taken over."""

    def __init__(self, width: int, other: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.look = nn.MultiheadAttention(width, heads, kdim=other, vdim=other, batch_first=True)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: torch.Tensor, other: torch.Tensor, empty: torch.Tensor | None = None) -> torch.Tensor:
        """`(B, N, width)` and `(B, M, other)` to `(B, N, width)`; empty `(B, M)` are left out."""
        seen, _ = self.look(self.norm(tokens), other, other, key_padding_mask=empty, need_weights=False)
        return tokens + torch.sigmoid(self.gate) * seen


class Guided(nn.Module):
    """Masked image modelling with the report as context, and masked word modelling with the image as context."""

    needs: tuple[str, ...] = ("words",)

    def __init__(self, shapes: Shapes, *, width: int, mask_ratio: float, word_ratio: float, weight: float) -> None:
        super().__init__()
        self.shapes, self.mask_ratio, self.word_ratio, self.weight = shapes, mask_ratio, word_ratio, weight
        self.image_reads = CrossAttention(shapes.width, shapes.text_width, max(1, shapes.width // 32))
        self.report_looks = CrossAttention(shapes.text_width, shapes.width, max(1, shapes.text_width // 32))
        self.voxels = nn.Sequential(
            nn.LayerNorm(shapes.width), nn.Linear(shapes.width, width), nn.GELU(), nn.Linear(width, shapes.patch_voxels)
        )
        self.words = nn.Sequential(nn.LayerNorm(shapes.text_width), nn.Linear(shapes.text_width, shapes.vocabulary))

    def forward(self, scene: Scene) -> Terms:
        """Terms `voxels` (mean squared difference at hidden places) and `words` (cross-entropy of hidden words)."""
        words = scene.batch.words.long() if scene.batch.words is not None else torch.empty(0)
        hidden = block_mask(
            scene.row, self.shapes.grid, share=self.mask_ratio, block=2, seed=scene.seed, purpose="guided"
        )
        tokens = scene.encoder.encode(hide(scene.images, hidden, self.shapes.grid)).tokens
        empty = each_view(scene, words == PAD)
        read = self.image_reads(tokens, each_view(scene, scene.reading.tokens), empty)
        truth = patches_of(scene.targets, self.shapes.grid)
        weight = hidden.flatten(1)[:, :, None].float()
        voxels = masked_distance(self.voxels(read), truth, weight=weight, power=2)
        spoken = self.hidden_words(scene, words)
        return {"loss": voxels + self.weight * spoken, "voxels": voxels, "words": spoken}

    def hidden_words(self, scene: Scene, words: torch.Tensor) -> torch.Tensor:
        """What the hidden words were, told from the others and the patient's first image."""
        chance = draws.uniform(scene.batch.case, words.shape[1], seed=scene.seed, purpose="words")
        asked = (chance < self.word_ratio) & (words != PAD) & (words != START)
        left = scene.text.encode(words.masked_fill(asked, MASK)).tokens
        places = scene.clean.tokens.reshape(len(words), scene.views, -1, self.shapes.width)[:, 0]
        logits = self.words(self.report_looks(left, places)).float()
        cost = cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="none").reshape(words.shape)
        return ((cost * asked).sum(dim=1) / asked.sum(dim=1).clamp_min(1)).mean()


class Similar(nn.Module):
    """Patients whose reports say alike things get alike images."""

    needs: tuple[str, ...] = ("words",)

    def __init__(self, shapes: Shapes, *, width: int, high: float, low: float) -> None:
        super().__init__()
        self.high, self.low, self.vocabulary = high, low, shapes.vocabulary
        self.image = nn.Sequential(nn.LayerNorm(shapes.pooled), nn.Linear(shapes.pooled, width))

    def forward(self, scene: Scene) -> Terms:
        """Mean gap between likeness of images and likeness of reports."""
        words = scene.batch.words if scene.batch.words is not None else torch.empty(0)
        counted = nn.functional.one_hot(words.long(), self.vocabulary)[:, :, MASK + 1 :].sum(dim=1).float()
        images = gather(self.image(scene.clean.pooled))
        said = gather(each_view(scene, counted))
        # Words that every report has say nothing: weigh each by how rare it is in the batch.
        rare = torch.log(len(said) / (said > 0).sum(dim=0).clamp_min(1))
        return {"loss": finding_similarity(images, said.sqrt() * rare, high=self.high, low=self.low)}


def build(
    shapes: Shapes, *, width: int = 256, mask_ratio: float = 0.5, word_ratio: float = 0.15, words: float = 1.0
) -> Guided:
    """Report-guided reconstruction (MG-3D, arXiv 2412.05876): L1 and L2 of its losses.

    mask_ratio and word_ratio: hidden shares of places and words; words: weight of the word part.
    """
    need_reports(shapes, "guided")
    if not 0 < mask_ratio < 1 or not 0 < word_ratio < 1:
        raise InputError("hidden shares lie between 0 and 1", where="objective guided")
    return Guided(shapes, width=width, mask_ratio=mask_ratio, word_ratio=word_ratio, weight=words)


def build_similar(shapes: Shapes, *, width: int = 128, high: float = 0.75, low: float = 0.25) -> Similar:
    """Finding-similarity targets (MG-3D): the cosine matrix of images follows that of their reports' words.

    high, low: quantiles of the reports' likeness above which it is the target and below which it is 0. For global
    image-report contrast give `align` beside it: contrasting fused vectors, as published, leaks the report.
    """
    need_reports(shapes, "similar")
    return Similar(shapes, width=width, high=high, low=low)
