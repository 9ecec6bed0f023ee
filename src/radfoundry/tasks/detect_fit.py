"""Teaching a detector: from boxes, from image labels, or from both at once; the same network and the same steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.data.boxes import moved_boxes
from radfoundry.losses.heat_map import box_loss, heat_loss, heat_targets, image_loss
from radfoundry.nets import detector
from radfoundry.records import InputError
from radfoundry.tasks.detect import Example

Progress = Callable[[str, int, int], None]
BOX_WEIGHT = 0.1


@dataclass(frozen=True)
class Fit:
    """How long and how fast: gradient steps, images a step, highest learning rate."""

    steps: int = 300
    batch: int = 16
    rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.rate > 0:
            raise InputError("steps and batch must be at least 1, rate above 0", where="tune")


@dataclass(frozen=True, eq=False)
class Ready:
    """Examples as tensors: features or images `(n, …)`, boxes in cells, and the cells' size in voxels of the grid."""

    inputs: torch.Tensor
    boxes: list[torch.Tensor]
    present: torch.Tensor
    stride: np.ndarray


def ready(model: detector.Detector, examples: Sequence[Example]) -> Ready:
    """Images of one size stacked; for a frozen encoder its places are computed once."""
    shapes = {example.framed.array.shape for example in examples}
    largest = np.max([shape[1:] for shape in shapes], axis=0)
    padded = [_filled(example.framed.array, largest) for example in examples]
    images = torch.from_numpy(np.stack(padded))
    model.eval()
    with torch.no_grad():
        first = model.places(images[:1])
        stride = np.array([n / cells for n, cells in zip(images.shape[2:], first.shape[2:], strict=True)])
        if model.frozen:
            parts = [model.places(images[a : a + 4]) for a in range(0, len(images), 4)]
            images = torch.cat(parts)
    boxes = [in_cells(example, stride) for example in examples]
    return Ready(images, boxes, torch.tensor([example.present for example in examples]), stride)


def in_cells(example: Example, stride: np.ndarray) -> torch.Tensor:
    """An image's true boxes in cells of the map."""
    on_grid = moved_boxes(example.boxes, example.framed.step)
    return torch.from_numpy(on_grid / np.tile(stride, 2)).float().reshape(-1, 6)


def teach(
    model: detector.Detector,
    made: Ready,
    fit: Fit,
    *,
    boxed: np.ndarray,
    name: str = "detector",
    progress: Progress | None = None,
) -> None:
    """Adam with a rate that rises and falls once. `boxed` `(n,)`: images whose boxes may be used; the rest give only
    whether there is a finding."""
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(learned, lr=fit.rate)
    course = torch.optim.lr_scheduler.OneCycleLR(optimiser, fit.rate, total_steps=fit.steps + 1)
    draw = np.random.default_rng(fit.seed)
    model.train()
    order: list[int] = []
    for step in range(fit.steps):
        while len(order) < fit.batch:
            order += draw.permutation(len(made.inputs)).tolist()
        rows, order = order[: fit.batch], order[fit.batch :]
        loss = _loss(model, made, rows, boxed)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        course.step()
        if progress is not None:
            progress(f"teach {name}", step + 1, fit.steps)
    model.eval()


def _loss(model: detector.Detector, made: Ready, rows: list[int], boxed: np.ndarray) -> torch.Tensor:
    inputs = made.inputs[rows]
    drawn = model(inputs if model.frozen else model.places(inputs))
    shape = (int(drawn.heat.shape[1]), int(drawn.heat.shape[2]), int(drawn.heat.shape[3]))
    heat, values, there = heat_targets([made.boxes[row] for row in rows], shape)
    known = torch.from_numpy(boxed[rows].astype(np.float32))
    from_boxes = heat_loss(drawn.heat, heat, there)
    from_images = image_loss(drawn.heat, made.present[rows])
    total = (known * from_boxes + (1 - known) * from_images).mean()
    return total + BOX_WEIGHT * box_loss(drawn.boxes, values, there * known[:, None, None, None])


def _filled(array: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """An image filled up at its far ends, so that volumes of several sizes can be stacked."""
    missing = [(0, 0), *((0, int(n - have)) for n, have in zip(shape, array.shape[1:], strict=True))]
    return np.pad(array, missing, constant_values=float(array.min()))


@dataclass(frozen=True, eq=False)
class Marked:
    """What a detector says of one image: a score for the whole, ratings of marks, and their boxes in its own voxels."""

    score: float
    ratings: np.ndarray
    boxes: np.ndarray


def marks(model: detector.Detector, example: Example, *, most: int, by_image: bool = False) -> Marked:
    """The marks on one image, surest first. Scores are chances: of the surest mark, or of the mean of the map where
    the model was taught by image labels (`by_image`)."""
    model.eval()
    with torch.no_grad():
        image = torch.from_numpy(example.framed.array)[None]
        drawn = model(model.places(image))
    stride = np.array([n / cells for n, cells in zip(image.shape[2:], drawn.heat.shape[1:], strict=True)])
    ratings, cells = detector.peaks(drawn.heat[0], drawn.boxes[0], most=most)
    back = np.linalg.inv(example.framed.step)
    boxes = moved_boxes(cells.double().numpy() * np.tile(stride, 2), back)
    size = np.tile(np.array(example.series.shape[1:], float), 2)
    boxes = np.clip(boxes, 0, size)
    kept = (boxes[:, 3:] > boxes[:, :3]).all(axis=1)
    chance = ratings.sigmoid().double().numpy()
    score = float(drawn.heat.mean().sigmoid()) if by_image else float(drawn.heat.max().sigmoid())
    return Marked(score, chance[kept], boxes[kept])
