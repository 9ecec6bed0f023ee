"""B-mode ultrasound: scatterers and walls through a point-spread function, attenuation, shadows, log compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.acoustics import AcousticMaps, acoustic_maps
from radfoundry.simulate.anatomy.shapes import Point
from radfoundry.simulate.body import Body
from radfoundry.simulate.fields import interpolate
from radfoundry.simulate.markers import letters, placed
from radfoundry.simulate.projection import nearest_axis
from radfoundry.simulate.scan import Scanned
from radfoundry.volume import Volume

SPEED_M_PER_S = 1540.0  # what every scanner assumes
FWHM = 2.3548  # of a Gaussian, in standard deviations
INTERFACE_GAIN = 90.0  # echo of a wall of reflectivity 1 over the mean echo of liver
GEL_MM = 6.0  # air that near to the probe is gel: the skin's voxels are part air
SHARED = 4  # samples of one beam width
TOP_DB = 20.0  # full brightness over the mean echo of liver


@dataclass(frozen=True)
class Probe:
    """A transducer: linear (`radius_mm` 0; `width_mm` wide) or curved (its radius, and the angle it opens).

    `cycles` is the length of the pulse; `f_number` how far the receiving aperture is opened, up to `aperture_mm`.
    """

    name: str
    frequency_mhz: float
    depth_mm: float
    width_mm: float = 38.0
    radius_mm: float = 0.0
    angle_deg: float = 60.0
    lines: int = 192
    cycles: float = 2.0
    f_number: float = 1.5
    aperture_mm: float = 20.0

    @property
    def wavelength_mm(self) -> float:
        """The length of one oscillation at 1540 m/s."""
        return SPEED_M_PER_S / self.frequency_mhz / 1000

    @property
    def sample_mm(self) -> float:
        """The distance between samples along a line: a sixth of the pulse's length."""
        return self.cycles * self.wavelength_mm / 2 / 3

    def lateral_mm(self, depth_mm: torch.Tensor) -> torch.Tensor:
        """Width of the beam at half height: wavelength times f-number, and wider where the aperture is spent.

        Dynamic receive focusing (Szabo 2014, Diagnostic Ultrasound Imaging, chapter 6).
        """
        return self.wavelength_mm * (self.f_number**2 + (depth_mm / self.aperture_mm) ** 2).sqrt()


@dataclass(frozen=True)
class Machine:
    """The scanner behind the probe: dynamic range shown, gain over depth, views averaged, and its own noise.

    `gain_db_per_cm_mhz` is the attenuation it makes up for; `looks` the number of independent views that are
    averaged (spatial compounding); `noise_db` its noise at the skin relative to the echo of liver.
    """

    manufacturer: str
    model: str
    dynamic_range_db: float = 60.0
    gain_db_per_cm_mhz: float = 0.6
    gain_db: float = 0.0
    looks: int = 4
    noise_db: float = -92.0
    pixel_mm: float = 0.1


@dataclass(frozen=True)
class Contact:
    """Where the probe is held: a place on or above the skin (RAS), where the beam goes, and the probe's right end."""

    place_mm: Point
    beam: Point
    lateral: Point


def ultrasound(
    body: Body, probe: Probe, contact: Contact, machine: Machine, *, rng: np.random.Generator, words: str = ""
) -> Scanned:
    """One B-mode image of a body: 8-bit brightness with truth in the image plane; black outside a curved field.

    The skin is pressed flat against the probe. `words` are burned into the upper left corner.
    """
    places = line_places(body, probe, contact)
    shares = crisp(interpolate(body.fractions, body.affine, places))
    gel = torch.arange(shares.shape[2]) * probe.sample_mm < GEL_MM
    maps = acoustic_maps(body.tissues, shares, gel=gel.expand(shares.shape[1:]))
    envelope = echoes(maps, probe, machine, rng=rng)
    grey = compressed(envelope, machine)
    shown, inside = scan_converted(grey[None], probe, machine.pixel_mm)
    array = (shown[0] * 255).round().clamp(0, 255).numpy().astype(np.uint8)
    if words:
        height = max(7, round(0.04 * array.shape[1]))
        array[placed(letters(words, height_px=height), array.shape, corner="top-left", margin_px=(height, height))] = (
            255
        )
    affine = _image_affine(contact, machine.pixel_mm)
    truth = {}
    for name, share in body.truth.items():
        seen, _ = scan_converted(interpolate(share[None], body.affine, places), probe, machine.pixel_mm)
        truth[name] = Volume.of((seen[0] * inside).numpy(), affine, units="share")
    strengths = {"looks": float(machine.looks), "dynamic_range_db": machine.dynamic_range_db}
    return Scanned(Volume.of(array, affine), _header(probe, machine, array.shape), truth, strengths)


def line_places(body: Body, probe: Probe, contact: Contact) -> torch.Tensor:
    """Places in mm `(lines, samples, 3)` along every beam, each beginning where it meets the body.

    Refuses a probe that most lines of which miss the body.
    """
    beam, lateral = (
        np.array(values, dtype=float) / np.linalg.norm(values) for values in (contact.beam, contact.lateral)
    )
    count = math.ceil(probe.depth_mm / probe.sample_mm)
    depth = torch.arange(count, dtype=torch.float32) * probe.sample_mm
    if probe.radius_mm:
        angles = np.radians(np.linspace(-probe.angle_deg / 2, probe.angle_deg / 2, probe.lines))
        towards = np.sin(angles)[:, None] * lateral + np.cos(angles)[:, None] * beam
        start = np.array(contact.place_mm) - probe.radius_mm * beam + probe.radius_mm * towards
    else:
        across = np.linspace(-probe.width_mm / 2, probe.width_mm / 2, probe.lines)
        towards = np.tile(beam, (probe.lines, 1))
        start = np.array(contact.place_mm) + across[:, None] * lateral
    start, towards = torch.from_numpy(start).float(), torch.from_numpy(towards).float()
    return start[:, None] + (_skin(body, start, towards)[:, None] + depth)[..., None] * towards[:, None]


def _skin(body: Body, start: torch.Tensor, towards: torch.Tensor) -> torch.Tensor:
    """How far each line travels before it meets tissue, smoothed over neighbouring lines: the skin gives way."""
    search = torch.arange(-30.0, 90.0, 0.5)
    filled = interpolate(
        body.fractions.sum(dim=0)[None], body.affine, start[:, None] + search[:, None] * towards[:, None]
    )[0]
    met = filled > 0.5
    hit = met.any(dim=1)
    if float(hit.float().mean()) < 0.6:
        raise InputError("the probe does not touch the body", remedy="hold it near the skin, pointing inwards")
    first = search[met.float().argmax(dim=1)]
    first = torch.where(hit, first, first[hit].median())
    wide = torch.nn.functional.pad(first[None, None], (6, 6), mode="replicate")
    return torch.nn.functional.avg_pool1d(wide, 13, stride=1)[0, 0]


def crisp(shares: torch.Tensor, *, power: float = 4.0) -> torch.Tensor:
    """Shares `(tissues, …)` with borders sharper than the body's voxels; their sum stays what it was.

    A wave of a tenth of a mm sees interfaces, not the voxels' mixtures.
    """
    total = shares.sum(dim=0)
    empty = (1 - total).clamp_min(0)
    sharp, sharp_empty = shares**power, empty**power
    return sharp / (sharp.sum(dim=0) + sharp_empty).clamp_min(1e-9)


def echoes(maps: AcousticMaps, probe: Probe, machine: Machine, *, rng: np.random.Generator) -> torch.Tensor:
    """Envelope `(lines, samples)` after gain: 1 is the mean power of liver without losses.

    Scatterers are far more than one a resolution cell, so their sum is complex Gaussian (Burckhardt 1978, IEEE
    Trans Sonics Ultrason 25:1) and the envelope of even tissue Rayleigh; walls answer where the impedance jumps,
    most when met at a right angle. Losses are counted both ways.
    """
    depth = torch.arange(maps.amplitude.shape[1], dtype=torch.float32) * probe.sample_mm
    loss_db = 2 * probe.frequency_mhz * torch.cumsum(maps.attenuation_db, dim=1) * probe.sample_mm / 10
    gain_db = 2 * probe.frequency_mhz * machine.gain_db_per_cm_mhz * depth / 10 + machine.gain_db
    passed, gain = 10 ** (-loss_db / 20), 10 ** (gain_db / 20)
    strength = maps.amplitude * strands(maps.strands, probe, rng=rng)
    walls = interfaces(maps.impedance_mrayl, probe) * INTERFACE_GAIN
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    noise = torch.randn(4, machine.looks, *loss_db.shape, generator=generator) * 0.5**0.5
    scattered = torch.complex(noise[0], noise[1]) * (strength * passed) + walls * passed
    seen = spread(scattered, probe, depth) + torch.complex(noise[2], noise[3]) * 10 ** (machine.noise_db / 20)
    return seen.abs().mean(dim=0) * gain


def interfaces(impedance: torch.Tensor, probe: Probe) -> torch.Tensor:
    """How strongly walls answer: relative jump of impedance a sample, weighted by the angle at which they are met."""
    along = torch.gradient(impedance, dim=1)[0]
    spacing = (probe.width_mm if not probe.radius_mm else math.radians(probe.angle_deg) * probe.radius_mm) / probe.lines
    across = torch.gradient(impedance, dim=0)[0] * (probe.sample_mm / spacing)
    upright = along**2 / (along**2 + across**2).clamp_min(1e-12)
    return (along / (2 * impedance).clamp_min(0.1)).abs() * upright**4


def strands(share: torch.Tensor, probe: Probe, *, rng: np.random.Generator) -> torch.Tensor:
    """Echo amplitude of septa and fibres relative to the even tissue they replace: bright lines along the skin.

    The mean power stays about 1.
    """
    lines, samples = share.shape
    extent = samples * probe.sample_mm
    total = torch.zeros_like(share)
    for thick_mm, wide in ((1.6, 5), (0.8, 9)):
        raw = torch.from_numpy(rng.standard_normal((1, 1, wide, int(extent / thick_mm) + 4)).astype(np.float32))
        field = torch.nn.functional.interpolate(raw, size=(lines, samples), mode="bicubic", align_corners=True)[0, 0]
        total += torch.exp(-((field / 0.12) ** 2))
    return (1 - 0.45 * share + 4.0 * share * total).clamp_min(0.05) / (1 + 0.2 * share)


def spread(signal: torch.Tensor, probe: Probe, depth_mm: torch.Tensor) -> torch.Tensor:
    """Complex signals `(N, lines, samples)` through the pulse (along) and the beam (across, wider with depth).

    Both are Gaussians of unit energy, so the mean power of scatterers is kept.
    """
    deviation = probe.cycles * probe.wavelength_mm / 2 / FWHM / probe.sample_mm
    reach = max(1, math.ceil(4 * deviation))
    pulse = torch.exp(-0.25 * (torch.arange(-reach, reach + 1) / deviation) ** 2)  # of the amplitude, not the power
    pulse = pulse / (pulse**2).sum().sqrt()
    count, lines, samples = signal.shape
    parts = torch.view_as_real(signal).movedim(-1, 0).reshape(-1, 1, samples)
    along = torch.nn.functional.conv1d(parts, pulse[None, None], padding=reach).reshape(2 * count, lines, samples)
    # The beam widens so slowly that a few samples share one width.
    blocks = math.ceil(samples / SHARED)
    padded = torch.nn.functional.pad(along, (0, blocks * SHARED - samples))
    columns = padded.reshape(2 * count, lines, blocks, SHARED).permute(2, 1, 0, 3).reshape(blocks, lines, -1)
    beams = _beams(probe, depth_mm[SHARED // 2 :: SHARED], lines, blocks)
    mixed = torch.bmm(beams, columns).reshape(blocks, lines, 2 * count, SHARED).permute(2, 1, 0, 3)
    mixed = mixed.reshape(2, count, lines, -1)[..., :samples]
    return torch.complex(mixed[0].contiguous(), mixed[1].contiguous())


def _beams(probe: Probe, depth_mm: torch.Tensor, lines: int, blocks: int) -> torch.Tensor:
    """How lines share their echoes `(blocks, lines, lines)` at every depth; the last depth stands for what follows."""
    depth_mm = torch.nn.functional.pad(depth_mm[None], (0, blocks - len(depth_mm)), mode="replicate")[0]
    width = probe.lateral_mm(depth_mm) / FWHM
    if probe.radius_mm:
        spacing = math.radians(probe.angle_deg) / (lines - 1) * (probe.radius_mm + depth_mm)
    else:
        spacing = torch.full_like(depth_mm, probe.width_mm / (lines - 1))
    apart = (torch.arange(lines)[:, None] - torch.arange(lines)[None]).float()
    weights = torch.exp(-0.25 * (apart[None] * (spacing / width)[:, None, None]) ** 2)
    return weights / (weights**2).sum(dim=2, keepdim=True).sqrt()


def compressed(envelope: torch.Tensor, machine: Machine) -> torch.Tensor:
    """Brightness from 0 to 1: the logarithm of the envelope over the machine's dynamic range."""
    decibels = 20 * torch.log10(envelope.clamp_min(1e-6)) - TOP_DB
    return (1 + decibels / machine.dynamic_range_db).clamp(0, 1)


def scan_converted(lines: torch.Tensor, probe: Probe, pixel_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
    """From lines and samples `(C, lines, samples)` to square pixels `(C, columns, rows)`, and where the field is."""
    depth = lines.shape[2] * probe.sample_mm
    if probe.radius_mm:
        half = math.radians(probe.angle_deg) / 2
        width = 2 * (probe.radius_mm + depth) * math.sin(half)
        drop = probe.radius_mm * (1 - math.cos(half))
        height = depth + drop
    else:
        half, drop, width, height = 0.0, 0.0, probe.width_mm, depth
    columns, rows = round(width / pixel_mm), round(height / pixel_mm)
    x = ((torch.arange(columns) + 0.5) * pixel_mm - width / 2)[:, None].expand(columns, rows)
    y = ((torch.arange(rows) + 0.5) * pixel_mm)[None].expand(columns, rows)
    if probe.radius_mm:
        z = y + probe.radius_mm * math.cos(half)
        across, down = torch.atan2(x, z) / half, (x**2 + z**2).sqrt() - probe.radius_mm
    else:
        across, down = x / (width / 2), y
    grid = torch.stack([down / depth * 2 - 1, across], dim=-1)[None]
    inside = (grid.abs() <= 1).all(dim=-1)[0]
    found = torch.nn.functional.grid_sample(lines[None], grid, align_corners=True, padding_mode="border")
    return found[0] * inside, inside


def _image_affine(contact: Contact, pixel_mm: float) -> np.ndarray:
    row, column = nearest_axis(contact.lateral), nearest_axis(contact.beam)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = row * pixel_mm, column * pixel_mm
    affine[:3, 2] = np.cross(row, column)
    return affine


def _header(probe: Probe, machine: Machine, shape: tuple[int, ...]) -> Acquisition:
    return Acquisition(
        modality="US",
        manufacturer=machine.manufacturer,
        model=machine.model,
        series_description=f"{probe.name} {probe.frequency_mhz:g} MHz",
        image_type=("ORIGINAL", "PRIMARY"),
        matrix=(shape[0], shape[1]),
        field_of_view_mm=(round(shape[0] * machine.pixel_mm, 2), round(shape[1] * machine.pixel_mm, 2)),
        photometric="MONOCHROME2",
    )
