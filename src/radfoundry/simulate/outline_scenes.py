"""Pictures of random shapes with one thing in the middle: what outlining can be learned from without any patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.fields import spline_field

Shape = tuple[int, int, int]
Rng = np.random.Generator
THING, RIM, AIR, SPOTS = 255, 254, 253, 200
# Shares of a voxel's brightness that fluid, grey and white matter roughly have in a T1-weighted image.
SLICES = 8
TISSUE_LIKE, TISSUE_SHARES = (0.15, 0.6, 0.9), (0.2, 0.35, 0.45)


@dataclass(frozen=True, eq=False)
class Scene:
    """Regions (I, J, K) `uint8`, numbered from 0 without gaps, and which voxels (I, J, K) are the thing."""

    regions: torch.Tensor
    thing: torch.Tensor

    @property
    def edges(self) -> torch.Tensor:
        """Voxels (I, J, K) that touch another region."""
        known = self.regions.float()[None, None]
        largest = torch.nn.functional.max_pool3d(known, 3, 1, 1)
        smallest = -torch.nn.functional.max_pool3d(-known, 3, 1, 1)
        return (largest != smallest)[0, 0]


def scene(shape: Shape, *, rng: Rng, scale: float = 1.0) -> Scene:
    """One scene: regions with smooth borders, spots among them, and a bent tube or a dented ball near the middle.

    `scale` enlarges the thing and the spots; at 1 they suit sides of about 40 voxels.

    >>> made = scene((32, 32, 32), rng=np.random.default_rng(0))
    >>> bool(made.thing.any()), len(made.regions.unique()) > 2
    (True, True)
    """
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in shape], indexing="ij"), dim=-1)
    regions = _regions(shape, int(rng.integers(2, 7)), rng)
    if rng.random() < 0.5:
        regions = regions * 16 + _regions(shape, int(rng.integers(2, 4)), rng)
    for spot in range(int(rng.integers(0, 8))):
        centre = [rng.uniform(0, n) for n in shape]
        radii = (2 * scale, 14 * scale)
        regions = torch.where(_ball(grid, centre, radii, 0.5, rng), torch.tensor(SPOTS + spot), regions)
    thing = torch.zeros(shape, dtype=torch.bool)
    while not thing.any():
        middle = np.array(shape) / 2 + rng.normal(0, 3 * scale, 3)
        round_one = (4 * scale, 16 * scale)
        thing = _tube(grid, middle, scale, rng) if rng.random() < 0.7 else _ball(grid, middle, round_one, 0.4, rng)
    if rng.random() < 0.4:  # a rim along a part of it, as fluid lies along an organ
        around = torch.nn.functional.max_pool3d(thing[None, None].float(), 3, 1, 1)[0, 0] > 0
        regions = torch.where(around & (_regions(shape, 2, rng) == 0), torch.tensor(RIM), regions)
    return _numbered(torch.where(thing, torch.tensor(THING), regions), thing)


def slice_scene(shape: tuple[int, int], *, rng: Rng) -> Scene:
    """One slice (I, J, 1) of a scene, the thing between once and four times as large; half of them lie in air.

    >>> slice_scene((64, 64), rng=np.random.default_rng(0)).regions.shape
    torch.Size([64, 64, 1])
    """
    whole = scene((*shape, SLICES), rng=rng, scale=float(np.exp(rng.uniform(0, np.log(4)))))
    at = int(whole.thing.sum(dim=(0, 1)).argmax())
    regions, thing = whole.regions[..., at : at + 1].int(), whole.thing[..., at : at + 1]
    if rng.random() < 0.5:
        i, j = (torch.linspace(-1, 1, n) for n in shape)
        away = (i[:, None] / rng.uniform(0.6, 1.1)) ** 2 + (j[None] / rng.uniform(0.6, 1.1)) ** 2
        bent = spline_field(_noise((6, 6, 4), rng) * float(rng.uniform(0, 0.4)), (*shape, 1))
        regions = torch.where((away[..., None] + bent > 1) & ~thing, torch.tensor(AIR), regions)
    return _numbered(regions, thing)


def _numbered(regions: torch.Tensor, thing: torch.Tensor) -> Scene:
    _, numbered = regions.unique(return_inverse=True)
    return Scene(numbered.to(torch.uint8), thing)


def picture(seen: Scene, *, rng: Rng) -> torch.Tensor:
    """One rendering (I, J, K), mean 0 and deviation 1: a brightness for each region, partial volume, texture, shading,
    sometimes thicker slices, noise. Half of the renderings take brightnesses like those of brain tissue."""
    shape = _three(seen.regions.shape)
    shade = _brightness(seen, rng)
    sharp = shade[seen.regions.long()]
    soft = torch.nn.functional.avg_pool3d(
        torch.nn.functional.pad(sharp[None, None], (1,) * 6, mode="replicate"), 3, stride=1
    )[0, 0]
    blur = float(rng.uniform(0, 1))
    image = sharp * (1 - blur) + soft * blur
    cells = _three(max(4, n // int(rng.integers(2, 5))) for n in shape)
    texture = _sized(_noise(cells, rng), shape) * float(rng.uniform(0, 0.12))
    shading = spline_field(_noise((4, 4, 4), rng) * float(rng.uniform(0, 0.3)), shape)
    image = image * torch.exp(shading + texture)
    if rng.random() < 0.3:
        fewer = _three(round(n / rng.uniform(1, 1.5)) for n in shape)
        image = _sized(torch.nn.functional.interpolate(image[None, None], size=fewer, mode="area")[0, 0], shape)
    image = image + _noise(shape, rng) * float(np.exp(rng.uniform(np.log(0.005), np.log(0.1))))
    return (image - image.mean()) / image.std().clamp_min(1e-3)


def _brightness(seen: Scene, rng: Rng) -> torch.Tensor:
    count = int(seen.regions.max()) + 1
    if rng.random() < 0.5:
        return torch.from_numpy(rng.uniform(0, 1, count).astype(np.float32))
    drawn = rng.choice(TISSUE_LIKE, count, p=TISSUE_SHARES) + rng.normal(0, 0.05, count)
    drawn[int(seen.regions[seen.thing][0])] = TISSUE_LIKE[1] + rng.normal(0, 0.07)
    return torch.from_numpy(drawn.astype(np.float32))


def _three(values: object) -> Shape:
    first, second, third = (int(n) for n in values)  # ty: ignore
    return (first, second, third)


def _noise(shape: Shape, rng: Rng) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def _sized(image: torch.Tensor, shape: Shape) -> torch.Tensor:
    return torch.nn.functional.interpolate(image[None, None], size=shape, mode="trilinear")[0, 0]


def _regions(shape: Shape, count: int, rng: Rng) -> torch.Tensor:
    """Which of `count` smooth random fields is the highest at each voxel."""
    points = [int(n) for n in rng.integers(4, [max(12, n // 8) for n in shape])]
    fields = torch.from_numpy(rng.standard_normal((count, *points)).astype(np.float32))
    return spline_field(fields, shape).argmax(0)


def _ball(grid: torch.Tensor, centre: object, radii: tuple[float, float], dent: float, rng: Rng) -> torch.Tensor:
    """An ellipsoid in a random direction whose surface is dented."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    across = torch.from_numpy((turn / rng.uniform(*radii, 3)).astype(np.float32))
    apart = ((grid - torch.tensor(np.asarray(centre), dtype=torch.float32)) @ across).square().sum(-1).sqrt()
    dents = _noise((6, 6, 6), rng) * float(rng.uniform(0, dent))
    return apart + spline_field(dents, _three(grid.shape[:3])) < 1


def _tube(grid: torch.Tensor, middle: np.ndarray, scale: float, rng: Rng) -> torch.Tensor:
    """A bent, tapering, flattened tube whose surface is dented; half of them run from front to back."""
    along = rng.standard_normal(3)
    if rng.random() < 0.5:
        along = np.array([0.25, 1, 0.25]) * rng.normal(1, 0.2, 3)
    along = along / np.linalg.norm(along)
    side = rng.standard_normal(3)
    side = side - along * (side @ along)
    side = side / np.linalg.norm(side)
    other = np.cross(along, side)
    t = np.linspace(-1, 1, 15)[:, None]
    line = middle + t * (scale * rng.uniform(10, 24)) * along + t**2 * (scale * rng.uniform(-6, 6)) * side
    line = line + t**3 * (scale * rng.uniform(-4, 4)) * other
    first, last = scale * rng.uniform(2.5, 7, 2)
    radii = (first + (last - first) * (t[:, 0] + 1) / 2) * (1 - 0.5 * np.abs(t[:, 0]) ** 6)
    flat = float(rng.uniform(0.6, 1))
    turned = torch.tensor(other, dtype=torch.float32)
    nearest = torch.full(grid.shape[:3], 9.0)
    for point, radius in zip(torch.tensor(line, dtype=torch.float32), radii, strict=True):
        apart = grid - point
        apart = apart + (1 / flat - 1) * (apart @ turned)[..., None] * turned
        nearest = torch.minimum(nearest, apart.square().sum(-1).sqrt() / float(radius))
    dents = _noise((9, 9, 9), rng) * float(rng.uniform(0, 0.25))
    return nearest + spline_field(dents, _three(grid.shape[:3])) < 1
