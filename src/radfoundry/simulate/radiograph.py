"""Projection radiographs: what passes the body, scatter and noise on the detector, and the film as it is hung."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.attenuation import Spectrum, material_maps, spectrum, transmission
from radfoundry.simulate.body import Body
from radfoundry.simulate.markers import letters, placed
from radfoundry.simulate.projection import Film, View, film_affine, project_smoothly
from radfoundry.simulate.scan import Scanned
from radfoundry.volume import Volume

TOP = 4095  # 12 bits, as most detectors store
LEAD_PASSES = 0.02
BONE_GRAIN = 0.05


@dataclass(frozen=True)
class Tube:
    """The exposure: tube voltage, filters, and photons per square mm at the detector without a patient.

    A detector dose of 2.5 µGy at 70-120 kV is about 7e4 photons per square mm (IEC 62220-1: 3e4 per µGy);
    `quanta_per_mm2` is what would arrive without a patient, some hundred times that behind a chest.
    """

    voltage_kv: float = 120.0
    aluminium_mm: float = 2.5
    copper_mm: float = 0.1
    quanta_per_mm2: float = 4e5
    exposure_mas: float = 2.0

    @property
    def beam(self) -> Spectrum:
        """The spectrum that leaves the filters."""
        return spectrum(self.voltage_kv, aluminium_mm=self.aluminium_mm, copper_mm=self.copper_mm)


@dataclass(frozen=True)
class Detector:
    """The receptor and what reaches it besides the image: scatter behind the grid, blur and its own noise.

    `scatter_fraction` is scattered over all photons: in the chest 0.2-0.4 behind a grid and 0.5-0.7 without
    (Niklason 1981, Med Phys 8:677). `blur_mm` is the standard deviation of a point's image.
    """

    manufacturer: str
    model: str
    scatter_fraction: float = 0.3
    scatter_mm: float = 40.0
    blur_mm: float = 0.15
    electronic_quanta: float = 20.0


@dataclass(frozen=True)
class Display:
    """How a site likes its films: contrast of the curve, flattening, edges, which way bright is stored.

    `flattening` takes that share of coarse differences away (so that the mediastinum shows detail), `edges`
    adds that share of fine ones. `photometric` MONOCHROME1 stores dark for bright; the numbers given back are
    always larger where less radiation passed.
    """

    contrast: float = 4.0
    flattening: float = 0.25
    edges: float = 0.4
    edge_mm: float = 2.0
    photometric: str = "MONOCHROME2"


@dataclass(frozen=True)
class Room:
    """An X-ray room: tube, detector and display."""

    tube: Tube
    detector: Detector
    display: Display = field(default_factory=Display)


@dataclass(frozen=True)
class Exam:
    """What is radiographed and how it is marked: body part, side, collimation, lead letter and burned-in words.

    `collimated_mm` is how far the shutters come in from the edges of the detector. `marker` is put in the beam at
    `marker_corner`; `burned_in` is written over the finished film. `truth` names what is projected (None: all).
    """

    body_part: str = "CHEST"
    laterality: str = "U"
    description: str = ""
    collimated_mm: tuple[float, float] = (0.0, 0.0)
    marker: str = ""
    marker_corner: str = "top-right"
    burned_in: str = ""
    truth: tuple[str, ...] | None = None


def radiograph(body: Body, view: View, film: Film, room: Room, exam: Exam, *, rng: np.random.Generator) -> Scanned:
    """One film of a body: 12-bit numbers, brighter where less passed, with the truth projected onto it.

    The truth of a finding is, for every pixel, the share of the ray's way through the body that lies in it.
    """
    maps = torch.cat([material_maps(body), body.fractions.sum(dim=0)[None]])
    paths = project_smoothly(maps, body.affine, view, film)
    through = transmission(grained(paths[:3], film, rng=rng), room.tube.beam)
    opened = shutters(film, exam.collimated_mm)
    through = through * opened
    seen = detected(through, room, film, rng=rng, lead=_lead(exam, film))
    grey = displayed(seen, opened, paths[3] > 5.0, room.display, film)
    array = (grey * TOP).round().clamp(0, TOP).numpy().astype(np.int16)
    if exam.burned_in:
        height = max(7, round(0.025 * film.shape[1]))
        words = letters(exam.burned_in, height_px=height)
        array[placed(words, film.shape, corner="top-left", margin_px=(height, height))] = TOP
    affine = film_affine(view, film)
    strengths = {"scatter_fraction": room.detector.scatter_fraction, "quanta_per_mm2": room.tube.quanta_per_mm2}
    return Scanned(
        Volume.of(array, affine),
        _header(view, film, room, exam),
        projected_truth(body, view, film, paths[3], names=exam.truth),
        strengths,
    )


def projected_truth(
    body: Body, view: View, film: Film, way_mm: torch.Tensor, *, names: tuple[str, ...] | None = None
) -> dict[str, Volume]:
    """For each thing to be found (all, or those named) the share of every ray's way through the body in it."""
    affine = film_affine(view, film)
    wanted = [name for name in body.truth if names is None or name in names]
    found = {name: torch.zeros(film.shape) for name in wanted}
    for name in wanted:
        if bool(body.truth[name].any()):
            part, corner = cropped(body.truth[name], body.affine)
            found[name] = project_smoothly(part[None], corner, view, film)[0] / way_mm.clamp_min(1.0)
    return {name: Volume.of(value.numpy(), affine, units="share") for name, value in found.items()}


def cropped(share: torch.Tensor, affine: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """The part of a map that is not empty, with a border of one voxel, and its own affine."""
    places = share.nonzero()
    low = (places.amin(dim=0) - 1).clamp_min(0).tolist()
    high = [int(value) + 2 for value in places.amax(dim=0).tolist()]
    corner = affine.copy()
    corner[:3, 3] += affine[:3, :3] @ np.array(low, dtype=float)
    return share[low[0] : high[0], low[1] : high[1], low[2] : high[2]], corner


def grained(paths_mm: torch.Tensor, film: Film, *, rng: np.random.Generator) -> torch.Tensor:
    """Paths with the trabecular pattern that voxels cannot hold: bone varies by a few percent, its mean is kept."""
    texture = power_law(film.shape, film.pixel_mm, rng=rng, largest_mm=4.0)
    made = paths_mm.clone()
    made[2] = paths_mm[2] * (1 + BONE_GRAIN * texture).clamp_min(0)
    return made


def power_law(
    shape: tuple[int, int], pixel_mm: float, *, rng: np.random.Generator, largest_mm: float = 12.0
) -> torch.Tensor:
    """A random field of unit variance whose power falls with the cube of the frequency, without coarse waves."""
    first = torch.fft.fftfreq(shape[0], d=pixel_mm)
    second = torch.fft.rfftfreq(shape[1], d=pixel_mm)
    frequency = (first[:, None] ** 2 + second[None] ** 2).sqrt()
    edge = 1 / largest_mm
    weight = (frequency.clamp_min(edge)) ** -1.5 * (1 - torch.exp(-((frequency / edge) ** 4)))
    white = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    made = torch.fft.irfft2(torch.fft.rfft2(white) * weight, s=shape)
    return made / made.std().clamp_min(1e-9)


def detected(
    through: torch.Tensor, room: Room, film: Film, *, rng: np.random.Generator, lead: torch.Tensor | None = None
) -> torch.Tensor:
    """Photons per pixel relative to the open beam, with scatter, Poisson noise, blur and electronic noise.

    Scatter is the image itself, smeared widely, so that `scatter_fraction` of all photons are scattered. `lead` is
    where a marker lies on the detector's cover: it stops scatter as well.
    """
    detector = room.detector
    ratio = detector.scatter_fraction / (1 - detector.scatter_fraction)
    arriving = through + ratio * blurred(through, detector.scatter_mm / film.pixel_mm)
    if lead is not None:
        arriving = torch.where(lead, arriving * LEAD_PASSES, arriving)
    quanta = room.tube.quanta_per_mm2 * film.pixel_mm**2
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    counted = torch.poisson(arriving * quanta, generator=generator)
    counted = blurred(counted, detector.blur_mm / film.pixel_mm)
    own = torch.randn(film.shape, generator=generator) * detector.electronic_quanta * film.pixel_mm
    return (counted + own).clamp_min(1.0) / quanta


def displayed(
    seen: torch.Tensor, opened: torch.Tensor, in_body: torch.Tensor, display: Display, film: Film
) -> torch.Tensor:
    """Grey from 0 (black) to 1: logarithm, flattening, edges, and an S-shaped curve around the body's own range.

    Outside the shutters the film is black, as workstations show it.
    """
    logarithm = -torch.log(seen)
    inside = (opened > 0.5) & in_body
    place = inside if bool(inside.any()) else opened > 0.5
    middle = float(logarithm[place].median())
    flat = torch.where(in_body, logarithm, middle)
    coarse = blurred(flat, 30.0 / film.pixel_mm) - middle
    sharp = logarithm - blurred(logarithm, display.edge_mm / film.pixel_mm)
    value = logarithm - display.flattening * coarse + display.edges * sharp
    low, high = (float(edge) for edge in np.percentile(value[place].numpy(), (1.0, 99.0)))
    place_in_range = (value - (0.44 * low + 0.56 * high)) / max(high - low, 1e-6)
    toe = torch.sigmoid(torch.tensor(-0.55 * display.contrast))  # the curve meets black and white just outside
    curve = (torch.sigmoid(display.contrast * place_in_range) - toe) / (1 - 2 * toe)
    return curve.clamp(0, 1) * (opened > 0.5)


def shutters(film: Film, collimated_mm: tuple[float, float]) -> torch.Tensor:
    """How open the collimator is, 0 to 1: straight edges with half a mm of penumbra."""
    edges = []
    for count, inset in zip(film.shape, collimated_mm, strict=True):
        place = (torch.arange(count) - (count - 1) / 2).abs() * film.pixel_mm
        half = count * film.pixel_mm / 2 - inset
        edges.append(((half - place) / max(0.5, film.pixel_mm) + 0.5).clamp(0, 1) if inset else torch.ones(count))
    return edges[0][:, None] * edges[1][None]


def blurred(image: torch.Tensor, deviation_px: float) -> torch.Tensor:
    """A Gaussian blur that keeps the mean; the edges are continued. Coarse blurs are made on a coarser grid."""
    if deviation_px < 0.05:
        return image
    if deviation_px > 12:
        factor = int(deviation_px // 4)
        small = torch.nn.functional.avg_pool2d(image[None, None], factor, ceil_mode=True, count_include_pad=False)
        small = blurred(small[0, 0], deviation_px / factor)[None, None]
        return torch.nn.functional.interpolate(small, size=image.shape, mode="bicubic", align_corners=False)[0, 0]
    reach = max(1, int(4 * deviation_px + 0.5))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation_px) ** 2)
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(image[None, None], (reach, reach, reach, reach), mode="replicate")
    across = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(across, kernel[None, None, None, :])[0, 0]


def box_of(truth: Volume, *, share: float = 0.1) -> tuple[int, int, int, int] | None:
    """The box (left, top, right, bottom; the last two beyond the end) of a projected finding; None without one.

    It holds every pixel of at least `share` of the finding's largest value.
    """
    picture = truth.array[0, :, :, 0]
    if not picture.any():
        return None
    columns, rows = np.nonzero(picture >= share * picture.max())
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def _lead(exam: Exam, film: Film) -> torch.Tensor:
    """Where the lead letter lies: 15 mm high, inside the shutters."""
    if not exam.marker:
        return torch.zeros(film.shape, dtype=torch.bool)
    height = max(7, round(min(15.0, 0.06 * film.shape[1] * film.pixel_mm) / film.pixel_mm))
    margin = [round((inset + 8.0) / film.pixel_mm) for inset in exam.collimated_mm]
    stamp = letters(exam.marker, height_px=height)
    return torch.from_numpy(
        placed(stamp, film.shape, corner=exam.marker_corner, margin_px=(margin[0], margin[1] + height))
    )


def _header(view: View, film: Film, room: Room, exam: Exam) -> Acquisition:
    if room.display.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise InputError(f"unknown photometric {room.display.photometric!r}", remedy="MONOCHROME1 or MONOCHROME2")
    return Acquisition(
        modality="DX",
        manufacturer=room.detector.manufacturer,
        model=room.detector.model,
        body_part=exam.body_part,
        series_description=exam.description or f"{exam.body_part.capitalize()} {view.name}",
        image_type=("ORIGINAL", "PRIMARY"),
        tube_voltage_kv=room.tube.voltage_kv,
        exposure_mas=room.tube.exposure_mas,
        matrix=film.shape,
        field_of_view_mm=(round(film.shape[0] * film.pixel_mm, 1), round(film.shape[1] * film.pixel_mm, 1)),
        view_position=view.name,
        laterality=exam.laterality,
        photometric=room.display.photometric,
    )
