"""Quick coarse images of any kind of MR series and region, for classifiers of series: one body, many protocols."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from radfoundry.simulate.anatomy.regions import draw_anatomy, region
from radfoundry.simulate.body import Body
from radfoundry.simulate.headers import Scanner, Slab
from radfoundry.simulate.kspace import Faults
from radfoundry.simulate.pool import BOX, CENTRE_MM, MAPS, make_head
from radfoundry.simulate.protocols import PROTOCOLS, draw_sequence
from radfoundry.simulate.region_presets import built
from radfoundry.simulate.scan import scan, slab_grid, through_slices
from radfoundry.simulate.tissues import at_field
from radfoundry.volume import Volume

BODY_MM = 3.0
NOT_SCANNED = ("ADC", "mask", "noise")
BRAIN = ("grey", "white", "csf", "deep-grey", "plaque", "oedema", "tumour", "necrosis", "haemorrhage", "enhancing")


def draw_body(
    name: str, *, rng: np.random.Generator
) -> tuple[Body, tuple[float, float, float], tuple[float, float, float], str]:
    """A body of a region (`brain` or one of `anatomy.regions`) at 3 mm: body, centre, field of view in mm and plane."""
    if name == "brain":
        head = make_head(rng)
        affine = np.diag([head.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = np.array(CENTRE_MM) - head.spacing_mm * (np.array(BOX) - 1) / 2
        body = Body(MAPS, head.shares.float() / 255, affine)
        reach = tuple(float(n * head.spacing_mm * 0.9) for n in BOX)
        return body, CENTRE_MM, (reach[0], reach[1], reach[2]), "axial"
    chosen = region(name)
    kinds = chosen.kinds
    found = (str(rng.choice(kinds)),) if kinds and rng.random() < 0.5 else ()
    body = built(draw_anatomy(name, rng=rng, findings=found), spacing_mm=BODY_MM)
    return body, chosen.centre_mm, chosen.field_of_view_mm, chosen.plane


def series_images(name: str, protocols: Sequence[str], *, rng: np.random.Generator) -> Iterator[tuple[str, Volume]]:
    """One image per protocol of one body: thick or thin slices, any plane, noise, shading, sometimes stripped or cut.

    Protocols are those of `simulate.protocols`, or ADC (the diffusion map itself), mask and noise.
    """
    body, centre, field, plane = draw_body(name, rng=rng)
    for protocol in protocols:
        slab = _slab(centre, field, plane, volumetric=protocol in PROTOCOLS and PROTOCOLS[protocol].volumetric, rng=rng)
        yield protocol, _image(body, protocol, slab, brain=name == "brain", rng=rng)


def _slab(
    centre: Sequence[float], field: Sequence[float], plane: str, *, volumetric: bool, rng: np.random.Generator
) -> Slab:
    chosen = plane if rng.random() < 0.6 else str(rng.choice(["axial", "sagittal", "coronal"]))
    moved = np.array(centre) + rng.normal(0, 0.04, 3) * np.array(field)
    sized = np.array(field) * rng.uniform(0.75, 1.1, 3)
    thickness = float(rng.uniform(1.5, 3)) if volumetric else float(rng.uniform(3, 6.5))
    return Slab(
        plane=chosen,
        in_plane_mm=float(max(rng.uniform(2.0, 3.2), max(field) / 120)),
        thickness_mm=thickness,
        gap_mm=0.0 if volumetric else float(rng.choice([0, 0.1, 0.3])) * thickness,
        tilt_deg=(float(rng.normal(0, 5)), float(rng.normal(0, 3)), float(rng.normal(0, 3))),
        field_of_view_mm=(float(sized[0]), float(sized[1]), float(sized[2])),
        centre_mm=(float(moved[0]), float(moved[1]), float(moved[2])),
    )


def _image(body: Body, protocol: str, slab: Slab, *, brain: bool, rng: np.random.Generator) -> Volume:
    if protocol == "noise":
        shape, affine = slab_grid(slab)
        return Volume.of((rng.integers(0, 4096, shape) - int(rng.choice([0, 2048]))).astype(np.int16), affine)
    if protocol == "mask":
        return _mask(body, slab, rng)
    if protocol == "ADC":
        return _diffusion_map(body, slab, rng)
    field_t = float(rng.choice([1.5, 3.0]))
    scanner = Scanner(
        "SIEMENS",
        "any",
        field_t,
        noise=float(np.exp(rng.uniform(np.log(0.01), np.log(0.12)))),
        shading=float(rng.uniform(0.02, 0.35)),
        brightness=float(np.exp(rng.uniform(np.log(60), np.log(2000)))),
        curve=float(np.exp(rng.normal(0, 0.12))),
    )
    body = _stripped(body, rng) if brain and rng.random() < 0.3 else body
    faults = Faults(motion_mm=float(rng.uniform(0, 3))) if rng.random() < 0.1 else Faults()
    return scan(body, draw_sequence(protocol, rng=rng), scanner, slab, rng=rng, faults=faults).volume


def _stripped(body: Body, rng: np.random.Generator) -> Body:
    """The head with everything but the brain made air, as skull-stripped research images are."""
    kept = torch.stack([body.share(name) for name in BRAIN]).sum(dim=0)
    inside = (kept > 0.5).float() if rng.random() < 0.7 else kept
    return Body(body.tissues, body.fractions * inside, body.affine)


def _mask(body: Body, slab: Slab, rng: np.random.Generator) -> Volume:
    """A label map: one tissue or several as whole numbers."""
    count = int(rng.integers(1, min(6, len(body.tissues)) + 1))
    chosen = rng.permutation(len(body.tissues))[:count]
    shares = through_slices(body.fractions[torch.from_numpy(chosen)], body.affine, slab)
    best, label = shares.max(dim=0)
    array = ((label + 1) * (best > 0.5)).numpy().astype(np.int16)
    return Volume.of(array * int(rng.choice([1, 1, 1, 255])), slab_grid(slab)[1])


def _diffusion_map(body: Body, slab: Slab, rng: np.random.Generator) -> Volume:
    """Apparent diffusion in 1e-6 mm²/s: of each tissue, mixed within voxels, noisy where there is little water."""
    table = at_field(1.5, names=body.tissues)
    moving = table.diffusivity_um2_per_ms * 1000
    water = table.proton_density * (1 - table.fat_fraction) * (table.t2_ms > 20)
    maps = torch.stack(
        [
            (moving * water)[:, None, None, None].mul(body.fractions).sum(dim=0),
            water[:, None, None, None].mul(body.fractions).sum(dim=0),
        ]
    )
    sliced = through_slices(maps, body.affine, slab)
    diffusion = sliced[0] / sliced[1].clamp_min(0.05)
    noise = torch.randn(diffusion.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    seen = diffusion + noise * float(rng.uniform(30, 250))
    there = sliced[1] > 0.15
    if rng.random() < 0.5:  # many programs leave noise outside the body, others zero
        outside = noise.abs() * float(rng.uniform(300, 1200))
    else:
        outside = torch.zeros_like(seen)
    array = torch.where(there, seen, outside).clamp(0, 4095) * float(rng.choice([1.0, 1.0, 0.001, 10.0]))
    values = array.numpy()
    return Volume.of(values.astype(np.float32) if values.max() < 100 else values.astype(np.int16), slab_grid(slab)[1])
