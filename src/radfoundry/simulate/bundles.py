"""Several images that belong together: diffusion with its map, Dixon with its fat fraction, a dynamic series."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from radfoundry.simulate.dynamic import apparent_diffusion_um2_per_ms
from radfoundry.simulate.headers import Scanner, Slab, header
from radfoundry.simulate.protocols import draw_sequence
from radfoundry.simulate.scan import Scanned
from radfoundry.simulate.sequences import Sequence

BUNDLES = ("DWI", "Dixon", "dynamic")
PHASE_MINUTES = (None, 1.0, 2.2, 3.4, 4.6, 6.0)  # before the contrast agent, then after it
Scan = Callable[[Sequence, Scanner], Scanned]


def scan_bundle(name: str, scan: Scan, scanner: Scanner, slab: Slab, *, rng: np.random.Generator) -> dict[str, Scanned]:
    """The images of one of BUNDLES by name, on one scale and with the same settings but for what sets them apart.

    `DWI`: b = 0, b = 1000 and the ADC map in 1e-6 mm²/s · `Dixon`: water, fat and the fat fraction in per cent ·
    `dynamic`: T1-weighted before and at five times after contrast agent. No image filter is applied, because the
    maps need what was measured.
    """
    protocols = {"DWI": "DWI-b0", "Dixon": "Dixon-water", "dynamic": "T1c-gradient"}
    first = draw_sequence(protocols[name], rng=rng)
    if name == "DWI":
        steps = {"DWI-b0": first, "DWI-b1000": replace(first, name="DWI-b1000", b_value_s_per_mm2=1000.0)}
    elif name == "Dixon":
        steps = {"Dixon-water": first, "Dixon-fat": replace(first, name="Dixon-fat", part="fat")}
    else:
        steps = {
            f"dynamic-{number}": replace(
                first, name="T1w" if minutes is None else "T1c", minutes_after_contrast=minutes
            )
            for number, minutes in enumerate(PHASE_MINUTES)
        }
    plain, made = replace(scanner, curve=1.0), {}
    for key, sequence in steps.items():
        made[key] = scan(sequence, plain)
        plain = replace(plain, receiver=made[key].degradations["reference"])
    images = [item.volume.array[0].astype(np.float32) for item in made.values()]
    if name == "DWI":
        return {**made, "ADC": _derived(made["DWI-b1000"], _diffusion_map(*images), replace(first, name="ADC"), slab)}
    if name == "Dixon":
        total = images[0] + images[1]
        percent = np.where(total > 0.08 * np.percentile(total, 99), 100 * images[1] / np.maximum(total, 1), 0)
        derived = replace(first, name="Dixon-fat-fraction")
        return {**made, "Dixon-fat-fraction": _derived(made["Dixon-water"], percent, derived, slab)}
    return made


def _diffusion_map(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """ADC in 1e-6 mm²/s where there is signal, 0 in air."""
    first, second = torch.from_numpy(low), torch.from_numpy(high).clamp_min(0.5)
    found = apparent_diffusion_um2_per_ms(first, second, b_values=(0.0, 1000.0)) * 1000
    seen = low > 0.12 * np.percentile(low, 99)
    return np.where(seen, found.clamp(0, 4000).numpy(), 0)


def _derived(source: Scanned, values: np.ndarray, sequence: Sequence, slab: Slab) -> Scanned:
    volume = source.volume.with_array(np.round(values).astype(np.int16))
    make = Scanner(str(source.acquisition.manufacturer), str(source.acquisition.model), 1.5)
    acquired = header(sequence, make, slab, shape=volume.shape)
    acquired = replace(acquired, field_strength_t=source.acquisition.field_strength_t)
    return Scanned(volume, acquired, source.truth, source.degradations)
