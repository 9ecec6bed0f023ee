"""Rigid and affine registration: a search over shifts and turns, then least squares on descriptor maps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from radfoundry.data.resample import resample_to
from radfoundry.losses.similarity import descriptor_distance
from radfoundry.nets import warp
from radfoundry.volume import Geometry, Volume, points_to_voxels, points_to_world

Describe = Callable[[Volume, int], torch.Tensor]
RADIUS_MM = 70.0  # a turn of 1/70 rad and a stretch of 1/70 move a point at this distance by 1 mm
TURN = 0.3  # radians, the turns of the search
COARSE, FINE = 2, 1
KEPT = 3
POINTS = {COARSE: 1_500, FINE: 3_000}
LEAST_OVERLAP = 0.4
KEPT_OVERLAP = 0.5
DAMPING = (1e-3, 1e-6, 1e6)
SMALLEST_STEP_MM = 0.05
SETTLED_VOXELS = 0.1


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images ready to be matched: the fixed one on the working grid, what counts in it, and the moving one.

    `weight` `(I, J, K)` is 1 where the fixed image shows the patient, else 0. `least` is the share of it that the
    moving image has to reach: two images that hardly meet can be alike in the little they share.
    """

    fixed: Volume
    weight: torch.Tensor
    moving: Volume
    describe: Describe
    seed: int = 0
    least: float = LEAST_OVERLAP / 2
    known: dict[bytes, tuple[Volume, torch.Tensor]] = field(default_factory=dict)

    def brought(self, matrix: np.ndarray) -> tuple[Volume, torch.Tensor]:
        """The moving image on the working grid under a matrix, and where it reaches; the last few are kept."""
        key = matrix.tobytes()
        if key not in self.known:
            if len(self.known) >= KEPT:
                self.known.pop(next(iter(self.known)))
            self.known[key] = self._brought(matrix)
        return self.known[key]

    def _brought(self, matrix: np.ndarray) -> tuple[Volume, torch.Tensor]:
        grid = self.fixed.geometry
        placed = replace(self.moving, affine=np.linalg.solve(matrix, self.moving.affine))
        image = resample_to(placed, grid, antialias=False)
        step = np.linalg.solve(placed.affine, grid.affine)
        voxels = points_to_world(step, warp.grid(grid.shape).reshape(-1, 3).numpy())
        reach = warp.inside(self.moving.shape, torch.from_numpy(voxels)).reshape(grid.shape)
        return image, reach.float()


@dataclass(frozen=True, eq=False)
class Fit:
    """A matrix from fixed to moving mm and how unlike the two images are under it (mean squared difference)."""

    matrix: np.ndarray
    cost: float


def align(pair: Pair, *, kind: str, start: np.ndarray, turns: bool = False, passes: int = 5) -> Fit:
    """The best matrix of a kind (`rigid` or `affine`), 4x4 from fixed to moving mm.

    Shifts about the start, and with `turns` turns too, are searched; the best few are refined on a coarse grid and the
    best one finely.
    Descriptors are computed anew after each refinement, so that they need not be blind to turns. Nothing is
    accepted that shares less than half of what the two images share at the start.
    """
    pair = replace(pair, least=max(pair.least, KEPT_OVERLAP * _reached(pair, start)))
    candidates = [Fit(start, np.inf), *searched(pair, start, turns=turns)]
    coarse = [refined(pair, fit.matrix, kind="rigid", factor=COARSE) for fit in candidates]
    coarse.sort(key=lambda fit: fit.cost)
    best = coarse[0]
    if kind == "affine":
        best = refined(pair, best.matrix, kind=kind, factor=COARSE)
    for _ in range(passes):
        before, best = best.matrix, longer(pair, best.matrix, refined(pair, best.matrix, kind=kind, factor=FINE))
        if _moved(pair, before, best.matrix) < SETTLED_VOXELS * pair.fixed.spacing_mm[0]:
            break
    return best


def longer(pair: Pair, before: np.ndarray, fit: Fit) -> Fit:
    """The fit, or the same move made twice where that leaves the two images more alike.

    Descriptors turn with the image, so that a move found on those of the start falls short by about half.
    """
    twice = fit.matrix @ np.linalg.solve(before, fit.matrix)
    choices = [Fit(matrix, unlike(pair, matrix)) for matrix in (fit.matrix, twice)]
    return min(choices, key=lambda choice: choice.cost)


def unlike(pair: Pair, matrix: np.ndarray) -> float:
    """Mean squared difference of the descriptors of two images under a matrix, where both show something."""
    image, reach = pair.brought(matrix)
    weight = pair.weight * reach
    if float(weight.sum()) < pair.least * float(pair.weight.sum()):
        return float("inf")
    return float(descriptor_distance(pair.describe(pair.fixed, FINE), pair.describe(image, FINE), weight))


def _reached(pair: Pair, matrix: np.ndarray) -> float:
    """The share of the patient in the fixed image that the moving one reaches under a matrix."""
    _, reach = pair.brought(matrix)
    return float((pair.weight * reach).sum() / pair.weight.sum().clamp_min(1e-6))


def _moved(pair: Pair, one: np.ndarray, other: np.ndarray) -> float:
    """How far apart two matrices put the corners of the fixed image, at most, mm."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in pair.fixed.shape))))
    places = points_to_world(pair.fixed.affine, corners)
    return float(np.linalg.norm(points_to_world(one, places) - points_to_world(other, places), axis=1).max())


def searched(pair: Pair, start: np.ndarray, *, turns: bool) -> list[Fit]:
    """The best shift of the moving image from a start, or those for a few turns, best first.

    All shifts are tried at once by Fourier transform; those with little overlap are left out.
    """
    fixed = pair.describe(pair.fixed, COARSE)
    weight = warp.pooled(pair.weight[None], COARSE)[0]
    steps = pair.fixed.affine[:3, :3] * COARSE
    centre = _centre(pair)
    found = []
    for turn in _turns() if turns else [np.zeros(3)]:
        matrix = start @ _about(centre, turn)
        image, reach = pair.brought(matrix)
        shift, cost = best_shift(fixed, pair.describe(image, COARSE), weight, warp.pooled(reach[None], COARSE)[0])
        move = np.eye(4)
        move[:3, 3] = steps @ shift
        found.append(Fit(matrix @ move, cost))
    found.sort(key=lambda fit: fit.cost)
    return found[:KEPT]


def best_shift(
    fixed: torch.Tensor, moving: torch.Tensor, weight: torch.Tensor, reach: torch.Tensor
) -> tuple[np.ndarray, float]:
    """The whole-voxel shift t for which `moving(x + t)` is most like `fixed(x)`, and the mean squared difference.

    fixed, moving `(C, I, J, K)`; weight and reach `(I, J, K)`. Source: Padfield 2012, IEEE TIP 21:2706 (masked
    correlation by Fourier transform).
    """
    size = [2 * n for n in fixed.shape[1:]]
    seen = (reach > 0.5).float()

    def forward(values: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfftn(values, s=size, dim=(-3, -2, -1))

    def back(product: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfftn(product, s=size, dim=(-3, -2, -1))

    here, there = forward(weight), forward(seen)
    overlap = back(here.conj() * there)
    squares = back(forward(weight * (fixed**2).sum(dim=0)).conj() * there)
    squares = squares + back(here.conj() * forward(seen * (moving**2).sum(dim=0)))
    squares = squares - 2 * back((forward(weight * fixed).conj() * forward(seen * moving)).sum(dim=0))
    cost = squares / overlap.clamp_min(1e-3) / len(fixed)
    cost = torch.where(overlap >= LEAST_OVERLAP * overlap.max(), cost, torch.inf)
    flat = int(cost.argmin())
    place = np.array(np.unravel_index(flat, cost.shape))
    shift = np.where(place >= np.array(cost.shape) / 2, place - np.array(cost.shape), place)
    return shift.astype(float), float(cost.flatten()[flat])


def refined(pair: Pair, start: np.ndarray, *, kind: str, factor: int, steps: int = 25) -> Fit:
    """Least squares (Levenberg-Marquardt) on descriptor maps from a start, over points of the fixed image."""
    image, reach = pair.brought(start)
    problem = _Problem.of(pair, pair.describe(image, factor), warp.pooled(reach[None], factor)[0], factor)
    basis = generators(kind, _centre(pair))
    moves = problem.moves(basis)
    move, cost = np.eye(4), problem.cost(np.eye(4))
    damping, least, most = DAMPING
    for _ in range(steps):
        normal, slope = problem.normal(move, moves)
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), -slope)
        trial = move @ _expm(np.einsum("k,kab->ab", step, basis))
        trial_cost = problem.cost(trial)
        if trial_cost < cost:
            move, cost, damping = trial, trial_cost, max(damping / 10, least)
        else:
            damping *= 10
        if damping > most or np.abs(step).max() < SMALLEST_STEP_MM:
            break
    return Fit(start @ move, cost)


def generators(kind: str, centre: np.ndarray) -> np.ndarray:
    """The small moves a transform may make, `(6 or 12, 4, 4)`: shifts of 1 mm, turns and stretches of 1 mm at 70 mm."""
    moves = []
    for axis in range(3):
        shift = np.zeros((4, 4))
        shift[axis, 3] = 1.0
        moves.append(shift)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        turn = np.zeros((3, 3))
        turn[a, b], turn[b, a] = -1 / RADIUS_MM, 1 / RADIUS_MM
        moves.append(_linear(turn, centre))
    if kind == "affine":
        for a, b in itertools.combinations_with_replacement(range(3), 2):
            stretch = np.zeros((3, 3))
            stretch[a, b] = stretch[b, a] = 1 / RADIUS_MM
            moves.append(_linear(stretch, centre))
    return np.stack(moves)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Points of the fixed image with their descriptors, and the moving map they are compared with."""

    points: np.ndarray
    wanted: torch.Tensor
    maps: torch.Tensor
    values: torch.Tensor
    affine: np.ndarray
    channels: int
    least: float = LEAST_OVERLAP / 2

    @classmethod
    def of(cls, pair: Pair, moving: torch.Tensor, reach: torch.Tensor, factor: int) -> _Problem:
        grid = coarser(pair.fixed.geometry, factor)
        fixed = pair.describe(pair.fixed, factor)
        weight = warp.pooled(pair.weight[None], factor)[0]
        chosen = torch.nonzero((weight > 0.5).flatten())[:, 0]
        if len(chosen) > POINTS[factor]:
            draw = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(pair.seed))
            chosen = chosen[draw[: POINTS[factor]]]
        places = warp.grid(grid.shape).reshape(-1, 3)[chosen].numpy()
        slopes = torch.gradient(moving, dim=(1, 2, 3))
        # Values, their slopes along the three axes and the reach, read off together.
        seen = (reach > 0.99).float()[None]
        maps, values = torch.cat([moving, *slopes, seen]), torch.cat([moving, seen])
        points, wanted = points_to_world(grid.affine, places), fixed.flatten(1)[:, chosen]
        return cls(points, wanted, maps, values, grid.affine, len(fixed), pair.least)

    def _read(self, move: np.ndarray, maps: torch.Tensor) -> torch.Tensor:
        voxels = points_to_voxels(self.affine, points_to_world(move, self.points))
        return warp.sample(maps, torch.from_numpy(voxels).float(), outside="zeros")

    def cost(self, move: np.ndarray) -> float:
        """Mean squared difference over the points that the moving image reaches; infinite where few are reached."""
        read = self._read(move, self.values)
        reach = read[-1]
        if float(reach.mean()) < self.least:
            return float("inf")
        return float((((read[:-1] - self.wanted) ** 2).mean(dim=0) * reach).sum() / reach.sum())

    def moves(self, basis: np.ndarray) -> np.ndarray:
        """How each small move of a basis shifts each point, mm `(k n, 3)`."""
        return (self.points @ basis[:, :3, :3].transpose(0, 2, 1) + basis[:, None, :3, 3]).reshape(-1, 3)

    def normal(self, move: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The normal matrix and the slope of half the mean squared difference for small moves of the points."""
        read = self._read(move, self.maps)
        reach = read[-1]
        residual = read[: self.channels] - self.wanted
        slopes = read[self.channels : -1].reshape(3, self.channels, -1)
        # Channels are summed first: what a move does to a point is a shift, whatever the channel.
        strength = torch.einsum("acn,bcn->abn", slopes, slopes) * reach
        pull = torch.einsum("acn,cn->an", slopes, residual) * reach
        to_voxels = np.linalg.inv(self.affine[:3, :3]) @ move[:3, :3]
        shifts = torch.from_numpy(moves @ to_voxels.T).float().reshape(-1, len(self.points), 3)
        scale = float(reach.sum().clamp_min(1.0)) * self.channels
        felt = torch.einsum("abn,knb->kna", strength, shifts).flatten(1)
        normal = felt @ shifts.flatten(1).T / scale
        slope = shifts.flatten(1) @ pull.T.flatten() / scale
        return normal.double().numpy(), slope.double().numpy()


def coarser(geometry: Geometry, factor: int) -> Geometry:
    """The grid of blocks of `factor` voxels."""
    affine = geometry.affine.copy()
    affine[:3, 3] = (geometry.affine @ [*([(factor - 1) / 2] * 3), 1.0])[:3]
    affine[:3, :3] = geometry.affine[:3, :3] * factor
    i, j, k = (-(-n // factor) for n in geometry.shape)
    return Geometry((i, j, k), affine)


def _centre(pair: Pair) -> np.ndarray:
    """The middle of what counts in the fixed image, mm."""
    places = torch.nonzero(pair.weight > 0).float().mean(dim=0).numpy()
    return points_to_world(pair.fixed.affine, places[None])[0]


def _turns() -> list[np.ndarray]:
    """No turn, and one either way about each axis."""
    turns = [np.zeros(3)]
    for axis, sign in itertools.product(range(3), (1.0, -1.0)):
        turn = np.zeros(3)
        turn[axis] = sign * TURN
        turns.append(turn)
    return turns


def _about(centre: np.ndarray, turn: np.ndarray) -> np.ndarray:
    x, y, z = turn
    return _expm(_linear(np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]), centre))


def _linear(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The 4x4 generator of a linear map that leaves the centre where it is."""
    full = np.zeros((4, 4))
    full[:3, :3], full[:3, 3] = matrix, -matrix @ centre
    return full


def _expm(generator: np.ndarray) -> np.ndarray:
    from scipy.linalg import expm

    return expm(generator)
