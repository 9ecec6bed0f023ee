"""Structure and style apart: one branch for the anatomy, one for the sequence, each kept from knowing the other."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from radfoundry.losses.contrastive import info_nce
from radfoundry.losses.reconstruction import image_of, known_regression, masked_distance, patches_of
from radfoundry.losses.separation import cross_covariance, looks_made, looks_real, reverse_gradient
from radfoundry.records import InputError
from radfoundry.train import draws
from radfoundry.train.objectives.metadata import sequence_loss
from radfoundry.train.objectives.translate import SETTINGS, flat, standard
from radfoundry.train.processes import gather
from radfoundry.train.scene import Scene, Shapes, Terms, as_map, perceptron


@dataclass(frozen=True)
class Weights:
    """How much each part of the separation counts; 0 leaves a part out.

    invariance: structure alike in both renderings · style: sequence and settings from the style branch · hide: the
    structure branch must not give the sequence away · covariance: the branches must not move together · rebuild: the
    image from structure and style · adversarial: made images must look real (learned synthesis only).
    """

    invariance: float = 1.0
    style: float = 1.0
    hide: float = 0.1
    covariance: float = 1.0
    rebuild: float = 1.0
    adversarial: float = 0.0


class Separate(nn.Module):
    """Two branches on the tokens; `structure` and `style` are what a downstream task takes."""

    needs: tuple[str, ...] = ("protocol", "settings")

    def __init__(self, shapes: Shapes, weights: Weights, *, width: int, learned: bool, as_released: bool) -> None:
        super().__init__()
        self.shapes, self.weights, self.learned, self.as_released = shapes, weights, learned, as_released
        self.structure_branch = branch(shapes.width, width)
        self.style_branch = branch(shapes.width, width)
        self.project = perceptron(width, width, width)
        self.sequence = perceptron(width, width, max(1, shapes.protocols))
        self.settings = perceptron(width, width, SETTINGS)
        self.spy = perceptron(width, width, max(1, shapes.protocols))
        self.residual = nn.Linear(shapes.width, width) if as_released else None
        self.tune = nn.Linear(width, 2 * width)
        self.decoder = nn.Sequential(
            nn.GELU(), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, shapes.patch_voxels)
        )
        self.imagine = imagined_style(width) if learned else None
        self.judge = patch_judge() if weights.adversarial > 0 else None

    def structure(self, tokens: torch.Tensor) -> torch.Tensor:
        """`(rows, places, width)`: the anatomy half."""
        return self.structure_branch(tokens)

    def style(self, tokens: torch.Tensor) -> torch.Tensor:
        """`(rows, width)`: the sequence half, one vector per image."""
        return self.style_branch(tokens).mean(dim=1)

    def forward(self, scene: Scene) -> Terms:
        """Every part as a term, and their weighted sum."""
        tokens = scene.clean.tokens
        structure, style = self.structure(tokens), self.style(tokens)
        overall = structure.mean(dim=1)
        protocol, settings = flat(scene.batch.protocol).long(), flat(scene.batch.settings)
        terms: Terms = {
            "style": sequence_loss(self.sequence(style), protocol)
            + known_regression(self.settings(style), standard(settings), (settings != 0).float()),
            "hide": sequence_loss(self.spy(reverse_gradient(overall)), protocol),
            "covariance": cross_covariance(gather(overall), gather(style)),
            "rebuild": self.rebuilt(scene, structure, style),
        }
        terms |= self.imagined(scene, structure) if self.learned else {"invariance": self.rendered(scene, overall)}
        loss = torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()
        return {**terms, "loss": loss}

    def rendered(self, scene: Scene, overall: torch.Tensor) -> torch.Tensor:
        """The same anatomy in the other sequence has to have the same structure: InfoNCE between true renderings."""
        first, second = scene.paired(self.project(overall))
        return info_nce(gather(first), gather(second), temperature=0.1)

    def rebuilt(self, scene: Scene, structure: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Each image from its own style and, with two views, from the other view's structure."""
        swapped, weight = structure, None
        if scene.views > 1 and not self.as_released:
            other, there = scene.partners_here(as_map(structure, self.shapes.grid))
            swapped = other.flatten(2).transpose(1, 2).to(structure.dtype)
            weight = there.flatten(1)[:, :, None].float()
        truth = patches_of(scene.targets, self.shapes.grid)
        return masked_distance(self.decode(swapped, style, scene.clean.tokens), truth, weight=weight)

    def decode(self, structure: torch.Tensor, style: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """`(rows, places, voxels)`: style stretches and shifts what structure says of every place."""
        stretch, shift = self.tune(style)[:, None].chunk(2, dim=-1)
        joined = structure * (1 + stretch) + shift
        return self.decoder(joined if self.residual is None else joined + self.residual(tokens))

    def imagined(self, scene: Scene, structure: torch.Tensor) -> Terms:
        """A made-up style repaints the image; its structure has to stay, and a judge has to take it for real."""
        noise = draws.normal(scene.row, structure.shape[2], seed=scene.seed, purpose="style")
        noise = noise / noise.square().mean(dim=1, keepdim=True).sqrt()
        style = self.imagine(noise) if self.imagine is not None else noise
        tokens = scene.clean.tokens
        if self.as_released:
            structure, tokens = structure.detach(), tokens.detach()
        patches = self.decode(structure, style, tokens)
        made = image_of(patches, self.shapes.grid, self.shapes.crop)[:, None]
        with contextlib.ExitStack() as still:
            for module in (scene.encoder, self.structure_branch, self.project) if self.as_released else ():
                still.enter_context(frozen(module))
            again = self.project(self.structure(scene.encoder.encode(made).tokens).mean(dim=1))
            own = self.project(structure.mean(dim=1))
        terms = {"invariance": info_nce(gather(own), gather(again), temperature=0.5)}
        if self.judge is not None:
            judged = looks_real(self.judge(scene.targets[:, None])) + looks_made(self.judge(made.detach()))
            with frozen(self.judge):
                fooled = looks_real(self.judge(made))
            terms["adversarial"] = 0.5 * judged + 0.2 * fooled
        return terms


@contextlib.contextmanager
def frozen(module: Any) -> Generator[None]:
    """What is computed inside sends no gradient into the module's weights, only through them."""
    moving = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in moving:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in moving:
            weight.requires_grad_(True)


def branch(incoming: int, width: int) -> nn.Sequential:
    """Linear, norm, LeakyReLU for every place by itself, the 1x1x1 convolution of the paper."""
    return nn.Sequential(nn.Linear(incoming, width), nn.LayerNorm(width), nn.LeakyReLU(0.2))


def imagined_style(width: int) -> nn.Sequential:
    """Noise to a style, by four layers."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def patch_judge() -> nn.Sequential:
    """A small convolutional net that says of every region of an image whether it looks real."""
    layers: list[nn.Module] = []
    for incoming, outgoing in ((1, 16), (16, 32)):
        layers += [nn.Conv3d(incoming, outgoing, 4, 2, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv3d(32, 1, 3, 1, 1))


def build(
    shapes: Shapes,
    *,
    width: int = 128,
    weights: dict[str, float] | None = None,
    synthesis: str = "rendered",
    as_released: bool = False,
) -> Separate:
    """Structure and style apart (PRISM, arXiv 2508.07165).

    synthesis `rendered` takes the other sequence of the same patient from the data; `learned` paints it from noise, as
    the paper does, with weights.adversarial > 0 for its adversarial part. Beyond the paper: `hide` (gradient reversal)
    and `covariance`, because two branches do not separate by themselves; set their weights to 0 to leave them out.
    as_released: learned synthesis whose invariance sends no gradient into the encoder, and a decoder that also sees
    the tokens themselves, as in the released code.
    """
    if synthesis not in ("rendered", "learned"):
        raise InputError(f"synthesis={synthesis!r}", where="objective separate", remedy="rendered or learned")
    learned = synthesis == "learned" or as_released
    if not learned and shapes.views < 2:
        raise InputError("rendered synthesis needs two views", where="objective separate", remedy="set crops.views=2")
    known = set(Weights.__dataclass_fields__)
    for name in weights or {}:
        if name not in known:
            raise InputError(f"no part is called {name!r}", where="objective separate", remedy=", ".join(sorted(known)))
    parts = Weights(**(weights or {}))
    if parts.adversarial > 0 and not learned:
        raise InputError("nothing is made up here", where="objective separate", remedy="set synthesis=learned")
    return Separate(shapes, parts, width=width, learned=learned, as_released=as_released)
