"""A pool of simulated heads kept in memory, so that training crops cost a few milliseconds each on a CPU.

`stream.crops` deforms the template anew for every crop. Here a whole head is deformed once, kept as bytes, and
many crops in many renderings are cut from it; heads are replaced one by one while training goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.simulate.fields import interpolate, rotation, spline_field
from radfoundry.simulate.head import TISSUES, head
from radfoundry.simulate.lesions import Lesion, surface_mm
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.sequences import tissue_signals
from radfoundry.simulate.stream import MAPS
from radfoundry.simulate.subject import draw_subject
from radfoundry.simulate.tissues import at_field

BOX = (72, 80, 72)
SPACING_MM = 3.0
FINE_SHARE = 0.15
CENTRE_MM = (0.0, -14.0, 2.0)
DISEASE = ("plaque", "oedema", "tumour", "necrosis", "haemorrhage", "enhancing")
KINDS = ("grey", "white", "csf", "deep-grey", "bone", "marrow", "fat", "muscle", "skin", "vitreous", "blood", "disease")
CLASSES = {"T1w": 0, "T1w-gradient": 0, "MPRAGE": 0, "T2w": 1, "PDw": 2, "FLAIR": 3, "T2star": 4}
CLASS_NAMES = ("T1w", "T2w", "PDw", "FLAIR", "T2star")
RANDOM_CLASS = -1
STYLE_TISSUES = ("grey", "white", "csf", "fat", "muscle")


@dataclass(frozen=True, eq=False)
class PooledHead:
    """One simulated head on a grid of about 3 mm: `shares` `(maps, I, J, K)` of 255, the place `(3, I, J, K)` of
    every voxel in the template in mm, the share `(I, J, K)` of every voxel that is a finding, and the voxel size."""

    shares: torch.Tensor
    places_mm: torch.Tensor
    lesion: torch.Tensor
    spacing_mm: float


@dataclass(frozen=True, eq=False)
class View:
    """Crops of one rendering: images `(B, 1, n, n, n)`, sequence class `(B,)` (-1 a contrast no physics gives),
    and how bright the tissues of STYLE_TISSUES came out `(B, 5)`, NaN where a crop has none of one."""

    images: torch.Tensor
    sequence: torch.Tensor
    brightness: torch.Tensor


@dataclass(frozen=True, eq=False)
class PoolBatch:
    """The same crops in two renderings, with their truth.

    places_mm `(B, 3, n/4, n/4, n/4)` of every block of four voxels in the template · shares
    `(B, 12, n/2, n/2, n/2)` of the tissues in KINDS, of every block of two · lesion `(B, 1, n/2, n/2, n/2)` ·
    centre_mm `(B, 3)` · head `(B,)` which head of the pool.
    """

    views: tuple[View, View]
    places_mm: torch.Tensor
    shares: torch.Tensor
    lesion: torch.Tensor
    centre_mm: torch.Tensor
    head: torch.Tensor


def make_head(rng: np.random.Generator, *, lesion_rate: float = 0.5) -> PooledHead:
    """Deform the template once: a person as `draw_subject` makes them, in a pose and at a voxel size drawn wider."""
    subject = draw_subject(rng, lesion_rate=lesion_rate)
    fine = rng.random() < FINE_SHARE
    spacing_mm = float(
        np.exp(rng.uniform(np.log(1.1), np.log(2.4))) if fine else SPACING_MM * np.exp(rng.normal(0, 0.06))
    )
    aside = rng.uniform(-1, 1, 3) * np.array([40, 55, 45]) * (2.6 - spacing_mm) / 1.5 if fine else rng.normal(0, 6, 3)
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng.normal(0, 7, 3)) * spacing_mm
    affine[:3, 3] = np.array(CENTRE_MM) + aside - affine[:3, :3] @ ((np.array(BOX) - 1) / 2)
    bend = spline_field(torch.from_numpy(subject.bend_mm), BOX)
    places = _grid(BOX, subject.pose @ affine) + torch.movedim(bend, 0, -1)
    template = head(2.0)
    push = torch.movedim(interpolate(template.push, template.affine, places), 0, -1)
    there = places - subject.ventricles_mm * push
    maps = interpolate(torch.cat([template.fractions, template.depth_mm[None]]), template.affine, there)
    shares = torch.cat([maps[:-1], maps.new_zeros(len(MAPS) - len(TISSUES), *BOX)])
    _widen_sulci(shares, maps[-1], subject.sulci)
    lesion = _paint(shares, subject.lesions, places, spacing_mm=spacing_mm)
    return PooledHead((shares.clamp(0, 1) * 255).round().to(torch.uint8), _half(places), lesion.half(), spacing_mm)


def _half(places: torch.Tensor) -> torch.Tensor:
    return torch.movedim(places, -1, 0).contiguous().half()


def _grid(shape: tuple[int, int, int], affine: np.ndarray) -> torch.Tensor:
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    matrix = torch.from_numpy(affine).float()
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ matrix[:3, :3].T + matrix[:3, 3]


def _widen_sulci(shares: torch.Tensor, depth_mm: torch.Tensor, sulci: float) -> None:
    """Turn part of the outer cortex into fluid, as age does."""
    grey, csf = TISSUES.index("grey"), TISSUES.index("csf")
    turned = shares[grey] * sulci * (1 - depth_mm / 9).clamp(0, 1) * (depth_mm > 0)
    shares[grey] -= turned
    shares[csf] += turned


def _paint(shares: torch.Tensor, lesions: Sequence[Lesion], places: torch.Tensor, *, spacing_mm: float) -> torch.Tensor:
    """Put lesions into the shares, each inside its own box; gives the share of each voxel that is a finding."""
    found = torch.zeros_like(shares[0])
    brain = shares[[TISSUES.index(name) for name in ("grey", "white", "deep-grey")]].sum(dim=0).clamp(0, 1)
    for lesion in lesions:
        reach = 1.6 * max(lesion.radii_mm) + 3
        near = ((places[::4, ::4, ::4] - torch.tensor(lesion.centre_mm)).abs().amax(dim=-1) < reach + 8).nonzero()
        if not len(near):
            continue
        low, high = (near.amin(dim=0) * 4).tolist(), (near.amax(dim=0) * 4 + 4).tolist()
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        for depth, (tissue, scale, strength) in enumerate(lesion.layers):
            outside = surface_mm(lesion, places[box], scale=scale) / spacing_mm
            inside = (0.5 - outside).clamp(0, 1) * brain[box]
            shares[(slice(None), *box)] *= 1 - inside * strength
            shares[(MAPS.index(tissue), *box)] += inside * strength
            if depth == 0 and not lesion.incidental:
                found[box] = torch.maximum(found[box], inside)
    return found


class HeadPool:
    """Heads to cut from; `renew` replaces the oldest one. Everything follows from the seed."""

    def __init__(self, *, heads: int, seed: int, lesion_rate: float = 0.5) -> None:
        self.rng = np.random.default_rng(seed)
        self.lesion_rate = lesion_rate
        self.heads = [make_head(self.rng, lesion_rate=lesion_rate) for _ in range(heads)]
        self.oldest = 0

    def renew(self) -> None:
        """One new head in the place of the oldest."""
        self.heads[self.oldest] = make_head(self.rng, lesion_rate=self.lesion_rate)
        self.oldest = (self.oldest + 1) % len(self.heads)

    def batch(
        self, *, heads: int, crops: int, size: int = 32, physics: float = 0.5, together: float = 0.0
    ) -> PoolBatch:
        """`crops` places in each of `heads` heads, every one in two renderings.

        `physics` is the share of renderings made with the signal equations; the others give every tissue a
        random brightness (after Billot et al. 2023, Med Image Anal 86:102789), so that features cannot lean on
        one contrast. `together` is the chance that all heads are cut at the same places, so that only the person
        tells their crops apart.
        """
        wanted = [wanted_mm(self.rng) for _ in range(crops)] if self.rng.random() < together else [None] * crops
        return assemble(self.heads, self.rng, heads=heads, places=wanted, size=size, physics=physics)


def assemble(
    pool: Sequence[PooledHead],
    rng: np.random.Generator,
    *,
    heads: int,
    places: Sequence[np.ndarray | None],
    size: int,
    physics: float,
) -> PoolBatch:
    """Cut and render a batch from the heads of a pool, in each head one crop for every place; None draws a place."""
    views: list[list[tuple[torch.Tensor, int, torch.Tensor]]] = [[], []]
    truth: list[tuple[torch.Tensor, ...]] = []
    for index in rng.permutation(len(pool))[:heads]:
        for place in places:
            found = cut(pool[int(index)], wanted_mm(rng) if place is None else place, size=size)
            mirrored = rng.random() < 0.5
            shares, there, lesion = (part.flip(1) if mirrored else part for part in found)
            if mirrored:
                there = there * torch.tensor([-1.0, 1.0, 1.0])[:, None, None, None]
            half = torch.nn.functional.avg_pool3d
            inner = slice(size // 2 - 1, size // 2 + 1)
            middle = there[:, inner, inner, inner]
            truth.append(
                (
                    half(there, 4),
                    half(kinds_of(shares), 2),
                    half(lesion, 2),
                    middle.mean(dim=(1, 2, 3)),
                    torch.tensor(int(index)),
                )
            )
            for view in views:
                view.append(render(shares, rng, physics=physics))
    there, shares, lesion, centre, which = (torch.stack(part) for part in zip(*truth, strict=True))
    first, second = (
        View(
            torch.stack([v[0] for v in view])[:, None],
            torch.tensor([v[1] for v in view]),
            torch.stack([v[2] for v in view]),
        )
        for view in views
    )
    return PoolBatch((first, second), there, shares, lesion, centre, which)


def wanted_mm(rng: np.random.Generator) -> np.ndarray:
    """A place in or just outside the brain, in mm of the template."""
    return np.array([0, -16, 6]) + rng.uniform(-1, 1, 3) * np.array([56, 74, 64])


def cut(head: PooledHead, place_mm: np.ndarray, *, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shares, places and lesion of a box of `size` voxels around a place, kept inside what the head was made of."""
    full = head.shares.shape[1:]
    middle = np.array(full) / 2 + (place_mm - np.array(CENTRE_MM)) / head.spacing_mm
    start = [round(min(max(float(m) - size / 2, 0.0), n - size)) for m, n in zip(middle, full, strict=True)]
    box = tuple(slice(a, a + size) for a in start)
    shares = head.shares[(slice(None), *box)].float() / 255
    return shares, head.places_mm[(slice(None), *box)].float(), head.lesion[box].float()[None]


def kinds_of(shares: torch.Tensor) -> torch.Tensor:
    """Shares of all maps `(maps, …)` brought to the twelve of KINDS: all blood counts as one, every disease as one."""
    members = [(name,) for name in KINDS[:-2]] + [tuple(name for name in MAPS if "blood" in name), DISEASE]
    return torch.stack([shares[[MAPS.index(name) for name in names]].sum(dim=0) for names in members])


def draw_signals(rng: np.random.Generator, *, physics: float) -> tuple[torch.Tensor, int]:
    """The brightness of every map, and the class of the sequence that gave it (-1 when it was drawn at random)."""
    if rng.random() < physics:
        protocol = str(rng.choice(list(CLASSES), p=[0.15, 0.08, 0.17, 0.2, 0.15, 0.2, 0.05]))
        field_t = float(rng.choice([1.5, 3.0]))
        values = tissue_signals(draw_sequence(protocol, rng=rng), at_field(field_t, names=MAPS)).abs()
        values = values * torch.from_numpy(np.exp(rng.normal(0, 0.06, len(MAPS)))).float()
        if CLASSES[protocol] == 0 and rng.random() < 0.35:  # after contrast agent
            values[[MAPS.index(name) for name in ("blood", "enhancing", "skin")]] *= float(rng.uniform(1.2, 2.2))
        return values / values[: len(TISSUES)].max(), CLASSES[protocol]
    values = rng.uniform(0, 1, len(MAPS))
    values[TISSUES.index("bone")] *= rng.uniform(0, 0.5)
    grey, deep = TISSUES.index("grey"), TISSUES.index("deep-grey")
    values[deep] = values[grey] + rng.normal(0, 0.08)
    return torch.from_numpy(np.clip(values, 0, 1)).float(), RANDOM_CLASS


def render(shares: torch.Tensor, rng: np.random.Generator, *, physics: float) -> tuple[torch.Tensor, int, torch.Tensor]:
    """One image `(n, n, n)` between 0 and about 1, its sequence class, and the tissues' brightness in it."""
    signals, sequence = draw_signals(rng, physics=physics)
    size = shares.shape[-1]
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    image = (signals @ shares.reshape(len(signals), -1)).reshape(shares.shape[1:])
    texture = torch.randn(1, 1, size // 2, size // 2, size // 2, generator=generator)
    texture = torch.nn.functional.interpolate(texture, size=(size,) * 3, mode="nearest")[0, 0]
    shading = torch.from_numpy(rng.standard_normal((5, 5, 5)).astype(np.float32)) * float(rng.uniform(0, 0.4))
    image = image * torch.exp(spline_field(shading, (size, size, size)) + texture * float(rng.uniform(0, 0.06)))
    image = _blobs(image, rng)
    image = _thick(image, rng)
    image = _stripped(image, shares, rng)
    noise = float(np.exp(rng.uniform(np.log(0.004), np.log(0.08))))
    pair = torch.randn(2, *image.shape, generator=generator) * noise
    image = torch.sqrt((image + pair[0]) ** 2 + pair[1] ** 2)
    image = _field_of_view(image, rng)
    top = float(torch.quantile(image.flatten()[::37], float(rng.uniform(0.97, 1.0)))) + 1e-3
    image = (image / top).clamp(0, 1) ** float(np.exp(rng.normal(0, 0.25)))
    return image, sequence, _brightness(image, shares)


def _brightness(image: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """How bright each tissue is on average, in standard deviations of the crop from its mean; NaN when it is absent."""
    rows = shares[[MAPS.index(name) for name in STYLE_TISSUES]].flatten(1)
    weights = rows * (rows > 0.7)
    volume = weights.sum(dim=1)
    flat = image.flatten()
    mean = (weights @ flat) / volume.clamp_min(1e-3)
    scaled = (mean - flat.mean()) / flat.std().clamp_min(1e-3)
    return torch.where(volume > 0.003 * flat.numel(), scaled, torch.nan)


def _blobs(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Sometimes a roundish patch of another brightness: disease, implants and holes the template does not know."""
    if rng.random() > 0.05:
        return image
    size = image.shape[0]
    axis = torch.arange(size, dtype=torch.float32)
    for _ in range(int(rng.integers(1, 3))):
        centre, radii = rng.uniform(0, size, 3), rng.uniform(2, 7, 3)
        i, j, k = ((axis - float(c)) / float(r) for c, r in zip(centre, radii, strict=True))
        distance = torch.sqrt(i[:, None, None] ** 2 + j[None, :, None] ** 2 + k[None, None, :] ** 2)
        cover = ((1.1 - distance) * 3).clamp(0, 1) * float(rng.uniform(0.4, 1.0))
        image = image * (1 - cover) + cover * float(rng.uniform(0, 1.2))
    return image


def _thick(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Thick slices along one axis, read back between the slices by linear interpolation; sometimes blurred in plane."""
    kind = rng.random()
    size = image.shape[0]
    if kind < 0.35:
        return image
    axis = int(rng.integers(3))
    factor = float(rng.uniform(1.1, 2.6))
    shape = [size, size, size]
    shape[axis] = max(8, round(size / factor))
    if kind > 0.85:
        shape = [max(12, round(size / float(rng.uniform(1.0, 1.5)))) if n == size else n for n in shape]
    mode = torch.nn.functional.interpolate(image[None, None], size=shape, mode="area")
    return torch.nn.functional.interpolate(mode, size=(size,) * 3, mode="trilinear", align_corners=False)[0, 0]


def _stripped(image: torch.Tensor, shares: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Sometimes everything but the brain is removed, with a margin; sometimes only fat is dimmed."""
    kind = rng.random()
    if kind > 0.4:
        return image
    brain = shares[[MAPS.index(name) for name in (*KINDS[:4], *DISEASE)]].sum(dim=0)
    if kind < 0.12:
        brain = torch.nn.functional.max_pool3d(brain[None], 3, stride=1, padding=1)[0]
    elif kind < 0.24:
        brain = brain - shares[TISSUES.index("csf")] * float(rng.uniform(0.3, 0.9))
    return image * (brain > 0.5)


def _field_of_view(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Sometimes the scan ends inside the crop: the rest is empty."""
    if rng.random() > 0.15:
        return image
    axis, kept = int(rng.integers(3)), int(rng.integers(image.shape[0] // 2, image.shape[0]))
    line = torch.zeros(image.shape[0])
    line[:kept] = 1
    if rng.random() < 0.5:
        line = line.flip(0)
    shape = [1, 1, 1]
    shape[axis] = -1
    return image * line.reshape(shape)
