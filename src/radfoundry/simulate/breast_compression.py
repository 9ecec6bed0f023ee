"""One breast taken from a body and pressed flat between two plates, its volume kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.records import InputError
from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import interpolate
from radfoundry.simulate.projection import FRONT, View

WALL = ("muscle", "bone", "marrow", "red-marrow", "cartilage", "lung-tissue", "lung", "airless-lung", "blood", "liver")
ANGLES, SMOOTH_DEG = 181, 2.0
WITHIN = ("nipples", "gland", "breast-mass", "calcifications")
THINNEST = 0.22  # of the greatest depth from skin to chest wall
SIDES = {"L": -1.0, "R": 1.0}


def breast_view(name: str, side: str, *, angle_deg: float = 45.0) -> View:
    """A mammographic view of one side: CC from above, or MLO from above and within at an angle from the vertical.

    Rows run from the chest wall to the nipple (left) or back (right), columns from the lateral or upper outer
    edge inwards, as films are hung back to back.
    """
    if side not in SIDES or name not in ("CC", "MLO"):
        raise InputError(f"no view {name!r} of side {side!r}", remedy="CC or MLO of L or R")
    outward = SIDES[side]
    turn = math.radians(angle_deg) if name == "MLO" else 0.0
    beam = (outward * math.sin(turn), 0.0, -math.cos(turn))
    column = (-outward * math.cos(turn), 0.0, -math.sin(turn))
    return View(name, beam, FRONT if side == "L" else (0.0, -1.0, 0.0), column)


def one_breast(body: Body, side: str, *, truth: tuple[str, ...] | None = None) -> Body:
    """The breast of one side as if drawn off the chest wall: what lies behind it becomes air, its back becomes flat.

    It is what the truth calls `breast-left` or `breast-right`, else what lies in front of muscle on that side. Every
    column from back to front is moved by a smooth amount, so that volumes stay. `truth` names
    what is kept of the truth (all unless given). Refuses a side without breast.
    """
    if side not in SIDES:
        raise InputError(f"side {side!r}", remedy="L or R")
    kept = _breast_share(body, side)
    thick = kept.sum(dim=1)
    kept = kept * (thick > THINNEST * float(thick.max()))[:, None]  # the plates do not catch the rest
    columns = (thick > THINNEST * float(thick.max())).nonzero()
    if float(thick.max()) < 3 or len(columns) < 12:
        raise InputError(f"no breast on side {side}", remedy="give a body that reaches in front of the chest wall")
    first = (kept > 0.5).float().argmax(dim=1).float()
    # A quadratic surface follows the chest wall and not its voxels.
    x, z = columns[:, 0].double(), columns[:, 1].double()
    design = torch.stack([torch.ones_like(x), x, z, x * x, x * z, z * z], dim=1)
    found = torch.linalg.lstsq(design, first[columns[:, 0], columns[:, 1]].double()[:, None]).solution[:, 0]
    i, k = (torch.arange(body.shape[axis], dtype=torch.float64) for axis in (0, 2))
    i, k = torch.meshgrid(i, k, indexing="ij")
    wall = sum((c * term for c, term in zip(found, (i * 0 + 1, i, k, i * i, i * k, k * k), strict=True)), i * 0).float()
    rows = torch.arange(body.shape[1], dtype=torch.float32)[None, :, None] + wall[:, None] + 0.5
    affine = body.affine.copy()
    affine[1, 3] += affine[1, 1] * float(wall[columns[:, 0], columns[:, 1]].mean())
    first, last = (int(edge) for edge in (columns[:, 0].min() - 2, columns[:, 0].max() + 3))
    span = slice(max(0, first), last)
    affine[:3, 3] += affine[:3, 0] * span.start
    kept, rows = kept[span], rows[span]
    present = [name for name in body.tissues if bool((body.share(name)[span] * kept).any())]
    names = [name for name in body.truth if truth is None or name in truth]
    maps = torch.stack([body.share(name)[span] for name in present] + [body.truth[name][span] for name in names])
    moved = _along_columns(maps * kept, rows)
    shown = dict(zip(names, moved[len(present) :], strict=True))
    return Body(tuple(present), moved[: len(present)], affine, shown)


def _breast_share(body: Body, side: str) -> torch.Tensor:
    """How much of each voxel belongs to the breast of one side."""
    known = body.truth.get("breast-left" if side == "L" else "breast-right")
    wall = torch.zeros(body.shape)
    for name in WALL:
        wall += body.share(name)
    x = torch.from_numpy(body.affine[0, 0] * np.arange(body.shape[0]) + body.affine[0, 3]).float()
    if known is not None:
        for name in WITHIN:  # painted over the breast, so they are not in its own share
            known = known + body.truth[name] if name in body.truth else known
        return ((known > 0.5) & (x * SIDES[side] > 2.0)[:, None, None]) * (1 - wall).clamp(0, 1)
    places = torch.arange(body.shape[1], dtype=torch.float32)
    deepest = torch.where(wall > 0.5, places[None, :, None], torch.tensor(-1.0)).amax(dim=1)
    level = float(deepest[deepest >= 0].median()) if bool((deepest >= 0).any()) else -1.0
    front = torch.where(deepest >= 0, deepest, torch.full_like(deepest, level))
    ahead = (places[None, :, None] > front[:, None, :]) & (x * SIDES[side] > 2.0)[:, None, None]
    return ahead * (body.fractions.sum(dim=0) > 0.5).float()


def _along_columns(maps: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Maps `(C, I, J, K)` looked up along J at places `(I, J, K)`, linearly; 0 outside."""
    low = rows.floor()
    share = rows - low
    total = torch.zeros_like(maps)
    for offset, weight in ((0, 1 - share), (1, share)):
        place = (low + offset).long()
        inside = (place >= 0) & (place < maps.shape[2])
        index = place.clamp(0, maps.shape[2] - 1)[None].expand_as(maps)
        total += torch.gather(maps, 2, index) * (weight * inside)
    return total


@dataclass(frozen=True, eq=False)
class _Columns:
    """The breast along the beam: for every place of a film its thickness and middle, in mm."""

    front_mm: torch.Tensor
    across_mm: torch.Tensor
    thickness_mm: torch.Tensor
    middle_mm: torch.Tensor
    step_mm: float

    @property
    def centre_mm(self) -> tuple[float, float]:
        """The middle of the chest wall: where the radii of the outline begin."""
        filled = (self.thickness_mm > self.step_mm).any(dim=0).nonzero()[:, 0]
        return float(self.front_mm[0]), float(self.across_mm[filled[[0, -1]]].mean())

    def at(self, front: torch.Tensor, across: torch.Tensor) -> torch.Tensor:
        """Thickness and middle `(2, …)` at places in mm; 0 outside."""
        lines = (self.front_mm, self.across_mm)
        scaled = [
            (place - line[0]) / (line[-1] - line[0]) * 2 - 1 for place, line in zip((front, across), lines, strict=True)
        ]
        grid = torch.stack([scaled[1], scaled[0]], dim=-1)[None]
        maps = torch.stack([self.thickness_mm, self.middle_mm])[None]
        return torch.nn.functional.grid_sample(maps, grid, align_corners=True)[0]


@dataclass(frozen=True, eq=False)
class _Pressed:
    """By angle and radius on the film: where a place came from, and how far inside the outline it lies, in mm."""

    source_mm: np.ndarray
    edge_mm: np.ndarray
    radius_mm: np.ndarray
    step_mm: float

    def at(self, radius: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        """Radius before pressing, and distance to the outline `(2, …)`; negative beyond it."""
        table = torch.from_numpy(np.stack([self.source_mm, self.edge_mm]).astype(np.float32))[None]
        reach = (self.source_mm.shape[1] - 1) * self.step_mm
        grid = torch.stack([radius / reach * 2 - 1, angle / (math.pi / 2)], dim=-1)[None]
        return torch.nn.functional.grid_sample(table, grid, align_corners=True, padding_mode="border")[0]


def compress(breast: Body, view: View, *, thickness_mm: float) -> Body:
    """The breast pressed to a thickness between plates.

    The new grid runs from the chest wall to the nipple, across, and along the beam. Tissue is incompressible: it
    is squeezed along the beam and gives way along radii from the middle of the chest wall, as far as keeps the
    volume of every piece; the edge is half a circle. Refuses a breast thinner than the plates' distance.
    """
    columns = _columns(breast, view)
    if float(columns.thickness_mm.max()) <= thickness_mm:
        raise InputError(
            f"the breast is {float(columns.thickness_mm.max()):.0f} mm thick, thinner than {thickness_mm:.0f} mm",
            remedy="give a smaller thickness_mm",
        )
    pressed, step = _pressed(columns, thickness_mm), columns.step_mm
    wall, middle = columns.centre_mm
    angles = np.linspace(-np.pi / 2, np.pi / 2, ANGLES)
    front = torch.arange(math.ceil(float((pressed.radius_mm * np.cos(angles)).max()) / step) + 2) * step
    half = math.ceil(float((pressed.radius_mm * np.abs(np.sin(angles))).max()) / step) + 2
    across = torch.arange(-half, half + 1) * step
    count = int(thickness_mm / step) + 3
    beam = (torch.arange(count) - (count - 1) / 2) * step
    x, y = torch.meshgrid(front, across, indexing="ij")
    radius, angle = (x**2 + y**2).sqrt(), torch.atan2(y, x)
    origin, edge = pressed.at(radius, angle)
    new = rounded(edge + step / 2, thickness_mm)
    ratio = origin / radius.clamp_min(1e-3)
    old, centre = columns.at(wall + x * ratio, middle + y * ratio)
    axes = torch.tensor(np.array([FRONT, view.column, view.beam]), dtype=torch.float32)
    # Half a voxel inside the old surface: beyond it there is nothing to look up.
    along = centre[..., None] + beam * ((old - step).clamp_min(0) / (new - step).clamp_min(step))[..., None]
    places = (wall + x * ratio)[..., None, None] * axes[0] + (middle + y * ratio)[..., None, None] * axes[1]
    places = places + along[..., None] * axes[2]
    filled = (0.5 + (new[..., None] / 2 - beam.abs()) / step).clamp(0, 1)
    filled = filled * (edge / step + 0.5).clamp(0, 1)[..., None]
    origin_mm = np.array([wall, middle + float(across[0]), float(beam[0])])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes.numpy().T * step, axes.numpy().T @ origin_mm
    return _moved(breast, places, filled, affine)


def _moved(breast: Body, places: torch.Tensor, filled: torch.Tensor, affine: np.ndarray) -> Body:
    """Shares and truth looked up at their old places, scaled so that they fill what the plates hold."""
    names = tuple(breast.truth)
    maps = torch.cat([breast.fractions, *(breast.truth[name][None] for name in names)])
    moved = interpolate(maps, breast.affine, places)
    shares = moved[: len(breast.tissues)]
    # Lookups at the skin meet air; between the plates there is none.
    scale = filled / shares.sum(dim=0).clamp_min(0.02)
    truth = dict(zip(names, (moved[len(breast.tissues) :] * scale).clamp(0, 1), strict=True))
    return Body(breast.tissues, shares * scale, affine, truth)


def rounded(edge_mm: torch.Tensor, thickness_mm: float) -> torch.Tensor:
    """How thick a pressed breast is at a distance from its outline: half a circle at the edge, then flat."""
    inner = (edge_mm / (thickness_mm / 2)).clamp(0, 1)
    return thickness_mm * (1 - (1 - inner) ** 2).clamp_min(0).sqrt()


def _pressed(columns: _Columns, thickness_mm: float) -> _Pressed:
    """Solve for every angle how far the outline moves and where each radius came from, from equal volumes.

    Within a narrow angle the volume up to a radius is the integral of thickness times radius.
    """
    from scipy.ndimage import gaussian_filter1d

    step = columns.step_mm / 2
    wall, middle = columns.centre_mm
    angles = np.linspace(-np.pi / 2, np.pi / 2, ANGLES)
    radii = np.arange(0, 3.5 * float(columns.front_mm[-1] - wall + columns.across_mm[-1] - middle), step)
    x, y = radii[None] * np.cos(angles)[:, None], radii[None] * np.sin(angles)[:, None]
    before = columns.at(torch.from_numpy(wall + x).float(), torch.from_numpy(middle + y).float())[0].numpy()
    volumes = np.cumsum(before * radii, axis=1) * step
    # The same integral for a pressed breast whose outline lies at each radius.
    edge = torch.from_numpy(radii[:, None] - radii[None])
    whole = (rounded(edge, thickness_mm).numpy() * radii[None]).sum(axis=1) * step
    outline = gaussian_filter1d(np.interp(volumes[:, -1], whole, radii), SMOOTH_DEG / 180 * ANGLES, mode="nearest")
    inside = outline[:, None] - radii[None]
    filled = np.cumsum(rounded(torch.from_numpy(inside), thickness_mm).numpy() * radii, axis=1) * step
    filled *= volumes[:, -1:] / np.maximum(filled[:, -1:], 1e-6)
    source = np.stack([np.interp(new, old + 1e-6 * radii, radii) for new, old in zip(filled, volumes, strict=True)])
    kept = int(outline.max() / step) + 3
    return _Pressed(source[:, :kept], inside[:, :kept], outline, step)


def _columns(breast: Body, view: View) -> _Columns:
    """Tissue summed along the beam, in a frame of front, column and beam directions."""
    step = float(np.linalg.norm(breast.affine[:3, :3], axis=0).min())
    axes = np.array([FRONT, view.column, view.beam])
    filled = breast.fractions.sum(dim=0)
    places = filled.gt(0.5).nonzero().numpy() @ breast.affine[:3, :3].T + breast.affine[:3, 3]
    low, high = (places @ axes.T).min(axis=0) - step, (places @ axes.T).max(axis=0) + 2 * step
    low[0] += step  # the film begins in tissue, at the chest wall
    lines = [torch.arange(low[axis], high[axis], step, dtype=torch.float32) for axis in range(3)]
    grid = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1) @ torch.from_numpy(axes).float()
    share = interpolate(filled[None], breast.affine, grid)[0]
    thickness = share.sum(dim=2) * step
    middle = (share * lines[2]).sum(dim=2) * step / thickness.clamp_min(0.1)
    return _Columns(lines[0], lines[1], thickness, middle, step)
