"""The column itself painted: discs, vertebrae, ligaments, canal with cord and roots, herniation and fracture."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import torch

from radfoundry.simulate.anatomy import bones
from radfoundry.simulate.anatomy.bones import Bone
from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.frames import band
from radfoundry.simulate.anatomy.regions import Finding
from radfoundry.simulate.anatomy.shapes import Point, Shape, ellipsoid, loft, moved, tube, union
from radfoundry.simulate.anatomy.spine_plans import at, canal
from radfoundry.simulate.anatomy.vertebrae import (
    Vertebra,
    atlas,
    block,
    cervical_arch,
    dens,
    lumbar_arch,
    ribs,
    sacral_wings,
    thoracic_arch,
)

ARCHES = {"C": cervical_arch, "T": thoracic_arch, "L": lumbar_arch, "S": sacral_wings}


def between(above: Vertebra, below: Vertebra, *, share: float = 1.0) -> Shape:
    """A drum that fills the room between two bodies and reaches into both; the bodies then cover its ends."""
    top, bottom = (
        np.array(at(above, (0, 0, -above.height_mm / 2))),
        np.array(at(below, (0, 0, below.height_mm / 2))),
    )
    gap = float(np.linalg.norm(top - bottom))
    half = gap / 2 + 5.5 + below.height_mm * (below.wedge + below.dent)
    radii = (0.5 * share * (above.width_mm + below.width_mm) / 2, 0.5 * share * (above.depth_mm + below.depth_mm) / 2)
    drum = loft([-half, half], [(0, 0)] * 2, [radii] * 2, exponent=2.5)
    middle = (top + bottom) / 2
    turn = ((above.lean_deg + below.lean_deg) / 2, 0.0, 0.0)
    return moved(drum, (float(middle[0]), float(middle[1]), float(middle[2])), turn_deg=turn)


def paint_discs(canvas: Canvas, vertebrae: list[Vertebra], measures: Mapping[str, float]) -> None:
    """Discs with a fibrous ring and a watery nucleus that dries with age; the long ligaments bind them."""
    for side in (1, -1):
        line = [at(one, (0.0, side * (one.depth_mm / 2 + 0.3), z)) for one in vertebrae for z in (8.0, -8.0)]
        canvas.paint("tendon", band(line, width_mm=14, thickness_mm=2.2, across=(1, 0, 0)), strength=0.9)
    for above, below in itertools.pairwise(vertebrae):
        canvas.paint("annulus", between(above, below), name="discs")
        if above.level.startswith("S"):
            continue
        core = canvas.depth(between(above, below, share=0.64))
        if core is not None:
            window, depth = core
            wet = 1 - measures[f"dryness_below_{above.level}"]
            canvas.mix("annulus", "nucleus", torch.sigmoid(-depth / 1.2) * wet, window)


def paint_bones(canvas: Canvas, region: str, vertebrae: list[Vertebra]) -> None:
    """Every vertebra with its arch; ribs in the chest, the ring of C1 in the neck, and ligaments between arches."""
    spines = [at(one, (0.0, -one.depth_mm / 2 - 1.75 * one.canal_depth_mm, -0.4 * one.height_mm)) for one in vertebrae]
    upright = [place for one, place in zip(vertebrae, spines, strict=True) if not one.level.startswith("S")]
    canvas.paint("tendon", tube(upright, 1.6), strength=0.6)
    for number, one in enumerate(vertebrae):
        if region == "thoracic-spine" and one.level.startswith("T"):
            pair = moved(ribs(one), one.centre_mm, turn_deg=one.turn)
            bones.paint_bone(canvas, Bone("ribs", pair, 1.0, "red-marrow"))
        arch = ARCHES["C" if region == "cervical-spine" else one.level[0]](one)
        if one.level in ("T11", "T12") and region == "lumbar-spine":
            arch = thoracic_arch(one)
        parts = [block(one), arch]
        if one.level == "C2":
            ring = moved(atlas(one), one.centre_mm, turn_deg=one.turn)
            bones.paint_bone(canvas, Bone("C1", ring, 1.2, "red-marrow"))
            parts.append(dens(one))
        if one.level.startswith("S"):
            parts = [union(block(one, hollow_mm=0.3), arch, blend_mm=5)]
        for part in reversed(parts):
            whole = moved(part, one.centre_mm, turn_deg=one.turn)
            bones.paint_bone(canvas, Bone(one.level, whole, 0.9, "red-marrow"))
        _vein(canvas, one, number)


def _vein(canvas: Canvas, one: Vertebra, number: int) -> None:
    """The basivertebral vein: a small wet cleft in the middle of the back wall."""
    size = 0.11 * one.depth_mm
    middle = at(one, (0.4 * (number % 3 - 1), -one.depth_mm / 2 + 1.2 * size, 0.0))
    canvas.paint("blood", ellipsoid(middle, (1.6 * size, 1.7 * size, 0.55 * size)), strength=0.8, within="red-marrow")


def paint_canal(canvas: Canvas, region: str, vertebrae: list[Vertebra]) -> None:
    """The canal: fat around the dural sac, fluid in it, cord and nerve roots; it is open at every level."""
    deep, wide = vertebrae[3].canal_depth_mm, vertebrae[3].canal_width_mm
    line = canal(vertebrae)
    across: Point = (1.0, 0.0, 0.0)
    canvas.paint("fat", band(line, width_mm=wide, thickness_mm=deep, across=across))
    for one in vertebrae:
        if one.level.startswith("S"):
            continue
        for side in (-1, 1):
            _root(canvas, one, side)
    sac = deep - (2.6 if region != "lumbar-spine" else 3.4)
    if region == "lumbar-spine":
        line = [*line[:9], at(vertebrae[8], (0.0, -vertebrae[8].depth_mm / 2 - 6, -8.0))]
    forward = canal(vertebrae, shift_mm=0.8)[: len(line)]
    canvas.paint("csf", band(forward, width_mm=0.8 * wide, thickness_mm=sac, across=across), name="spinal-fluid")
    middle = canal(vertebrae, shift_mm=-0.4)
    if region == "lumbar-spine":  # the cord ends at L1, its roots hang down behind
        cord = [*middle[:3], at(vertebrae[2], (0.0, -vertebrae[2].depth_mm / 2 - 0.62 * deep, -4.0))]
        canvas.paint("cord", tube(cord, [4.2, 4.2, 4.0, 1.5]), name="cord")
        behind = canal(vertebrae, shift_mm=-0.24 * deep)[3:10]
        for number in range(12):
            x = (number % 6 - 2.5) * 2.1
            strand = [(x * (1 + 0.05 * step), y - 0.5 * (number // 6), z) for step, (_, y, z) in enumerate(behind)]
            canvas.paint("nerve", tube(strand[: 4 + number % 4], 0.6))
        return
    size = {"cervical-spine": (13.2, 7.6), "thoracic-spine": (8.8, 7.0)}[region]
    canvas.paint("cord", band(middle, width_mm=size[0], thickness_mm=size[1], across=across), name="cord")


def _root(canvas: Canvas, one: Vertebra, side: int) -> None:
    """The way out of a nerve below the pedicle: fat with the root in it."""
    low, back, reach = -0.42 * one.height_mm, -one.depth_mm / 2, one.canal_width_mm / 2
    outlet = [at(one, (side * (reach - 3), back - 3.0, low)), at(one, (side * (reach + 9), back - 1.0, low - 2))]
    canvas.paint("fat", tube(outlet, 0.24 * one.height_mm), strength=0.95)
    nerve = [outlet[0], at(one, (side * (reach + 20), back + 2.0, low - 8))]
    canvas.paint("nerve", tube(nerve, 0.085 * one.height_mm + 0.6))


def paint_herniation(
    canvas: Canvas, vertebrae: list[Vertebra], finding: Finding, measures: Mapping[str, float]
) -> None:
    """Disc that has come out backwards into the canal and presses on the sac; the disc itself is dry."""
    above = next(one for one in vertebrae if finding.site.startswith(f"{one.level}-"))
    reach, x, y, z = measures["herniation_mm"], *finding.centre_mm
    lean = above.lean_deg * 0.5
    lump = ellipsoid(
        (x + 0.12 * above.canal_width_mm, y + 2 - reach * 0.15, z),
        (0.36 * above.canal_width_mm, reach, 0.2 * above.height_mm + 0.25 * reach),
        turn_deg=(lean, 0, 0),
    )
    covered = canvas.cover(lump)
    if covered is None:
        return
    window, cover = covered
    free = cover * (1 - canvas.truth["discs"][window]).clamp(0, 1) * (1 - canvas.map("bone")[window].clamp(0, 1))
    canvas.pour("annulus", window, free)
    canvas.mix("annulus", "nucleus", free * 0.3, window)
    bones.keep(canvas, finding.kind, window, free)


def paint_fracture(canvas: Canvas, vertebrae: list[Vertebra], finding: Finding) -> None:
    """A compressed body: the upper end plate is sunk, and beneath it lie packed trabeculae and watery marrow."""
    one = next(item for item in vertebrae if item.level == finding.site)
    found = canvas.depth(moved(block(one), one.centre_mm, turn_deg=one.turn))
    if found is None:
        return
    window, depth = found
    inside = canvas.soft(depth)
    above = depth.new_tensor(at(one, (0.0, 0.0, one.height_mm * 0.5 * (1 - one.wedge))))
    up = depth.new_tensor(at(one, (0.0, 0.0, 1.0))) - depth.new_tensor(one.centre_mm)
    below = ((above - canvas.points(window)) @ up) / one.height_mm
    band_share = (1 - (below / 0.62).clamp(0, 1) ** 2) * inside
    for marrow in ("red-marrow", "yellow-marrow"):
        canvas.mix(marrow, "marrow-oedema", band_share * (0.45 + 0.5 * finding.severity), window)
        packed = (1 - ((below - 0.16) / 0.07).abs()).clamp(0, 1) * inside
        canvas.mix(marrow, "bone", packed * 0.5, window)
    bones.keep(canvas, finding.kind, window, inside)
