"""Mammograms: a pressed breast at detector resolution with fine parenchyma, calcifications, muscle and vendor curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.attenuation import material_maps, transmission
from radfoundry.simulate.body import Body
from radfoundry.simulate.breast_compression import breast_view, compress, one_breast
from radfoundry.simulate.markers import letters, placed
from radfoundry.simulate.projection import Film, film_affine
from radfoundry.simulate.radiograph import TOP, Detector, Room, Tube, blurred, detected, power_law
from radfoundry.simulate.scan import Scanned
from radfoundry.volume import Volume

DENSE = ("glandular", "carcinoma", "tumour", "enhancing", "slow-enhancing", "calcification")
CLASSES = ("a", "b", "c", "d")
VOXEL_BLUR = 0.6
APATITE_PER_BONE = 2.7  # attenuation of hydroxyapatite (3.16 g/cm³) over that of cortical bone at 20 keV


@dataclass(frozen=True)
class MammographyUnit:
    """A mammography unit: tube voltage, aluminium filter, photons per square mm, pixel, and how it shows films.

    `equalised` is how much of the thin edge is brought up to the middle, so that the skin line shows.
    """

    manufacturer: str
    model: str
    pixel_mm: float = 0.1
    voltage_kv: float = 29.0
    aluminium_mm: float = 0.7
    quanta_per_mm2: float = 4e6
    scatter_fraction: float = 0.12
    contrast: float = 3.2
    equalised: float = 0.8
    edges: float = 0.5
    photometric: str = "MONOCHROME2"


@dataclass(frozen=True)
class Calcification:
    """One calcification on the pressed breast: mm from the chest wall, mm across from the middle, and how wide."""

    front_mm: float
    across_mm: float
    diameter_mm: float


@dataclass(frozen=True)
class BreastExam:
    """How a breast is taken: view, side, thickness between the plates, calcifications, marker and muscle.

    `grains` is the number of calcifications painted where the body's truth has a place called `calcifications`.
    `muscle` is how far the pectoral muscle reaches down the chest wall of an MLO view, as a share of its length.
    """

    view: str = "CC"
    side: str = "L"
    thickness_mm: float = 55.0
    angle_deg: float = 45.0
    calcifications: tuple[Calcification, ...] = ()
    grains: int = 0
    muscle: float = 0.6
    marker: bool = True
    truth: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class _Paths:
    """Path lengths in mm on the detector's pixels: three materials, all tissue, dense tissue, and each truth."""

    materials: torch.Tensor
    tissue: torch.Tensor
    dense: torch.Tensor
    truth: dict[str, torch.Tensor]

    def below(self, row: int) -> _Paths:
        """The film without its uppermost rows."""
        truth = {name: value[:, row:] for name, value in self.truth.items()}
        return _Paths(self.materials[..., row:], self.tissue[:, row:], self.dense[:, row:], truth)


def mammogram(body: Body, unit: MammographyUnit, exam: BreastExam, *, rng: np.random.Generator) -> Scanned:
    """One mammogram of a body's breast: 12-bit numbers, bright where dense, with truth and density.

    Rays are parallel and run straight through the plates. `degradations` holds `density_percent` (dense volume
    over all tissue but skin) and `dense_area_percent` (pixels more than a fifth dense).
    """
    view = breast_view(exam.view, exam.side, angle_deg=exam.angle_deg)
    breast = one_breast(body, exam.side, truth=exam.truth)
    pressed = compress(breast, view, thickness_mm=exam.thickness_mm)
    paths = _projected(pressed, unit.pixel_mm)
    materials = parenchyma(paths.materials, paths.dense, unit.pixel_mm, rng=rng)
    grains = (*exam.calcifications, *_placed_grains(paths.truth.get("calcifications"), exam.grains, unit.pixel_mm, rng))
    deposits = calcified(grains, paths.tissue.shape, unit.pixel_mm)
    materials[2] += deposits * APATITE_PER_BONE
    if exam.view == "MLO" and exam.muscle > 0:
        materials = pectoral(materials, paths.tissue, unit.pixel_mm, reach=exam.muscle, rng=rng)
        cut = round(0.35 * exam.thickness_mm / unit.pixel_mm)  # the axilla goes on beyond the film's upper edge
        materials, deposits, paths = materials[..., cut:], deposits[:, cut:], paths.below(cut)
    film = Film((paths.tissue.shape[0], paths.tissue.shape[1]), unit.pixel_mm)
    tube = Tube(unit.voltage_kv, unit.aluminium_mm, 0.0, unit.quanta_per_mm2, 100.0)
    detector = Detector(unit.manufacturer, unit.model, unit.scatter_fraction, 8.0, 0.05, 10.0)
    seen = detected(transmission(materials, tube.beam), Room(tube, detector), film, rng=rng)
    grey = shown(seen, paths.tissue, unit)
    array = (grey * TOP).round().clamp(0, TOP).numpy().astype(np.int16)
    flip = exam.side == "R"
    array = array[::-1] if flip else array
    if exam.marker:
        array = _marked(array, exam, unit.pixel_mm)
    truth = {name: share / paths.tissue.clamp_min(1.0) for name, share in paths.truth.items()}
    if grains:
        truth["calcifications"] = (deposits / paths.tissue.clamp_min(1.0)).clamp(0, 1)
    affine = film_affine(view, film)
    return Scanned(
        Volume.of(np.ascontiguousarray(array), affine),
        _header(unit, exam, film, tube),
        {name: _film_of(value, flip, affine) for name, value in truth.items()},
        density(pressed, paths.dense, paths.tissue),
    )


def _film_of(share: torch.Tensor, flip: bool, affine: np.ndarray) -> Volume:
    array = share.numpy()
    return Volume.of(np.ascontiguousarray(array[::-1] if flip else array), affine, units="share")


def _placed_grains(
    truth: torch.Tensor | None, count: int, pixel_mm: float, rng: np.random.Generator
) -> tuple[Calcification, ...]:
    """Grains spread over the place that the truth marks on the film."""
    if truth is None or not count or not bool(truth.any()):
        return ()
    x, y = (torch.arange(size, dtype=torch.float32) for size in truth.shape)
    weight = truth / truth.sum()
    centre = float((weight.sum(dim=1) * x).sum()), float((weight.sum(dim=0) * y).sum())
    radius = float((truth > 0.2 * truth.max()).sum()) ** 0.5 / 2 * pixel_mm
    place = ((centre[0] + 0.5) * pixel_mm, (centre[1] + 0.5 - truth.shape[1] / 2) * pixel_mm)
    return cluster(place, count=count, radius_mm=radius, rng=rng)


def _projected(pressed: Body, pixel_mm: float) -> _Paths:
    """Sums along the beam, on the detector's pixels: the chest wall at the first column.

    Calcifications of the body are left out: voxels smear them; they are painted at the detector's resolution.
    """
    step = float(np.linalg.norm(pressed.affine[:3, 0]))
    dense = sum((pressed.share(name) for name in DENSE), torch.zeros(pressed.shape))
    wanted = list(pressed.truth)
    kept = [name != "calcification" for name in pressed.tissues]
    soft = Body(
        tuple(name for name in pressed.tissues if name != "calcification"), pressed.fractions[kept], pressed.affine
    )
    maps = torch.cat(
        [material_maps(soft), pressed.fractions.sum(dim=0)[None], dense[None]]
        + [pressed.truth[name][None] for name in wanted]
    )
    summed = torch.stack([blurred(path, VOXEL_BLUR) for path in maps.sum(dim=-1) * step])  # no stairs at the skin
    size = [round(count * step / pixel_mm / 2) * 2 for count in summed.shape[1:]]
    fine = torch.nn.functional.interpolate(summed[None], size=size, mode="bicubic", align_corners=False)[0].clamp_min(0)
    return _Paths(fine[:3], fine[3], fine[4], dict(zip(wanted, fine[5:], strict=True)))


def parenchyma(
    materials: torch.Tensor, dense_mm: torch.Tensor, pixel_mm: float, *, rng: np.random.Generator
) -> torch.Tensor:
    """Fine structure that the body's voxels cannot hold: fat and soft tissue change places, their sum stays.

    Its spectrum falls with the cube of the frequency, as measured in mammograms (Burgess 2001, Med Phys 28:419), and
    strands run towards the nipple. It is strongest where both tissues are, and fades out at coarse scales.
    """
    shape = (dense_mm.shape[0], dense_mm.shape[1])
    cloud = power_law(shape, pixel_mm, rng=rng)
    strands = strand_field(shape, pixel_mm, rng=rng)
    total = (materials[0] + materials[1]).clamp_min(0.01)
    share = materials[1] / total
    room = (share * (1 - share)).clamp_min(0).sqrt()
    moved = total * (0.065 * room * cloud + (0.05 * room + 0.035) * strands)
    soft = (materials[1] + moved).clamp_min(0).minimum(total)
    soft = torch.where(total > 1.0, soft, materials[1])
    return torch.stack([total - soft, soft, materials[2]])


def strand_field(shape: tuple[int, int], pixel_mm: float, *, rng: np.random.Generator) -> torch.Tensor:
    """Ligaments and ducts: thin bright ridges of a random field drawn out along the way to the nipple."""
    extent = (shape[0] * pixel_mm, shape[1] * pixel_mm)
    nipple = (extent[0] * 1.05, extent[1] * 0.5)
    x = torch.arange(shape[0])[:, None] * pixel_mm
    y = torch.arange(shape[1])[None] * pixel_mm
    radius = ((x - nipple[0]) ** 2 + (y - nipple[1]) ** 2).sqrt()
    bend = [6.0 * power_law(shape, pixel_mm, rng=rng, largest_mm=60.0) for _ in range(2)]
    angle = torch.atan2(y - nipple[1] + bend[0], nipple[0] - x)
    radius = radius + bend[1]
    total = torch.zeros(shape)
    for width_mm, length_mm in ((5.0, 28.0), (2.6, 15.0)):
        rows, columns = int(radius.max() / length_mm) + 4, int(math.pi * extent[0] / 2 / width_mm) + 4
        raw = torch.from_numpy(rng.standard_normal((1, 1, rows, columns)).astype(np.float32))
        grid = torch.stack([angle / (math.pi / 2), radius / radius.max() * 2 - 1], dim=-1)[None]
        found = torch.nn.functional.grid_sample(
            raw, grid, mode="bicubic", align_corners=True, padding_mode="reflection"
        )
        total += torch.exp(-((found[0, 0] / 0.28) ** 2))  # zero crossings of a random field are closed lines
    return total - total.mean()


def calcified(deposits: Sequence[Calcification], shape: Sequence[int], pixel_mm: float) -> torch.Tensor:
    """Path lengths in mm through round calcifications, painted at the detector's resolution.

    Each pixel holds the mean chord over its area, so the volume is right however small the grain.
    """
    paths = torch.zeros(shape[0], shape[1])
    for item in deposits:
        radius = item.diameter_mm / 2
        centre = (item.front_mm / pixel_mm, item.across_mm / pixel_mm + shape[1] / 2)
        reach = math.ceil(radius / pixel_mm) + 1
        low = [max(0, int(place) - reach) for place in centre]
        high = [min(size, int(place) + reach + 1) for place, size in zip(centre, shape, strict=True)]
        if low[0] >= high[0] or low[1] >= high[1]:
            continue
        parts = 8
        lines = [
            (torch.arange(a * parts, b * parts) + 0.5) / parts - place
            for a, b, place in zip(low, high, centre, strict=True)
        ]
        square = (lines[0][:, None] ** 2 + lines[1][None] ** 2) * pixel_mm**2
        chord = 2 * (radius**2 - square).clamp_min(0).sqrt()
        mean = torch.nn.functional.avg_pool2d(chord[None, None], parts)[0, 0]
        paths[low[0] : high[0], low[1] : high[1]] += mean
    return paths


def cluster(
    centre_mm: tuple[float, float], *, count: int, radius_mm: float, rng: np.random.Generator
) -> tuple[Calcification, ...]:
    """A cluster of micro-calcifications: places normally spread, diameters 0.15-0.6 mm."""
    places = rng.normal(0, radius_mm / 2, (count, 2))
    sizes = np.clip(rng.lognormal(math.log(0.28), 0.4, count), 0.15, 0.6)
    return tuple(
        Calcification(centre_mm[0] + float(x), centre_mm[1] + float(y), float(size))
        for (x, y), size in zip(places, sizes, strict=True)
    )


def pectoral(
    materials: torch.Tensor, tissue_mm: torch.Tensor, pixel_mm: float, *, reach: float, rng: np.random.Generator
) -> torch.Tensor:
    """The pectoral muscle drawn into an MLO view: a convex triangle from the upper edge down the chest wall."""
    rows = torch.nonzero(tissue_mm[: max(2, tissue_mm.shape[0] // 20)].amax(dim=0) > 1.0)[:, 0]
    if not len(rows):
        return materials
    top, length = int(rows[0]), float(rows[-1] - rows[0] + 1)
    down = ((torch.arange(tissue_mm.shape[1]) - top) / (reach * length)).clamp(0, 1)
    widest = 0.42 * length * pixel_mm * float(rng.uniform(0.85, 1.1))
    wave = torch.sin(down * float(rng.uniform(3, 6)) + float(rng.uniform(0, 6)))
    width = widest * ((1 - down) * (1 + 0.5 * down) + 0.02 * wave * (1 - down))
    place = (torch.arange(tissue_mm.shape[0]) + 0.5) * pixel_mm
    depth = (width[None] - place[:, None]).clamp_min(0)
    fibres = 1 + 0.05 * power_law((tissue_mm.shape[0], tissue_mm.shape[1]), pixel_mm, rng=rng, largest_mm=20.0)
    share = (0.62 * (1 - torch.exp(-depth / 5.0)) * fibres * (down < 1)).clamp(0, 1)
    total = materials[0] + materials[1]
    soft = materials[1] + share * (total - materials[1])
    return torch.stack([total - soft, soft, materials[2]])


def shown(seen: torch.Tensor, tissue_mm: torch.Tensor, unit: MammographyUnit) -> torch.Tensor:
    """Grey from 0 to 1: logarithm, thin edges brought up, fine detail lifted, the vendor's curve; black outside."""
    logarithm = -torch.log(seen)
    inside = tissue_mm > 1.0
    coarse = blurred(
        torch.where(inside, logarithm, logarithm[~inside].mean() if bool((~inside).any()) else 0.0), 2.0 / unit.pixel_mm
    )
    middle = float(logarithm[inside].median())
    flat = logarithm + unit.equalised * (middle - coarse).clamp_min(0) * _inner(tissue_mm)
    sharp = logarithm - blurred(logarithm, 1.0 / unit.pixel_mm)
    value = flat + unit.edges * sharp
    thick = tissue_mm > 0.7 * tissue_mm.max()
    low, high = (float(edge) for edge in np.percentile(value[thick].numpy()[::7], (4.0, 99.5)))
    toe = torch.sigmoid(torch.tensor(-0.6 * unit.contrast))
    curve = torch.sigmoid(unit.contrast * (value - (0.55 * low + 0.45 * high)) / max(high - low, 1e-6))
    return ((curve - toe) / (1 - 2 * toe)).clamp(0, 1) * inside


def _inner(tissue_mm: torch.Tensor) -> torch.Tensor:
    """1 inside the breast, falling to 0 over the outermost part where little tissue lies in the beam."""
    return (tissue_mm / (0.5 * tissue_mm.max())).clamp(0, 1)


def density(pressed: Body, dense_mm: torch.Tensor, tissue_mm: torch.Tensor) -> dict[str, float]:
    """Density in percent: by volume (skin left out) and by area (pixels whose tissue is more than a fifth dense)."""
    whole = float((pressed.fractions.sum(dim=0) - pressed.share("skin")).sum())
    dense = float(sum((pressed.share(name) for name in DENSE), torch.zeros(pressed.shape)).sum())
    area = tissue_mm > 1.0
    dense_area = float(((dense_mm > 0.2 * tissue_mm) & area).sum()) / max(1.0, float(area.sum()))
    return {
        "density_percent": round(100 * dense / max(whole, 1e-6), 2),
        "dense_area_percent": round(100 * dense_area, 2),
    }


def density_class(dense_area_percent: float) -> str:
    """The class a to d by dense area: below 25, 50 and 75 percent (BI-RADS, 4th edition, 2003).

    >>> density_class(30.0)
    'b'
    """
    return CLASSES[min(3, int(dense_area_percent // 25))]


def _marked(array: np.ndarray, exam: BreastExam, pixel_mm: float) -> np.ndarray:
    """Side and view in lead letters at the edge away from the chest wall, near the axilla."""
    height = max(7, round(6.0 / pixel_mm))
    corner = "top-right" if exam.side == "L" else "top-left"
    stamp = letters(f"{exam.side}{exam.view}", height_px=height)
    margin = max(1, round(2.0 / pixel_mm))
    if any(part + 2 * margin > size for part, size in zip(stamp.shape, array.shape, strict=True)):
        raise InputError("the pixels are too coarse for the marker", remedy="set marker=False")
    array = array.copy()
    array[placed(stamp, (array.shape[0], array.shape[1]), corner=corner, margin_px=(margin, margin))] = TOP
    return array


def _header(unit: MammographyUnit, exam: BreastExam, film: Film, tube: Tube) -> Acquisition:
    if unit.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"unknown photometric {unit.photometric!r}", remedy="MONOCHROME1 or MONOCHROME2")
    return Acquisition(
        modality="MG",
        manufacturer=unit.manufacturer,
        model=unit.model,
        body_part="BREAST",
        series_description=f"{exam.side} {exam.view}",
        image_type=("ORIGINAL", "PRIMARY"),
        tube_voltage_kv=unit.voltage_kv,
        exposure_mas=tube.exposure_mas,
        matrix=film.shape,
        field_of_view_mm=(round(film.shape[0] * film.pixel_mm, 1), round(film.shape[1] * film.pixel_mm, 1)),
        view_position=exam.view,
        laterality=exam.side,
        photometric=unit.photometric,
    )
