"""The self-supervised restorer: slow waves of an image are disturbed, and a small net learns to put them right.

Nothing but training images is needed. The rectal MRI study names such a harmoniser without publishing it; amplitudes,
mixing and losses here follow its outline, the slow multiplicative field as the only thing the net may change is ours.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from radfoundry.data.harmonize import Arrays, checked, enough
from radfoundry.data.harmonize_bias import BiasField
from radfoundry.data.intensity import percentile, zscore
from radfoundry.data.resample import fit as filled
from radfoundry.data.resample import resample, resample_to
from radfoundry.losses.spectrum import log_amplitude_distance, structural_similarity
from radfoundry.nets.restorer import SlowField
from radfoundry.records import InputError
from radfoundry.train.optimiser import adamw, schedule
from radfoundry.volume import Volume

SIDE_MULTIPLE, LONGEST_SIDE = 8, 64
WAVELENGTHS_MM = (20.0, 200.0)  # 10 to 1 % of the highest frequency of a 1 mm image
AMPLITUDE_DEVIATION = 0.3
COIL_DEVIATION = 0.6
AIR = 0.12  # of the brightest tissue: darker voxels are air, which no scanner brightens
BATCH = 4
NEUTRAL_TURNS = 10


@dataclass(frozen=True, eq=False)
class Restorer:
    """A trained restorer: the field it finds on a coarse copy is multiplied onto the image, detail stays as it is."""

    learns: ClassVar[bool] = True
    net: SlowField
    coarse_mm: float
    images: int
    losses: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        images: Iterable[Volume],
        *,
        steps: int = 300,
        coarse_mm: float = 6.0,
        learning_rate: float = 1e-2,
        seed: int = 0,
    ) -> Self:
        """Train on images alone: disturb their slow waves, restore what N4 makes of the undisturbed image.

        Coarse copies of all images are kept in memory (about 0.2 MB each at 6 mm). Refuses fewer than three images
        and negative values.
        """
        if steps < 1 or not coarse_mm > 0:
            raise InputError(f"{steps} steps at {coarse_mm} mm", remedy="give at least one step and a positive size")
        coarse = [_coarse(volume, coarse_mm) for volume in images]
        pairs = [(small, replace(small, array=_neutral(_Key(small)))) for small in coarse]
        enough(len(pairs), "restorer")
        sides = np.max([raw.shape for raw, _ in pairs], axis=0)
        shape = [min(LONGEST_SIDE, SIDE_MULTIPLE * -(-int(side) // SIDE_MULTIPLE)) for side in sides]
        raw, target = (
            torch.stack([torch.from_numpy(filled(pair[part], shape, outside=0.0).array[0]) for pair in pairs])[:, None]
            for part in (0, 1)
        )
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = SlowField()
        losses = []
        optimiser, wanted = adamw(net, learning_rate=learning_rate, weight_decay=0.01), in_tissue(target)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * schedule(step, step / steps, warmup_steps=min(20, steps // 5))
            rows = torch.randint(len(raw), (2, min(BATCH, len(raw))), generator=generator)
            given = disturbed(raw[rows[0]], raw[rows[1]], coarse_mm=coarse_mm, generator=generator)
            losses.append(_learn(net, optimiser, given, wanted[rows[0]]))
        return cls(net.eval(), float(coarse_mm), len(pairs), tuple(losses))

    def apply(self, volume: Volume, *, mask: np.ndarray | None = None) -> Volume:
        """The restored image in deviations from its tissue; a flat image becomes 0."""
        checked(volume, mask)
        gain = np.exp(self.field(volume))
        level = volume.array.astype(np.float32)
        level -= np.float32(np.percentile(level, 0.5))  # air, which a factor has to leave alone
        return zscore(replace(volume, array=level * gain, units="relative"), mask=mask)

    @torch.no_grad()
    def field(self, volume: Volume) -> np.ndarray:
        """The logarithm `(I, J, K)` of the field that the image is multiplied by."""
        coarse = _coarse(volume, self.coarse_mm)
        shape = [SIDE_MULTIPLE * -(-size // SIDE_MULTIPLE) if size > 1 else 1 for size in coarse.shape]
        small = filled(coarse, shape, outside=0.0)
        array = torch.from_numpy(np.ascontiguousarray(small.array[:1]))[None]
        if array.shape[-1] == 1:  # a 2D image is a slab of equal slices
            array = array.expand(-1, -1, -1, -1, SIDE_MULTIPLE)
        found = self.net(array)[0].numpy()[..., : small.shape[2]]
        padded = np.pad(found, ((0, 0), (1, 1), (1, 1), (1, 1)), mode="edge")
        affine = small.affine.copy()
        affine[:3, 3] -= affine[:3, :3].sum(axis=1)
        return resample_to(Volume(padded, affine), volume.geometry, order=1, outside=0.0).array[0]

    def record(self) -> dict[str, Any]:
        """The coarse voxel size, the number of images and how training went."""
        return {"coarse_mm": self.coarse_mm, "images": self.images, "losses": list(self.losses)}

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights of the net."""
        return {name: value.detach().numpy() for name, value in self.net.state_dict().items()}

    @classmethod
    def restored(cls, record: Mapping[str, Any], arrays: Arrays) -> Self:
        """The inverse of `record` and `arrays`."""
        net = SlowField()
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        return cls(net.eval(), float(record["coarse_mm"]), int(record["images"]), tuple(record["losses"]))


@dataclass(frozen=True, eq=False)
class _Key:
    """A coarse image that equals another one with the same voxels."""

    volume: Volume

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Key)
            and np.array_equal(self.volume.array, other.volume.array)
            and np.array_equal(self.volume.affine, other.volume.affine)
        )

    def __hash__(self) -> int:
        return hash((self.volume.array.shape, self.volume.array.tobytes(), self.volume.affine.tobytes()))


@functools.lru_cache(maxsize=1024)
def _neutral(key: _Key) -> np.ndarray:
    """The image without its shading. N4 takes longer than training, and folds share most of their images."""
    small = key.volume
    return (
        BiasField(coarse_mm=max(small.spacing_mm), turns=NEUTRAL_TURNS)
        .apply(replace(small, array=small.array.clip(0.0)))
        .array
    )


def disturbed(
    images: torch.Tensor, others: torch.Tensor, *, coarse_mm: float, generator: torch.Generator
) -> torch.Tensor:
    """Images `(B, 1, I, J, K)` as another scanner might have made them: slow waves changed, and a coil's shading.

    Amplitudes of waves longer than a drawn length (20 to 200 mm) are mixed with those of `others` in a drawn share
    and multiplied by exp of normal noise of deviation 0.3; phases stay. Then a smooth field multiplies the image. Air
    stays as it is.
    """
    batch, (i, j, k) = len(images), images.shape[-3:]

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    axes = [torch.fft.fftfreq(i, coarse_mm), torch.fft.fftfreq(j, coarse_mm), torch.fft.rfftfreq(k, coarse_mm)]
    frequency = torch.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    low, high = WAVELENGTHS_MM
    longest = (low * (high / low) ** draw(batch, 1, 1, 1, 1)).clamp_min(2 * coarse_mm)
    inside = (frequency <= 1 / longest).float()
    spectrum = torch.fft.rfftn(images, dim=(-3, -2, -1))
    amplitude, other = spectrum.abs(), torch.fft.rfftn(others, dim=(-3, -2, -1)).abs()
    mixed = torch.lerp(amplitude, other, draw(batch, 1, 1, 1, 1))
    noise = torch.randn(mixed.shape, generator=generator) * AMPLITUDE_DEVIATION
    ratio = (mixed * torch.exp(noise) / amplitude.clamp_min(1e-6)).clamp(0.25, 4.0)
    spectrum = spectrum * (1 + inside * (ratio - 1))
    waves = torch.fft.irfftn(spectrum, s=(i, j, k), dim=(-3, -2, -1)).clamp_min(0)
    waves = torch.where(images > AIR, waves, images)
    nodes = torch.randn(batch, 1, 3, 3, 3, generator=generator) * COIL_DEVIATION * draw(batch, 1, 1, 1, 1)
    slope = torch.nn.functional.interpolate(nodes, size=(i, j, k), mode="trilinear", align_corners=True)
    return waves * torch.exp(slope)


def _learn(net: SlowField, optimiser: torch.optim.Optimizer, given: torch.Tensor, truth: torch.Tensor) -> float:
    """One step down L1 + 0.1 log-amplitude L1 + 0.5 (1 - structural similarity); gives the loss before it."""
    loss = apart(in_tissue(given * torch.exp(net(given))), truth)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return round(float(loss.detach()), 5)


def apart(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """How far restored images are from the truth: L1 in the body, and waves and structure of the whole image."""
    body = (truth > AIR).float()
    distance = ((found - truth).abs() * body).sum() / body.sum().clamp_min(1)
    structure = 1 - structural_similarity(found, truth, span=2.0)
    return distance + 0.1 * log_amplitude_distance(found, truth) + 0.5 * structure


def in_tissue(images: torch.Tensor) -> torch.Tensor:
    """Images `(B, 1, I, J, K)` so that their tissue, brighter than half of each image's mean, is 1 on average."""
    flat = images.flatten(1)
    weight = (flat > 0.5 * flat.mean(dim=1, keepdim=True)).float()
    mean = (flat * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
    return images / mean.clamp_min(1e-3)[:, None, None, None, None]


def _coarse(volume: Volume, coarse_mm: float) -> Volume:
    """Air near 0 and bright tissue near 1, on coarse voxels, axes right, front, up."""
    scaled = percentile(volume, clip=False).reorient("RAS")
    return resample(scaled, (coarse_mm,) * 3)
