"""Same anatomy, other sequence: features of the two have to find each other, for the whole crop and place by place."""

from __future__ import annotations

import torch
from torch import nn

from radfoundry.losses.contrastive import info_nce
from radfoundry.records import InputError
from radfoundry.train import draws
from radfoundry.train.processes import gather
from radfoundry.train.scene import Scene, Shapes, Terms, as_map, perceptron

FEATURES = ("pooled", "places")


class Contrast(nn.Module):
    """InfoNCE between two views of the same anatomy against the other patients of the whole batch."""

    needs: tuple[str, ...] = ()

    def __init__(self, shapes: Shapes, *, width: int, temperature: float, dense: float, of: str, places: int) -> None:
        super().__init__()
        self.shapes, self.temperature, self.dense, self.of, self.places = shapes, temperature, dense, of, places
        self.whole = perceptron(shapes.pooled if of == "pooled" else shapes.width, 2 * width, width)
        self.local = perceptron(shapes.width, 2 * width, width) if dense > 0 else None

    def forward(self, scene: Scene) -> Terms:
        """Terms `global` and `dense` (InfoNCE, at most log of the batch) and their weighted sum."""
        features = scene.clean
        whole = features.pooled if self.of == "pooled" else features.tokens.mean(dim=1)
        first, second = scene.paired(self.whole(whole))
        together = same_pictures(scene)
        terms = {"global": info_nce(gather(first), gather(second), temperature=self.temperature, positives=together)}
        terms["loss"] = terms["global"]
        if self.local is not None:
            terms["dense"] = self.place_by_place(scene, features.tokens)
            terms["loss"] = terms["global"] + self.dense * terms["dense"]
        return terms

    def place_by_place(self, scene: Scene, tokens: torch.Tensor) -> torch.Tensor:
        """The same place in the other sequence against that place in other patients.

        Other places of the same image are no negatives: the code of their position would give them away.
        """
        step = torch.tensor([scene.batch.step])
        some = draws.uniform(step, self.shapes.places, seed=scene.seed, purpose="places")[0].argsort()[: self.places]
        some = some.to(tokens.device)
        other, there = scene.partners_here(as_map(tokens, self.shapes.grid))
        moved = other.flatten(2).transpose(1, 2).to(tokens.dtype)
        ours = self.projected(scene.paired(tokens)[0][:, some])
        theirs = self.projected(scene.paired(moved)[0][:, some])
        counted = gather(scene.paired(there.flatten(1)[:, some].float())[0]).T
        first, second = (gather(part).transpose(0, 1) for part in (ours, theirs))
        return info_nce(first, second, temperature=self.temperature, weight=counted)

    def projected(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens where they are compared."""
        return tokens if self.local is None else self.local(tokens)


def same_pictures(scene: Scene) -> torch.Tensor | None:
    """`(B, B)` 1 where two rows are one exam: its whole films drawn twice in a step are no negatives of each other.

    None for volumes, of which every row shows another part.
    """
    if scene.images.shape[-1] > 1 or scene.batch.study is None:
        return None
    study = gather(scene.batch.study)
    return (study[:, None] == study[None]).float()


def build(
    shapes: Shapes,
    *,
    width: int = 128,
    temperature: float = 0.1,
    dense: float = 0.5,
    of: str = "pooled",
    places: int = 64,
) -> Contrast:
    """Same-anatomy contrast (SimCLR, Chen et al. 2020; dense as in DenseCL, Wang et al. 2021).

    width of the projections; dense: weight of the place-by-place part, 0 leaves it out; of: `pooled` or `places`
    (the mean of the tokens) for the whole; places: how many are compared in a step.
    """
    if of not in FEATURES:
        raise InputError(f"of={of!r} is no kind of feature", where="objective contrast", remedy="pooled or places")
    if shapes.views < 2:
        raise InputError("contrast needs two views of a patient", where="crops.views", remedy="set crops.views=2")
    return Contrast(shapes, width=width, temperature=temperature, dense=dense, of=of, places=places)
