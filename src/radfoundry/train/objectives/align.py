"""Image and report side by side: each exam's images have to find its report, and the report its images."""

from __future__ import annotations

import math

import torch
from torch import nn

from radfoundry.losses.contrastive import info_nce, region_concepts, sigmoid_pairs
from radfoundry.nets.aligned import projection
from radfoundry.records import InputError
from radfoundry.train.processes import gather
from radfoundry.train.scene import Scene, Shapes, Terms

LARGEST_SCALE = 100.0


class Align(nn.Module):
    """Projections of image and report into one space, with a learned temperature."""

    needs: tuple[str, ...] = ("words", "study")

    def __init__(
        self,
        shapes: Shapes,
        *,
        width: int,
        by: str,
        same_findings: bool,
        bias: float = -10.0,
        together: bool = False,
    ) -> None:
        super().__init__()
        self.by, self.same_findings, self.together = by, same_findings, together
        self.image = projection(shapes.pooled, width)
        self.report = projection(shapes.text_width, width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.bias = nn.Parameter(torch.tensor(bias)) if by == "sigmoid" else None

    def forward(self, scene: Scene) -> Terms:
        """The loss, and `found`: the share of images whose own study's report is the nearest in the batch."""
        views = 1 if self.together else scene.views
        seen = scene.clean.pooled
        if self.together:
            seen = seen.reshape(len(scene.batch), scene.views, -1).mean(dim=1)
        images = gather(self.image(seen))
        reports = gather(self.report(scene.reading.pooled))
        belongs = self.pairs(scene, views=views)
        scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        if self.bias is not None:
            loss = sigmoid_pairs(images, reports, scale=scale, bias=self.bias, positives=belongs)
        else:
            # Every view of a patient meets every report: one square set of pairs for each view.
            sets = images.reshape(-1, views, images.shape[1]).transpose(0, 1)
            square = belongs.reshape(-1, views, belongs.shape[1]).transpose(0, 1)
            loss = torch.stack(
                [
                    info_nce(rows, reports, temperature=1 / scale, positives=pairs.float())
                    for rows, pairs in zip(sets, square, strict=True)
                ]
            ).mean()
        nearest = (nn.functional.normalize(images, dim=1) @ nn.functional.normalize(reports, dim=1).T).argmax(dim=1)
        found = belongs.gather(1, nearest[:, None]).float().mean()
        return {"loss": loss, "found": found}

    def pairs(self, scene: Scene, *, views: int) -> torch.Tensor:
        """`(images, reports)` booleans: of one study, or of one picture of findings; `views` rows of each patient."""
        study = scene.batch.study if scene.batch.study is not None else scene.batch.case
        belongs = gather(study.repeat_interleave(views))[:, None] == gather(study)[None]
        if self.same_findings and scene.batch.findings is not None:
            said = gather(scene.batch.findings)
            ours = gather(scene.batch.findings.repeat_interleave(views, dim=0))
            belongs = belongs | ((ours[:, None] == said[None]) & (said[None] >= 0)).all(dim=2)
        return belongs


class Concepts(nn.Module):
    """Concepts named in a report have to be found at some place of its image, and nowhere in the others'."""

    needs: tuple[str, ...] = ("words", "concepts")

    def __init__(self, shapes: Shapes, *, width: int, as_released: bool, bias: float = -10.0) -> None:
        super().__init__()
        self.as_released = as_released
        self.patch = projection(shapes.width, width)
        self.word = projection(shapes.text_width, width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, scene: Scene) -> Terms:
        """The loss over all concepts named in the batch."""
        spans = scene.batch.concepts if scene.batch.concepts is not None else torch.empty(0)
        vectors = gather(span_means(self.word(scene.reading.tokens), spans).flatten(0, 1))
        number = gather(spans[:, :, 2])
        patches = gather(self.patch(scene.clean.tokens))
        owner = torch.arange(len(number), device=number.device).repeat_interleave(number.shape[1])
        named = number.flatten() >= 0
        image = torch.arange(len(number), device=number.device).repeat_interleave(scene.views)
        belongs = image[:, None] == owner[None, named]
        also = (number[image][:, :, None] == number.flatten()[None, None, named]).any(dim=1)
        scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        ignore = None if self.as_released else also
        if not bool(named.any()):
            return {"loss": (vectors.sum() + patches.sum() + self.bias + scale) * 0.0}
        loss = region_concepts(patches, vectors[named], belongs, scale=scale, bias=self.bias, ignore=ignore)
        return {"loss": loss / len(image)}


def span_means(tokens: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
    """`(B, T, D)` tokens and `(B, C, 3)` spans to `(B, C, D)`, the mean token of each span."""
    place = torch.arange(tokens.shape[1], device=tokens.device)
    inside = ((place >= spans[:, :, :1]) & (place < spans[:, :, 1:2])).to(tokens.dtype)
    return torch.einsum("bct,btd->bcd", inside, tokens) / inside.sum(dim=2, keepdim=True).clamp_min(1)


def build(
    shapes: Shapes,
    *,
    width: int = 128,
    by: str = "softmax",
    same_findings: bool = True,
    bias: float = -10.0,
    together: bool = False,
) -> Align:
    """Image-report alignment with study-level soft targets (Decipher-MR stage 2; sigmoid as SigLIP and ConceptCLIP).

    by: `softmax` or `sigmoid`. same_findings: reports that state the same findings count as partners too, where the
    findings are known, so that two normal exams are no negatives of each other; turn it off where reports tell more
    than their findings, for example which part of the body is shown. bias: where the sigmoid's bias starts; the
    published -10 is for thousands of pairs a step, about minus the logarithm of the batch suits small ones. together:
    the mean of a patient's views meets the report, and not each view by itself, for findings that only one shows.
    """
    if by not in ("softmax", "sigmoid"):
        raise InputError(f"by={by!r}", where="objective align", remedy="softmax or sigmoid")
    need_reports(shapes, "align")
    same = same_findings and shapes.findings > 0
    return Align(shapes, width=width, by=by, same_findings=same, bias=float(bias), together=together)


def build_concepts(shapes: Shapes, *, width: int = 128, as_released: bool = False, bias: float = -10.0) -> Concepts:
    """Region-concept alignment (ConceptCLIP, arXiv 2501.15579); give it beside `{name: align, by: sigmoid}`.

    A concept that another image's report names too is no negative of that image; as_released counts it as one, as the
    released code does. bias: as in `align`.
    """
    need_reports(shapes, "concepts")
    return Concepts(shapes, width=width, as_released=as_released, bias=float(bias))


def need_reports(shapes: Shapes, name: str) -> None:
    """Refuse an objective on reports where the data have none."""
    if shapes.vocabulary < 1:
        raise InputError("there are no reports to learn from", where=f"objective {name}", remedy="set reports=true")
