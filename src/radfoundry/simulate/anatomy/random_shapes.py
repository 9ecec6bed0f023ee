"""Bodies without anatomy: nested random blobs of random tissues, to learn images from without learning a region."""

from __future__ import annotations

import numpy as np
import torch

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.regions import Anatomy, Finding, Region
from radfoundry.simulate.anatomy.shapes import Point, Shape, box, ellipsoid, tube, wavy
from radfoundry.simulate.anatomy.texture import everywhere, noise, soft
from radfoundry.simulate.body import Body

HALF_MM = 80.0
# Tissues that may fill a blob; never air, so that every blob is seen.
PALETTE = (
    "grey", "white", "csf", "fat", "muscle", "liver", "spleen", "kidney", "pancreas", "prostate", "marrow",
    "cartilage", "blood", "glandular", "water", "bone", "tendon", "red-marrow", "oedema", "tumour",
)  # fmt: skip
KINDS = ("odd-blob",)


def draw_shapes(rng: np.random.Generator, *, age_years: float, sex: str, findings: tuple[str, ...] = ()) -> Anatomy:
    """Draw how many blobs, how large and how mixed; age and sex are kept but mean nothing here.

    After the synthetic label maps of SynthMorph (Hoffmann 2022, IEEE Trans Med Imaging 41:543).
    """
    measures = {
        "outer_mm": round(float(rng.uniform(52, 74)), 2),
        "blobs": float(rng.integers(12, 31)),
        "texture_mm": round(float(rng.uniform(5, 25)), 2),
        "mixing": round(float(rng.uniform(0.08, 0.3)), 3),
    }
    found = []
    for kind in findings:
        severity = round(float(rng.uniform(0.1, 1.0)), 3)
        x, y, z = (round(float(value), 2) for value in rng.uniform(-20, 20, 3))
        found.append(Finding(kind, severity, (x, y, z), round(6 + 26 * severity, 2), "right" if x > 0 else "left", ""))
    return Anatomy("random-shapes", age_years, sex, measures, int(rng.integers(2**31)), tuple(found))


def build_shapes(anatomy: Anatomy, *, spacing_mm: float) -> Body:
    """The blobs as tissues on a grid; truth numbers them by the order in which they were laid."""
    canvas = Canvas((-HALF_MM, -HALF_MM, -HALF_MM), (HALF_MM, HALF_MM, HALF_MM), spacing_mm)
    rng = np.random.default_rng(anatomy.texture_seed)
    measures, whole = anatomy.measures, everywhere(canvas)
    outer = _blob(rng, (0.0, 0.0, 0.0), measures["outer_mm"])
    surface = outer.distance(canvas.points())
    cover = soft(surface, spacing_mm)
    first, other = (PALETTE[index] for index in rng.choice(len(PALETTE), 2, replace=False))
    canvas.pour(first, whole, cover, name="outside")
    pattern = noise(canvas, whole, wavelength_mm=measures["texture_mm"] * 2, seed=anatomy.texture_seed)
    canvas.mix(first, other, (measures["mixing"] * (1 + 1.5 * pattern)).clamp(0, 0.9), whole)
    for number in range(int(measures["blobs"])):
        _lay(canvas, rng, cover, number=number, measures=anatomy.measures)
    for finding in anatomy.findings:
        _odd(canvas, rng, cover, finding)
    return canvas.body()


def _lay(canvas: Canvas, rng: np.random.Generator, cover: torch.Tensor, *, number: int, measures) -> None:  # noqa: ANN001
    """One more blob with its texture; every third has a kernel of its own, so shapes nest."""
    reach = measures["outer_mm"] * 0.75
    x, y, z = (float(value) for value in rng.uniform(-reach, reach, 3) * 0.8)
    size = float(rng.uniform(7, 30))
    tissues = [PALETTE[index] for index in rng.choice(len(PALETTE), 3, replace=False)]
    shape = _blob(rng, (x, y, z), size)
    for depth in range(1 if number % 3 else 2):
        found = canvas.depth(shape)
        if found is None:
            return
        window, distance = found
        share = canvas.soft(distance + depth * 0.4 * size) * cover[window]
        canvas.pour(tissues[depth], window, share, name=f"blob-{number % 8 + 1}")
        pattern = noise(canvas, window, wavelength_mm=measures["texture_mm"], seed=int(rng.integers(2**31)))
        mixed = share * (measures["mixing"] * (1 + 1.5 * pattern)).clamp(0, 0.9)
        canvas.pour(tissues[2], window, mixed * (share > 0.99))


def _blob(rng: np.random.Generator, centre: Point, size: float) -> Shape:
    radii = tuple(float(value) for value in size * rng.uniform(0.6, 1.0, 3))
    turn = tuple(float(value) for value in rng.uniform(0, 180, 3))
    kind = int(rng.integers(4))
    if kind == 0:
        shape = box(
            centre, (radii[0], radii[1], radii[2]), rounding_mm=0.3 * min(radii), turn_deg=(turn[0], turn[1], turn[2])
        )
    elif kind == 1 and size < 40:
        steps = np.cumsum(rng.standard_normal((5, 3)) * size * 0.7, axis=0) + np.array(centre)
        shape = tube(
            [(float(a), float(b), float(c)) for a, b, c in steps], (size * rng.uniform(0.12, 0.35, 5)).tolist()
        )
    else:
        shape = ellipsoid(centre, (radii[0], radii[1], radii[2]), turn_deg=(turn[0], turn[1], turn[2]))
    return wavy(shape, amplitude_mm=0.06 * size, wavelength_mm=1.2 * size, seed=int(rng.integers(2**31)))


def _odd(canvas: Canvas, rng: np.random.Generator, cover: torch.Tensor, finding: Finding) -> None:
    radius = finding.size_mm / 2
    shape = wavy(
        ellipsoid(finding.centre_mm, (radius, radius, radius)),
        amplitude_mm=0.08 * radius,
        wavelength_mm=1.5 * radius,
        seed=int(rng.integers(2**31)),
    )
    covered = canvas.cover(shape)
    if covered is not None:
        window, share = covered
        canvas.pour(PALETTE[int(rng.integers(len(PALETTE)))], window, share * cover[window], name=finding.kind)


RANDOM_SHAPES = Region(
    name="random-shapes",
    draw=draw_shapes,
    build=build_shapes,
    kinds=KINDS,
    organs=("outside", *(f"blob-{number}" for number in range(1, 9))),
    centre_mm=(0.0, 0.0, 0.0),
    field_of_view_mm=(160.0, 160.0, 160.0),
    protocols=("T1w", "T2w", "PDw", "FLAIR", "STIR"),
    modalities=("MR", "CT"),
)
