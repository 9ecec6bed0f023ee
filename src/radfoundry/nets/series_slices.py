"""What single slices say of the type of a series: a small network that learned from simulated slices alone.

It reads up to nine slices at 1.5 mm, fine enough to see fluid between the folds of a brain, and takes the mean of what
they say. Its answer counts every type as likely as another before the image is seen, so that it can be multiplied with
what the header says.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from radfoundry.data.series_types import SEQUENCES
from radfoundry.nets import weight_files
from radfoundry.records import InputError
from radfoundry.volume import Volume

SIDE, SPACING_MM = 128, 1.5
MOST_SLICES, INNER = 9, (0.2, 0.8)
LARGEST_CHANNELS = 3
THICK = 1.25  # slices this much thicker than they are fine lie across that axis
EMPTY_SHARE = 0.2  # the commonest value of an image with negative ones that is the air around a brain
BRIGHTEST, ROOM = 99.5, 1.2
HEADER_DOUBT, SLICE_DOUBT = 1e-3, 0.1
WIDTHS = (16, 32, 48, 64, 96)
TYPES = " ".join(SEQUENCES)
AGAIN = "train them again (benchmarks/series_types/train_slices.py)"
WEIGHTS_FILE = Path(__file__).resolve().parent.parent / "weights" / "radfoundry-series-slices.safetensors"


class SliceNet(nn.Module):
    """Five steps of two convolutions; mean and highest of what they see, and one score a type."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, 2, 1), nn.GroupNorm(8, width), nn.GELU()]
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.GroupNorm(8, width), nn.GELU()]
            before = width
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.2)
        self.answer = nn.Linear(2 * before, len(SEQUENCES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores `(B, types)` of slices `(B, 1, SIDE, SIDE)` between 0 and 1."""
        seen = self.body(images)
        return self.answer(self.drop(torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)))


@dataclass(frozen=True, eq=False)
class SliceReader:
    """The network, and the confidence above which header and slices together are right often enough."""

    net: SliceNet
    limit: float


def slice_answer(volume: Volume, *, net: SliceNet | None = None) -> np.ndarray | None:
    """`(types,)` probabilities in the order of SEQUENCES under equal shares of the types; None without anything to see.

    >>> ramp = np.linspace(0, 1, 64 * 64 * 3, dtype=np.float32).reshape(64, 64, 3)
    >>> slice_answer(Volume.of(ramp, np.diag([3.0, 3.0, 5.0, 1.0]))).shape
    (14,)
    """
    seen = slices_of(volume)
    if seen is None:
        return None
    with torch.no_grad():
        said = (net or bundled().net)(torch.from_numpy(seen)[:, None].float() / 255).log_softmax(dim=1)
    return said.mean(dim=0).softmax(dim=0).numpy()


def slices_of(volume: Volume) -> np.ndarray | None:
    """`(n, SIDE, SIDE)` bytes: slices from the inner part at 1.5 mm, across the axis with the thickest voxels.

    Of several channels (time points, b-values) the mean of the first three counts. None where nothing is bright.
    """
    values = np.nan_to_num(volume.array[:LARGEST_CHANNELS].astype(np.float32)).mean(axis=0)
    values = _from_zero(values)
    spacing = np.asarray(volume.spacing_mm, float)
    axis = int(np.argmax(spacing)) if spacing.max() > THICK * np.median(spacing) else 2
    stack, in_plane = np.moveaxis(values, axis, 0), np.delete(spacing, axis)
    rows = np.unique(np.rint(np.linspace(*INNER, min(MOST_SLICES, len(stack))) * (len(stack) - 1)).astype(int))
    seen = [scaled(_framed(stack[row], in_plane)) for row in rows if stack[row].max() > 0]
    return np.stack(seen) if seen else None


def scaled(image: np.ndarray) -> np.ndarray:
    """Bytes: 0 stays 0, the brightest but a few of what is above it come to five sixths of the range."""
    there = image[image > 0]
    top = float(np.percentile(there, BRIGHTEST)) if there.size else 1.0
    return (np.clip(image / max(top, 1e-12), 0, ROOM) / ROOM * 255).astype(np.uint8)


def _from_zero(values: np.ndarray) -> np.ndarray:
    """Values from 0 up: where there are negative ones, what most voxels hold is air or else the lowest is."""
    if values.min() >= 0:
        return values
    known, count = np.unique(values[::3, ::3, ::3], return_counts=True)
    if count.max() <= EMPTY_SHARE * count.sum():
        return values - values.min()
    there = values != known[count.argmax()]
    return np.where(there, np.clip(values - np.percentile(values[there], 0.5), 0, None), 0)


def _framed(image: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """An image `(I, J)` in a frame of SIDE at 1.5 mm, around its middle or, where larger, around what is bright."""
    size = [max(4, round(n * step / SPACING_MM)) for n, step in zip(image.shape, spacing_mm, strict=True)]
    given = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    mode = "area" if size[0] < image.shape[0] else "bilinear"
    seen = torch.nn.functional.interpolate(given, size=size, mode=mode)[0, 0].numpy()
    frame = np.zeros((SIDE, SIDE), np.float32)
    parts, places = [], []
    for axis, count in enumerate(size):
        profile = seen.sum(axis=1 - axis)
        middle = (count - 1) / 2
        if count > SIDE and profile.sum() > 0:
            middle = float((np.arange(count) * profile).sum() / profile.sum())
        first = round(middle - (SIDE - 1) / 2)
        low, high = max(0, first), min(count, first + SIDE)
        parts.append(slice(low, high))
        places.append(slice(low - first, high - first))
    frame[tuple(places)] = seen[tuple(parts)]
    return frame


def together(header: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """`(…, types)` what a header and the slices say together: their product, in which each keeps a little doubt.

    >>> even = np.full(len(SEQUENCES), 1 / len(SEQUENCES))
    >>> sure = np.eye(len(SEQUENCES))[2]
    >>> bool(np.allclose(together(even, even), even)), SEQUENCES[int(together(even, sure).argmax())]
    (True, 'T2')
    """
    both = (header + HEADER_DOUBT) * ((1 - SLICE_DOUBT) * slices + SLICE_DOUBT / len(SEQUENCES))
    return both / both.sum(axis=-1, keepdims=True)


def load(path: str | Path = WEIGHTS_FILE) -> SliceReader:
    """A reader from its weights; refuses a file that is damaged or was made for other types."""
    about, weights = weight_files.read(path)
    if about.get("types") != TYPES:
        raise InputError("the weights were made for other types", where=str(path), remedy=AGAIN, finding="weights")
    net = SliceNet()
    found = {name: value.float() for name, value in weights.items()}
    net.load_state_dict(weight_files.matching(found, net.state_dict(), where=str(path)))
    return SliceReader(net.eval(), float(about["limit"]))


def save(reader: SliceReader, path: Path) -> None:
    """Weights in half precision with the types they are about and the limit; no pickle."""
    weights = {name: value.detach().half().contiguous() for name, value in reader.net.state_dict().items()}
    weight_files.write(weights, path, about={"format": "1", "types": TYPES, "limit": f"{reader.limit:.4f}"})


@functools.cache
def bundled() -> SliceReader:
    """The reader that ships with the package, read once in this process."""
    return load()
