"""Computed tomography: Hounsfield units from tissue, contrast phases, kernels with their noise, slices and header."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from radfoundry.records import Acquisition, InputError
from radfoundry.simulate.attenuation import AIR_HU, attenuation_per_mm, hounsfield, sum_of
from radfoundry.simulate.body import Body
from radfoundry.simulate.ct_streaks import streaks
from radfoundry.simulate.scan import Scanned, Slab, slab_grid, through_slices
from radfoundry.volume import Volume

# What contrast agent adds in HU, by tissue, for about 500 mg iodine per kg. Times and the curves of aorta and liver:
# Bae 2010 (Radiology 256:32). Kidney: Yuh and Cohan 1999 (AJR 173:747). Pancreas: McNulty 2001 (Radiology 220:97).
# Spleen, muscle and lesions are typical values of wide ranges.
PHASES = ("non-contrast", "arterial", "portal-venous", "delayed")
_ADDED: Mapping[str, tuple[float, float, float]] = {  # arterial, portal venous, delayed
    "blood": (200.0, 120.0, 65.0),
    "flowing-blood": (120.0, 120.0, 65.0),
    "liver": (15.0, 52.0, 33.0),
    "spleen": (80.0, 72.0, 40.0),
    "kidney": (130.0, 135.0, 90.0),
    "medulla": (25.0, 110.0, 100.0),
    "pancreas": (65.0, 50.0, 28.0),
    "muscle": (6.0, 14.0, 14.0),
    "bowel": (15.0, 30.0, 25.0),
    "mucosa": (45.0, 50.0, 30.0),
    "prostate": (20.0, 40.0, 40.0),
    "stroma": (15.0, 35.0, 35.0),
    "peripheral-zone": (20.0, 35.0, 35.0),
    "myometrium": (35.0, 65.0, 55.0),
    "airless-lung": (45.0, 55.0, 35.0),
    "glandular": (8.0, 18.0, 18.0),
    "tumour": (35.0, 28.0, 30.0),
    "enhancing": (45.0, 40.0, 30.0),
    "slow-enhancing": (12.0, 30.0, 40.0),
    "carcinoma": (35.0, 40.0, 35.0),
}
ENHANCEMENT: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        phase: {name: values[column] for name, values in _ADDED.items()} if column >= 0 else {}
        for column, phase in enumerate(PHASES, start=-1)
    }
)
# Where blood lies in a vessel that the body's truth names, the vessel's own filling holds instead.
VESSELS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "non-contrast": {},
        "arterial": {"aorta": 280.0, "pulmonary-artery": 180.0, "portal-vein": 35.0, "vena-cava": 45.0},
        "portal-venous": {"aorta": 115.0, "pulmonary-artery": 115.0, "portal-vein": 145.0, "vena-cava": 105.0},
        "delayed": {"aorta": 65.0, "pulmonary-artery": 65.0, "portal-vein": 70.0, "vena-cava": 65.0},
    }
)


@dataclass(frozen=True)
class Kernel:
    """A reconstruction filter: half of the contrast is left at `half_per_mm` cycles; `boost` lifts what is below.

    A boost of 0 is a Gaussian; 1 raises fine detail over coarse, as bone and lung kernels do.
    """

    half_per_mm: float
    boost: float = 0.0

    def transfer(self, frequency_per_mm: torch.Tensor) -> torch.Tensor:
        """The modulation transfer function: 1 at frequency 0."""
        ratio = (frequency_per_mm / self.half_per_mm) ** 2
        return (1 + self.boost * ratio) * torch.exp(-ratio * (math.log(2) + math.log1p(self.boost)))


# Frequencies of half contrast as vendors state them for body kernels: 0.3-0.35 (soft), 0.4 and above 0.6 a mm.
KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {"soft": Kernel(0.30), "standard": Kernel(0.40), "sharp": Kernel(0.62, 0.6)}
)
DIALECTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "SIEMENS": {"soft": "B20f", "standard": "B30f", "sharp": "B70f"},
        "GE MEDICAL SYSTEMS": {"soft": "SOFT", "standard": "STANDARD", "sharp": "LUNG"},
        "Philips": {"soft": "A", "standard": "B", "sharp": "L"},
    }
)
REFERENCE_DIAMETER_MM = 300.0
REFERENCE_THICKNESS_MM = 5.0
NOISE_PIXEL_MM = 0.8


@dataclass(frozen=True)
class CtScanner:
    """A CT scanner and its settings.

    `noise_hu` is the standard deviation in water of 300 mm at 5 mm thickness, standard kernel and `dose` 1.
    `modulation` is how far the tube current makes up for thick patients: 0 not at all, 1 wholly. `streaks` is the
    strength of beam hardening between dense bones (0 none, 1 plain).
    """

    manufacturer: str
    model: str
    tube_voltage_kv: float = 120.0
    exposure_mas: float = 150.0
    noise_hu: float = 9.0
    dose: float = 1.0
    modulation: float = 0.5
    streaks: float = 0.0


def scan_ct(
    body: Body,
    scanner: CtScanner,
    slab: Slab,
    *,
    rng: np.random.Generator,
    kernel: str = "standard",
    phase: str = "non-contrast",
) -> Scanned:
    """One CT series of a body: whole Hounsfield units on the slab's slices, with header and truth.

    Tissue mixes linearly, as attenuation does. Slices average over their thickness, the kernel filters within the
    slice, and noise passes the same filter. Air outside stays at -1000 up to noise, clipped at -1024.
    """
    chosen = kernel_named(kernel)
    image = hounsfield(body) + enhancement(body, phase)
    sliced = through_slices((image - AIR_HU)[None], body.affine, slab)[0] + AIR_HU
    if scanner.streaks:
        sliced = sliced + scanner.streaks * streaks(sliced, slab.in_plane_mm)
    deviation = noise_deviation(sliced, scanner, slab)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    seen = filtered(sliced, chosen, slab.in_plane_mm)
    seen = seen + deviation * noise_field(sliced.shape, chosen, slab.in_plane_mm, generator=generator)
    shape, affine = slab_grid(slab)
    array = seen.clamp(-1024, 3071).round().numpy().astype(np.int16)
    truth = {}
    for name, share in body.truth.items():
        there = through_slices(share[None], body.affine, slab)[0] if bool(share.any()) else torch.zeros(shape)
        truth[name] = Volume.of(there.numpy(), affine, units="share")
    strengths = {"noise_hu": float(deviation.mean()), "dose": scanner.dose, "streaks": scanner.streaks}
    header = _header(scanner, slab, kernel=kernel, phase=phase, shape=shape)
    return Scanned(Volume.of(array, affine, units="HU"), header, truth, strengths)


def kernel_named(name: str) -> Kernel:
    """The reconstruction kernel of that name."""
    if name not in KERNELS:
        raise InputError(f"unknown kernel {name!r}", remedy=f"one of {', '.join(KERNELS)}", finding="unknown-name")
    return KERNELS[name]


def enhancement(body: Body, phase: str) -> torch.Tensor:
    """What the contrast agent adds in HU `(I, J, K)` at a phase, by tissue and vessel; refuses unknown phases."""
    if phase not in ENHANCEMENT:
        raise InputError(f"unknown phase {phase!r}", remedy=f"one of {', '.join(ENHANCEMENT)}", finding="unknown-name")
    added = sum_of(body, [ENHANCEMENT[phase].get(name, 0.0) for name in body.tissues])
    for vessel, wanted in VESSELS[phase].items():
        if vessel in body.truth:
            for name in ("blood", "flowing-blood"):
                there = torch.minimum(body.share(name), body.truth[vessel])
                added = added + there * (wanted - ENHANCEMENT[phase][name])
    return added


def filtered(image: torch.Tensor, kernel: Kernel, pixel_mm: float) -> torch.Tensor:
    """Slices `(I, J, K)` through a kernel, without wrapping around the borders; means are kept."""
    border = int(4 / pixel_mm) + 2
    wide = torch.nn.functional.pad(image.movedim(-1, 0)[None], [border] * 4, mode="replicate")[0]
    space = torch.fft.rfft2(wide) * kernel.transfer(_frequencies((wide.shape[-2], wide.shape[-1]), pixel_mm))
    made = torch.fft.irfft2(space, s=wide.shape[-2:])
    return made[:, border : border + image.shape[0], border : border + image.shape[1]].movedim(0, -1)


def noise_deviation(image: torch.Tensor, scanner: CtScanner, slab: Slab) -> torch.Tensor:
    """The noise of every slice `(K,)` in HU with the standard kernel, from dose, thickness and patient size.

    Its variance is proportional to 1/dose and 1/thickness, and grows with the attenuation of water as wide as the
    slice's water-equivalent diameter (AAPM report 220), less what the tube current makes up for.
    """
    if scanner.dose <= 0 or slab.thickness_mm <= 0:
        raise InputError(f"dose {scanner.dose} and thickness {slab.thickness_mm} mm must be above 0")
    area = ((image.clamp_min(AIR_HU) - AIR_HU) / 1000).sum(dim=(0, 1)) * slab.in_plane_mm**2
    diameter = 2 * (area / math.pi).clamp_min(1.0).sqrt()
    water = attenuation_per_mm("water", 70.0)
    excess = (1 - scanner.modulation) * water * (diameter - REFERENCE_DIAMETER_MM)
    variance = torch.exp(excess) * REFERENCE_THICKNESS_MM / slab.thickness_mm / scanner.dose
    return scanner.noise_hu * variance.sqrt()


def noise_field(
    shape: tuple[int, ...] | torch.Size, kernel: Kernel, pixel_mm: float, *, generator: torch.Generator
) -> torch.Tensor:
    """Noise `(I, J, K)` of filtered back projection: spectrum |f| times the kernel's squared transfer function.

    Riederer 1978 (Phys Med Biol 23:446). Scaled so that the standard kernel at 0.8 mm pixels has a standard deviation
    of 1: a sharp kernel is noisier, and coarse pixels average it.
    """
    white = torch.randn(shape[2], shape[0], shape[1], generator=generator)
    weight = _noise_transfer((shape[0], shape[1]), kernel, pixel_mm)
    made = torch.fft.irfft2(torch.fft.rfft2(white) * weight, s=(shape[0], shape[1]))
    return made.movedim(0, -1)


def _noise_transfer(shape: tuple[int, int], kernel: Kernel, pixel_mm: float) -> torch.Tensor:
    frequency = _frequencies(shape, pixel_mm)
    # A pixel of white noise of unit variance has a spectral density of pixel_mm²; the wanted one is |f| MTF²(f).
    return (frequency * kernel.transfer(frequency) ** 2 / _reference_power()).sqrt() / pixel_mm


def _reference_power() -> float:
    """The integral of |f| MTF² over the plane for the standard kernel, below the Nyquist frequency of 0.8 mm pixels."""
    edge = 0.5 / NOISE_PIXEL_MM
    line = torch.linspace(-edge, edge, 513, dtype=torch.float64)
    frequency = (line[:, None] ** 2 + line[None] ** 2).sqrt()
    power = frequency * KERNELS["standard"].transfer(frequency) ** 2
    return float(torch.trapezoid(torch.trapezoid(power, line, dim=0), line, dim=0))


def _frequencies(shape: tuple[int, int], pixel_mm: float) -> torch.Tensor:
    first = torch.fft.fftfreq(shape[0], d=pixel_mm)
    second = torch.fft.rfftfreq(shape[1], d=pixel_mm)
    return (first[:, None] ** 2 + second[None] ** 2).sqrt()


def _header(scanner: CtScanner, slab: Slab, *, kernel: str, phase: str, shape: tuple[int, int, int]) -> Acquisition:
    dialect = next((DIALECTS[make] for make in DIALECTS if make in scanner.manufacturer), {})
    words = "" if phase == "non-contrast" else f" {phase.replace('-', ' ')}"
    name = dialect.get(kernel, kernel.upper())
    return Acquisition(
        modality="CT",
        manufacturer=scanner.manufacturer,
        model=scanner.model,
        series_description=f"{slab.plane.capitalize()} {slab.thickness_mm:g} mm {name}{words}",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        contrast_agent=None if phase == "non-contrast" else "Iohexol",
        tube_voltage_kv=scanner.tube_voltage_kv,
        exposure_mas=round(scanner.exposure_mas * scanner.dose, 1),
        convolution_kernel=name,
        slice_thickness_mm=slab.thickness_mm,
        slice_gap_mm=slab.gap_mm,
        matrix=(shape[0], shape[1]),
        field_of_view_mm=(round(shape[0] * slab.in_plane_mm, 1), round(shape[1] * slab.in_plane_mm, 1)),
        patient_position="HFS",
    )
