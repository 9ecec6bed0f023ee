"""Scans of known quality without end: clean simulated series, spoiled by drawn amounts, seen as small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from radfoundry.data.slice_pictures import Seen, chosen_slices, look_at
from radfoundry.simulate.anatomy.regions import draw_anatomy, region
from radfoundry.simulate.body import Body
from radfoundry.simulate.degrade import KINDS, LADDERS, Strengths, degrade
from radfoundry.simulate.headers import Scanner
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.region_presets import grid_mm, part_of
from radfoundry.simulate.scan import scan
from radfoundry.simulate.sites import IN_PLANE, SITES, Part, draw_slab
from radfoundry.simulate.subject import build, draw_subject

SEQUENCES = ("T1w", "T2w", "PDw", "FLAIR")
HEAD = "head"


@dataclass(frozen=True, eq=False)
class CleanScan:
    """One series without noise or fault: slices `(I, J, K)`, voxel size along J, and what it shows of whom."""

    image: np.ndarray
    spacing_mm: float
    sequence: str
    region: str
    patient: int


@dataclass(frozen=True, eq=False)
class Spoiled:
    """N series as pictures with the truth about them.

    pictures `(N, 7, 6, 64, 64)` float16 and measures `(N, 7, 8)` of their slices ·
    strengths `(N, 9)` in the order of `degrade.KINDS` · sequence, region and patient `(N,)`.
    Where ladders were asked for, rows 2i and 2i + 1 are one scan, the second worse in one way.
    """

    pictures: np.ndarray
    measures: np.ndarray
    strengths: np.ndarray
    sequence: np.ndarray
    region: np.ndarray
    patient: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, rows: np.ndarray) -> Spoiled:
        """Only some of the series, in the order given."""
        return Spoiled(*(getattr(self, field.name)[rows] for field in fields(self)))


def clean_scans(
    patient: int, *, seed: int, size: str = "small", region_name: str = HEAD, sequences: Sequence[str] = SEQUENCES
) -> list[CleanScan]:
    """One simulated patient under several sequences, from a scanner without noise, shading or fault."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, patient, 41]))
    body, part = _body(region_name, size, rng)
    made = []
    for sequence in sequences:
        site = SITES[int(rng.integers(len(SITES)))]
        slab = draw_slab(site, sequence, part, rng=rng, size=size)
        scanner = Scanner("", "", float(rng.choice([1.5, 3.0])), noise=0.0, shading=0.0, brightness=4000.0)
        gradient = sequence == "T1w" and rng.random() < 0.3
        seen = scan(body, draw_sequence("T1w-gradient" if gradient else sequence, rng=rng), scanner, slab, rng=rng)
        image = seen.volume.array[0].astype(np.float32)
        made.append(CleanScan(image, slab.in_plane_mm, sequence, region_name, patient))
    return made


def _body(region_name: str, size: str, rng: np.random.Generator) -> tuple[Body, Part]:
    if region_name == HEAD:
        subject = draw_subject(rng, lesion_rate=0.5)
        return build(subject, spacing_mm=1.0 if size == "full" else 2.0), Part()
    chosen = region(region_name)
    spacing = max(grid_mm(chosen, size), part_of(chosen).reach_mm * IN_PLANE[size][0])
    return chosen.build(draw_anatomy(region_name, rng=rng), spacing_mm=spacing), part_of(chosen)


def draw_strengths(rng: np.random.Generator) -> Strengths:
    """What one scan suffers from: always some noise and shading, one to three faults of any strength in most."""
    drawn = {"noise": float(np.exp(rng.uniform(np.log(0.008), np.log(0.06)))), "shading": float(rng.uniform(0, 0.25))}
    for kind in rng.permutation(len(KINDS))[: int(rng.choice([0, 1, 2, 3], p=[0.2, 0.4, 0.25, 0.15]))]:
        name = KINDS[int(kind)]
        top = LADDERS[name][-1]
        value = float(top * rng.uniform(0, 1) ** 1.5)
        drawn[name] = drawn.get(name, 0.0) + (round(value) if name in ("spikes", "thickening") else value)
    return Strengths(**drawn)


def worsened(strengths: Strengths, rng: np.random.Generator) -> Strengths:
    """The same with one kind of fault a step stronger."""
    name = KINDS[int(rng.integers(len(KINDS)))]
    step = LADDERS[name][-1] * float(rng.uniform(0.08, 0.4))
    if name in ("spikes", "thickening"):
        step = max(1.0, round(step))
    limit = {"blur": 0.75, "clipping": 0.6, "aliasing": 0.48, "ghosting": 1.0}.get(name, np.inf)
    return replace(strengths, **{name: min(getattr(strengths, name) + step, limit)})


def spoil(
    scans: Sequence[CleanScan], count: int, *, rng: np.random.Generator, ladders: bool = False, varied: bool = False
) -> Spoiled:
    """`count` scans drawn with return and spoiled by drawn strengths.

    With `ladders` every second one is the one before, worse in one way. With `varied` images are also turned,
    interpolated or cut out of the air as archives hold them, which says nothing about their quality.
    """
    rows = []
    while len(rows) < count:
        chosen = scans[int(rng.integers(len(scans)))]
        strengths, state = draw_strengths(rng), int(rng.integers(2**62))
        rows.append((chosen, strengths, state))
        if ladders and len(rows) < count:
            rows.append((chosen, worsened(strengths, rng), state))
    seen = [_seen(chosen, strengths, state, varied) for chosen, strengths, state in rows]
    return Spoiled(
        np.stack([item.pictures.astype(np.float16) for item in seen]),
        np.stack([item.measures for item in seen]),
        np.stack([strengths.vector() for _, strengths, _ in rows]).astype(np.float32),
        np.array([chosen.sequence for chosen, _, _ in rows]),
        np.array([chosen.region for chosen, _, _ in rows]),
        np.array([chosen.patient for chosen, _, _ in rows]),
    )


def _seen(chosen: CleanScan, strengths: Strengths, state: int, varied: bool) -> Seen:
    rng = np.random.default_rng(state)
    slices = chosen_slices(chosen.image.shape[2])
    made = degrade(chosen.image, strengths, spacing_mm=chosen.spacing_mm, rng=rng, slices=slices)
    factor = float(rng.uniform(1.1, 2.0)) if varied and rng.random() < 0.3 else 1.0
    return look_at(_varied(made, factor, rng) if varied else made, in_plane_mm=chosen.spacing_mm / factor)


def _varied(made: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """How the same scan may come out of an archive: turned, interpolated, with its air cut off or blanked."""
    if rng.random() < 0.5:
        made = made.transpose(1, 0, 2)
    if factor > 1:
        size = [round(n * factor) for n in made.shape[:2]]
        stack = torch.from_numpy(np.ascontiguousarray(made)).movedim(-1, 0)[:, None]
        grown = torch.nn.functional.interpolate(stack, size=size, mode="bilinear", align_corners=False)
        made = grown[:, 0].movedim(0, -1).numpy()
    kind = rng.random()
    if kind < 0.15:
        made = np.where(made > 0.3 * np.percentile(made, 95), made, 0.0)
    elif kind < 0.4:
        lit = made.max(axis=2) > 0.4 * np.percentile(made, 95)
        rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
        made = made[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return made ** float(np.exp(rng.normal(0, 0.1)))
