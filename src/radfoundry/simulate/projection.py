"""Line integrals through a body: parallel or cone-beam, along any direction, onto a flat detector."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.anatomy.shapes import Point


@dataclass(frozen=True)
class View:
    """How a film is taken and hung: the beam's direction, and where its rows and columns run, all in RAS."""

    name: str
    beam: Point
    row: Point
    column: Point

    @property
    def axes(self) -> np.ndarray:
        """Row, column and beam as the columns of a 3x3 matrix."""
        return np.array([self.row, self.column, self.beam], dtype=float).T

    def tilted(self, degrees: float, *, name: str = "") -> View:
        """The tube angled along the film's columns (towards its lower edge); rows stay as they are."""
        turn = math.radians(degrees)
        column, beam = np.array(self.column), np.array(self.beam)
        along = beam * math.cos(turn) + column * math.sin(turn)
        down = column * math.cos(turn) - beam * math.sin(turn)
        return View(name or self.name, _point(along), self.row, _point(down))


LEFT, RIGHT = (-1.0, 0.0, 0.0), (1.0, 0.0, 0.0)
FRONT, BACK = (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
HEAD, FEET = (0.0, 0.0, 1.0), (0.0, 0.0, -1.0)
# Frontal films hang as if the patient faced the reader; lateral films with the patient looking to the reader's left.
VIEWS = MappingProxyType(
    {
        "PA": View("PA", FRONT, LEFT, FEET),
        "AP": View("AP", BACK, LEFT, FEET),
        "LL": View("LL", LEFT, BACK, FEET),
        "RL": View("RL", RIGHT, BACK, FEET),
        "SKYLINE": View("SKYLINE", HEAD, LEFT, BACK),
    }
)


@dataclass(frozen=True)
class Film:
    """Where source and detector stand: distances along the beam, and the detector's pixels.

    `centre_mm` is the place in the body (RAS) that the central ray meets; `behind_mm` its distance to the
    detector. An infinite source distance gives parallel rays. `shape` counts pixels along rows and columns.
    """

    shape: tuple[int, int]
    pixel_mm: float
    centre_mm: Point = (0.0, 0.0, 0.0)
    source_mm: float = math.inf
    behind_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.pixel_mm <= 0 or min(self.shape) < 1:
            raise InputError(f"a detector of {self.shape} pixels of {self.pixel_mm} mm")
        if not self.source_mm > self.behind_mm >= 0:
            raise InputError(
                f"the source ({self.source_mm} mm) must be farther than the body ({self.behind_mm} mm)",
                remedy="distances are to the detector",
            )

    @property
    def magnification(self) -> float:
        """How much larger than life the centre appears: source-detector over source-object distance."""
        return 1.0 if math.isinf(self.source_mm) else self.source_mm / (self.source_mm - self.behind_mm)

    def finer(self, pixel_mm: float) -> Film:
        """The same detector area with pixels of another size."""
        ratio = self.pixel_mm / pixel_mm
        return replace(self, shape=(round(self.shape[0] * ratio), round(self.shape[1] * ratio)), pixel_mm=pixel_mm)


def project(maps: torch.Tensor, affine: np.ndarray, view: View, film: Film) -> torch.Tensor:
    """Line integrals `(C, columns, rows)` in mm of maps `(C, I, J, K)` along every ray from source to pixel.

    The body is cut into planes across the beam, one voxel apart; each is looked up where the ray meets it, by
    linear interpolation (0 outside). Rays far from the centre are longer by their obliquity.
    """
    sizes = np.array(maps.shape[-3:], dtype=float)
    inverse, axes = np.linalg.inv(affine), view.axes
    # Normalised lookup coordinates change linearly with a place's distance along row, column and beam.
    scale = 2 / np.maximum(sizes - 1, 1)
    steps = (inverse[:3, :3] @ axes) * scale[:, None]
    start = (inverse[:3, :3] @ np.array(film.centre_mm) + inverse[:3, 3]) * scale - 1
    depths, step_mm = _depths(affine, sizes, view, film)
    across = [(torch.arange(count, dtype=torch.float32) - (count - 1) / 2) * film.pixel_mm for count in film.shape]
    total = torch.zeros(maps.shape[0], *film.shape)
    for depth in depths.tolist():
        shrink = 1.0 if math.isinf(film.source_mm) else (film.source_mm - film.behind_mm + depth) / film.source_mm
        grid = torch.stack(
            [
                across[0][:, None] * float(steps[axis, 0] * shrink)
                + across[1][None] * float(steps[axis, 1] * shrink)
                + float(start[axis] + steps[axis, 2] * depth)
                for axis in (2, 1, 0)  # grid_sample wants the last axis first
            ],
            dim=-1,
        )
        total += torch.nn.functional.grid_sample(maps[None], grid[None, None], align_corners=True)[0, :, 0]
    return total * step_mm * _obliquity(across, film)


def project_smoothly(maps: torch.Tensor, affine: np.ndarray, view: View, film: Film) -> torch.Tensor:
    """The same as `project` for films much finer than the body: line integrals on a coarse film, then interpolated.

    The coarse pixels are 0.7 of the body's voxels, so nothing that the body holds is lost; bicubic between them.
    """
    spacing = float(np.linalg.norm(affine[:3, :3], axis=0).min()) * film.magnification
    pixel = max(film.pixel_mm, 0.7 * spacing)
    if pixel < 1.2 * film.pixel_mm:
        return project(maps, affine, view, film)
    first, second = (math.ceil(count * film.pixel_mm / pixel) + 1 for count in film.shape)
    coarse = project(maps, affine, view, replace(film, shape=(first, second), pixel_mm=pixel))
    lines = [
        (torch.arange(count, dtype=torch.float32) - (count - 1) / 2) * (2 * film.pixel_mm / (size - 1) / pixel)
        for count, size in zip(film.shape, (first, second), strict=True)
    ]
    across, down = torch.meshgrid(*lines, indexing="ij")
    grid = torch.stack([down, across], dim=-1)[None]
    fine = torch.nn.functional.grid_sample(
        coarse[None], grid, mode="bicubic", padding_mode="border", align_corners=True
    )
    return fine[0].clamp_min(0)


def _depths(affine: np.ndarray, sizes: np.ndarray, view: View, film: Film) -> tuple[np.ndarray, float]:
    """Places of the planes along the beam, from the centre; on voxel centres where the beam follows an axis."""
    beam = np.array(view.beam)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in sizes], indexing="ij")).reshape(3, -1).T
    places = (corners @ affine[:3, :3].T + affine[:3, 3] - np.array(film.centre_mm)) @ beam
    step = float(1 / np.abs(np.linalg.inv(affine)[:3, :3] @ beam).max())
    count = round((places.max() - places.min()) / step)
    depths = places.min() + step * np.arange(count + 1)
    if not math.isinf(film.source_mm) and film.source_mm - film.behind_mm + depths[0] <= 0:
        raise InputError("the source stands inside the body", remedy="move it away: a larger source_mm")
    return depths, step


def _obliquity(across: list[torch.Tensor], film: Film) -> torch.Tensor:
    if math.isinf(film.source_mm):
        return torch.ones(film.shape)
    square = (across[0] ** 2)[:, None] + (across[1] ** 2)[None]
    return (1 + square / film.source_mm**2).sqrt()


def film_affine(view: View, film: Film) -> np.ndarray:
    """Spacing and directions of a film, as its header can state them: no place in the patient, one mm thick.

    The directions are the nearest ones with a name; pixels are those of the detector, not of the body.
    """
    affine = np.eye(4)
    row, column = nearest_axis(view.row), nearest_axis(view.column)
    affine[:3, 0], affine[:3, 1] = row * film.pixel_mm, column * film.pixel_mm
    affine[:3, 2] = np.cross(row, column)
    return affine


def nearest_axis(direction: Point) -> np.ndarray:
    """The unit vector of the body axis that a direction is nearest to."""
    values = np.array(direction)
    axis = int(np.argmax(np.abs(values)))
    named = np.zeros(3)
    named[axis] = np.sign(values[axis])
    return named


def _point(values: np.ndarray) -> Point:
    return (float(values[0]), float(values[1]), float(values[2]))
