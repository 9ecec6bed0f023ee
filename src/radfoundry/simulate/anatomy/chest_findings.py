"""Disease of the chest: what is drawn for a person, what it does to the lungs' size, and what is painted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.chest_organs import WALL_MM, Inside
from radfoundry.simulate.anatomy.regions import Anatomy, Finding
from radfoundry.simulate.anatomy.shapes import Point, ellipsoid, wavy
from radfoundry.simulate.anatomy.texture import everywhere, noise

Measures = Mapping[str, float]


def draw_findings(rng: np.random.Generator, kinds: Sequence[str], measures: Measures) -> tuple[Finding, ...]:
    """One finding of each kind: how bad, which side, where and how large."""
    return tuple(_draw(rng, kind, measures) for kind in kinds)


def _draw(rng: np.random.Generator, kind: str, measures: Measures) -> Finding:
    severity = round(float(rng.uniform(0.15, 1.0)), 3)
    side = "right" if rng.random() < 0.5 else "left"
    sign = 1 if side == "right" else -1
    scale = (measures["thorax_width_mm"] / 278, measures["thorax_depth_mm"] / 206, measures["thorax_height_mm"] / 253)
    spot = (sign * rng.uniform(62, 88), rng.uniform(-45, 25), rng.uniform(12, 78))
    upper = spot[1] * 0.8 + spot[2] > -16  # before the oblique fissure
    site = f"{side} {'upper' if upper else 'lower'} lobe"
    kind_of_nodule = "solid" if rng.random() < 0.6 else "ground-glass"
    if kind == "consolidation":
        site = f"{side} {('upper', 'lower', 'middle')[int(rng.integers(3 if side == 'right' else 2))]} lobe"
    place = (spot[0] * scale[0], spot[1] * scale[1], spot[2] * scale[2])
    sizes = {
        "nodule": 5 + 25 * severity,
        "pleural-effusion": (6000 / math.pi * _effusion_ml(severity)) ** (1 / 3),
        "cardiomegaly": (0.52 + 0.14 * severity) * (measures["thorax_width_mm"] - 2 * WALL_MM),
    }
    size = round(sizes.get(kind, 40 + 80 * severity), 2)
    if kind == "nodule":
        return Finding(kind, severity, _round(place), size, side, f"{site}, {kind_of_nodule}")
    if kind == "cardiomegaly":
        return Finding(kind, severity, _round((-18 * scale[0], 20 * scale[1], -32 * scale[2])), size, "none", "heart")
    if kind == "interstitial":
        return Finding(kind, severity, _round((0.0, 0.0, -70 * scale[2])), size, "both", "both lung bases")
    if kind == "consolidation":
        return Finding(kind, severity, _round(place), size, side, site)
    base = (sign * 70 * scale[0], -50 * scale[1], -50 * scale[2])
    where = "lower lobe" if kind == "atelectasis" else "lung" if kind == "air-trapping" else "pleural space"
    return Finding(kind, severity, _round(base), size, side, f"{side} {where}")


def _round(place: Point) -> Point:
    x, y, z = (round(float(value), 2) for value in place)
    return (x, y, z)


def _effusion_ml(severity: float) -> float:
    # From what the eye finds on a film (about 150 ml) to a massive one: Blackmore 1996, Radiology 200:347.
    return 60 + 1240 * severity


def worked_on(measures: Measures, found: Sequence[Finding]) -> dict[str, float]:
    """The person's measures after disease: domes and mediastinum move, the heart widens, amounts are set."""
    changed = dict(measures)
    for finding in found:
        sign = 1 if finding.side == "right" else -1
        dome = f"{finding.side}_dome_mm"
        if finding.kind == "atelectasis":
            changed[dome] += 34 * finding.severity
            changed["mediastinal_shift_mm"] += sign * 16 * finding.severity
        elif finding.kind == "air-trapping":
            changed[dome] -= 14 * finding.severity
            changed["mediastinal_shift_mm"] -= sign * 12 * finding.severity
        elif finding.kind == "interstitial":
            changed["right_dome_mm"] += 14 * finding.severity
            changed["left_dome_mm"] += 14 * finding.severity
        elif finding.kind == "cardiomegaly":
            changed["cardiothoracic_ratio"] = 0.52 + 0.14 * finding.severity
        elif finding.kind == "pleural-effusion":
            changed["effusion_ml"] = _effusion_ml(finding.severity)
        elif finding.kind == "pneumothorax":
            changed["pneumothorax_share"] = 0.08 + 0.55 * finding.severity
    return {name: round(float(value), 4) for name, value in changed.items()}


def apply_to_lung(canvas: Canvas, inside: Inside, anatomy: Anatomy) -> None:
    """Change the lungs' tissue before vessels and airways are painted: airways stay open in a consolidation."""
    for finding in anatomy.findings:
        if finding.kind == "consolidation":
            _consolidate(canvas, inside, finding, seed=anatomy.texture_seed)
        elif finding.kind == "atelectasis":
            _collapse(canvas, inside, finding, seed=anatomy.texture_seed)
        elif finding.kind == "interstitial":
            _net(canvas, inside, finding, seed=anatomy.texture_seed)
        elif finding.kind == "air-trapping":
            _trap(canvas, inside, finding, seed=anatomy.texture_seed)


def _fill(canvas: Canvas, kind: str, share: torch.Tensor, *, tissue: str = "airless-lung") -> None:
    """Turn a share of the lung into airless tissue; the lobe keeps its name, the finding gets its own mask."""
    canvas.pour(tissue, everywhere(canvas), share)
    kept = canvas.truth.setdefault(kind, torch.zeros(canvas.shape))
    torch.maximum(kept, share, out=kept)


def _most(score: torch.Tensor, room: torch.Tensor, amount: float, *, edge: float) -> torch.Tensor:
    """The part of a room with the lowest scores that holds an amount (in voxels), with a soft edge."""
    there = room > 0.05
    values, order = torch.sort(score[there])
    filled = torch.cumsum(room[there][order], dim=0)
    limit = values[min(int(torch.searchsorted(filled, amount)), len(values) - 1)] if len(values) else 0.0
    return room * (0.5 - (score - limit) / edge).clamp(0, 1)


def _consolidate(canvas: Canvas, inside: Inside, finding: Finding, *, seed: int) -> None:
    lobe = inside.lobes[finding.site.replace(" ", "-")]
    cloud = noise(canvas, everywhere(canvas), wavelength_mm=38, seed=seed + 21)
    place = (inside.points * (lobe[..., None] > 0.5)).sum(dim=(0, 1, 2)) / (lobe > 0.5).sum().clamp_min(1)
    score = (inside.points - place).norm(dim=-1) + 12 * cloud
    share = _most(score, lobe, float(lobe.sum()) * (0.12 + 0.7 * finding.severity), edge=14.0)
    _fill(canvas, "consolidation", share * 0.92)


def _collapse(canvas: Canvas, inside: Inside, finding: Finding, *, seed: int) -> None:
    """A dense wedge above the raised diaphragm, plates of collapse above it, and crowding of the rest."""
    lobe = inside.lobes[f"{finding.side}-lower-lobe"]
    x, y, z = inside.points.unbind(dim=-1)
    cloud = noise(canvas, everywhere(canvas), wavelength_mm=45, seed=seed + 22)
    score = z + 0.45 * y + 0.25 * x.abs() + 5 * cloud
    wedge = _most(score, lobe, float(lobe.sum()) * (0.08 + 0.42 * finding.severity), edge=9.0)
    level = finding.centre_mm[2] + 34 * finding.severity + 26
    plate = (1 - ((z - level - 0.12 * (y + 60) - 3 * cloud) / 4.0).abs()).clamp(0, 1) * (y < 10) * 0.8
    side = inside.side(finding.side)
    canvas.map("lung-tissue").mul_(1 + side * 0.45 * finding.severity)
    _fill(canvas, "atelectasis", torch.maximum(wedge * 0.92, plate * side))


def _net(canvas: Canvas, inside: Inside, finding: Finding, *, seed: int) -> None:
    """Lines and haze below the pleura, most at the bases and at the back: usual interstitial pneumonia.

    Extent and pattern after Raghu 2018, Am J Respir Crit Care Med 198:e44.
    """
    whole = everywhere(canvas)
    lung = inside.side("right") + inside.side("left")
    _, y, z = inside.points.unbind(dim=-1)
    reach = 6 + 16 * finding.severity
    near = torch.exp(inside.lung / reach) * torch.sigmoid((40 * finding.severity - 45 - z) / 20)
    near = near * (0.75 - 0.25 * (y / 90).clamp(-1, 1))
    fine = noise(canvas, whole, wavelength_mm=12, seed=seed + 23)
    coarse = noise(canvas, whole, wavelength_mm=20, seed=seed + 24)
    wide = max(0.28, 0.11 * canvas.spacing_mm)
    lines = torch.maximum((1 - fine.abs() / wide).clamp(0, 1), (1 - coarse.abs() / wide).clamp(0, 1) * 0.8)
    share = near * (0.25 + 0.55 * finding.severity) * (0.75 * lines + 0.22)
    _fill(canvas, "interstitial", (share * lung).clamp(0, 0.9))


def _trap(canvas: Canvas, inside: Inside, finding: Finding, *, seed: int) -> None:
    patch = noise(canvas, everywhere(canvas), wavelength_mm=60, seed=seed + 25)
    side = inside.side(finding.side) * (0.85 + 0.15 * patch).clamp(0.4, 1)
    canvas.map("lung-tissue").mul_(1 - side * 0.5 * finding.severity)
    canvas.truth["air-trapping"] = inside.side(finding.side).clone()


def apply_pleural(canvas: Canvas, inside: Inside, anatomy: Anatomy) -> None:
    """Put fluid or air between lung and wall, and nodules into the lung, once everything else is there."""
    depth = -(inside.ring + WALL_MM)  # below the inside of the wall
    for finding in anatomy.findings:
        room = inside.side(finding.side)
        voxels = 1 / canvas.spacing_mm**3
        if finding.kind == "pleural-effusion":
            # Fluid finds the lowest place, and creeps up a little along the wall: the meniscus.
            score = inside.up - 16 * torch.exp(-depth.clamp_min(0) / 9)
            amount = min(anatomy.measures["effusion_ml"] * 1000 * voxels, 0.85 * float(room.sum()))
            _squeeze(canvas, "water", room, _most(score, room, amount, edge=canvas.spacing_mm), finding.kind)
        elif finding.kind == "pneumothorax":
            score = 1.6 * depth - 0.55 * inside.up
            amount = anatomy.measures["pneumothorax_share"] * float(room.sum())
            _squeeze(canvas, "air", room, _most(score, room, amount, edge=canvas.spacing_mm), finding.kind)
        elif finding.kind == "nodule":
            _nodule(canvas, inside, finding, seed=anatomy.texture_seed)
        elif finding.kind == "cardiomegaly":
            canvas.truth["cardiomegaly"] = canvas.truth["heart"].clone()


def _squeeze(canvas: Canvas, tissue: str, room: torch.Tensor, share: torch.Tensor, kind: str) -> None:
    """Fill part of a pleural space; what is left of that lung becomes denser by as much as it lost room."""
    left = float((room - share).sum())
    canvas.map("lung-tissue").mul_(1 + room * (min(3.5, float(room.sum()) / max(left, 1e-3)) - 1))
    canvas.map("lung-tissue").clamp_(max=0.95)
    total = sum(canvas.maps.values(), torch.zeros(canvas.shape))
    canvas.map("lung-tissue").sub_((total - 1).clamp_min(0)).clamp_min_(0)
    canvas.pour(tissue, everywhere(canvas), share, name=kind)


def _nodule(canvas: Canvas, inside: Inside, finding: Finding, *, seed: int) -> None:
    radius = finding.size_mm / 2
    ball = ellipsoid(finding.centre_mm, (radius, radius * 0.92, radius * 0.88))
    shape = wavy(ball, amplitude_mm=0.09 * radius, wavelength_mm=max(4.0, 1.3 * radius), seed=seed + 26)
    covered = canvas.cover(shape)
    if covered is None:
        return
    window, share = covered
    room = (inside.side("right") + inside.side("left"))[window]
    share = share * room.clamp(0, 1)
    solid = finding.site.endswith("solid")
    canvas.pour("carcinoma" if solid else "airless-lung", window, share * (1.0 if solid else 0.32))
    kept = canvas.truth.setdefault("nodule", torch.zeros(canvas.shape))
    kept[window] = torch.maximum(kept[window], share)
