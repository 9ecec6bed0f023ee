"""Reading maps off at any place, and displacement fields: composed, smoothed, brought to other grids."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def sample(values: torch.Tensor, places: torch.Tensor, *, outside: str = "border") -> torch.Tensor:
    """A map read off between its voxels, linearly.

    values: `(C, I, J, K)`; places: `(…, 3)` in voxels of the map. Returns `(C, …)`. Beyond the outermost voxel
    centres the nearest value counts (`outside="border"`) or zero (`"zeros"`).

    >>> ramp = torch.arange(4.0)[None, :, None, None].expand(1, 4, 2, 2)
    >>> sample(ramp, torch.tensor([[1.5, 0.0, 0.0]])).tolist()
    [[1.5]]
    """
    size = torch.tensor(values.shape[1:], dtype=places.dtype, device=places.device)
    # grid_sample wants its last axis first and lengths from -1 to 1.
    scaled = (places * 2 / (size - 1).clamp_min(1) - 1).flip(-1)
    flat = scaled.reshape(1, -1, 1, 1, 3)
    read = torch.nn.functional.grid_sample(
        values[None], flat.to(values.dtype), mode="bilinear", padding_mode=outside, align_corners=True
    )
    return read.reshape(len(values), *places.shape[:-1])


def sample_nearest(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """As `sample`, the nearest voxel, for label maps; zero outside the map by more than half a voxel."""
    size = torch.tensor(values.shape[1:], device=places.device)
    nearest = torch.floor(places + 0.5).long()
    within = ((nearest >= 0) & (nearest < size)).all(dim=-1)
    kept = torch.minimum(nearest.clamp_min(0), size - 1)
    read = values[:, kept[..., 0], kept[..., 1], kept[..., 2]]
    return torch.where(within, read, torch.zeros_like(read))


def inside(shape: tuple[int, ...], places: torch.Tensor) -> torch.Tensor:
    """Which places `(…, 3)`, in voxels, lie within an image of that shape (its outer half voxels included)."""
    size = torch.tensor(shape, dtype=places.dtype, device=places.device)
    return ((places >= -0.5) & (places <= size - 0.5)).all(dim=-1)


def grid(shape: tuple[int, ...]) -> torch.Tensor:
    """The voxel numbers of a grid, `(I, J, K, 3)` float."""
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def moved_by(values: torch.Tensor, field: torch.Tensor, *, outside: str = "border") -> torch.Tensor:
    """A map `(C, I, J, K)` read off at x + field(x); field `(3, I, J, K)` in voxels."""
    return sample(values, grid(tuple(field.shape[1:])) + field.movedim(0, -1), outside=outside)


def composed(first: torch.Tensor, then: torch.Tensor) -> torch.Tensor:
    """The displacement of doing `first` and afterwards `then`: first(x) + then(x + first(x)), in voxels."""
    return first + moved_by(then, first)


def made_inverse(
    forward: torch.Tensor, backward: torch.Tensor, *, steps: int = 10
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two displacements brought towards being each other's inverse by averaging, `steps` times.

    Source: Heinrich et al. 2013, MICCAI 8149:187 (symmetric, inverse-consistent discrete registration).
    """
    for _ in range(steps):
        one = (forward - moved_by(backward, forward)) / 2
        other = (backward - moved_by(forward, backward)) / 2
        forward, backward = one, other
    return forward, backward


def smoothed(field: torch.Tensor, *, width: int = 3, times: int = 2) -> torch.Tensor:
    """A field averaged over boxes of `width` voxels, `times` times over; edges repeat. Axes shorter stay sharp."""
    for _ in range(times):
        kernel = [width if n >= width else 1 for n in field.shape[1:]]
        padding = [size // 2 for size in reversed(kernel) for _ in (0, 1)]
        field = box_means(torch.nn.functional.pad(field[None], padding, mode="replicate")[0], kernel)
    return field


def box_means(values: torch.Tensor, kernel: Sequence[int]) -> torch.Tensor:
    """Means over boxes that lie wholly inside a map `(C, I, J, K)`: shorter by the box less one along each axis.

    One axis after the other, which is several times faster than pooling whole boxes.

    >>> box_means(torch.arange(4.0)[None, :, None, None], (2, 1, 1)).flatten().tolist()
    [0.5, 1.5, 2.5]
    """
    for axis, width in enumerate(kernel, start=1):
        if width > 1:
            kept = values.shape[axis] - width + 1
            total = values.narrow(axis, 0, kept) + values.narrow(axis, 1, kept)
            for start in range(2, width):
                total = total + values.narrow(axis, start, kept)
            values = total / width
    return values


def slid(field: torch.Tensor, part: Sequence[float]) -> torch.Tensor:
    """A map read off between its voxels at x + part, |part| at most 1 along each axis; edges repeat.

    >>> slid(torch.arange(3.0)[None, :, None, None], (0.5, 0.0, 0.0)).flatten().tolist()
    [0.5, 1.5, 2.0]
    """
    for axis, share in enumerate(part, start=1):
        if share:
            last = field.shape[axis] - 1
            order = [min(max(x + (1 if share > 0 else -1), 0), last) for x in range(last + 1)]
            field = field * (1 - abs(share)) + field.index_select(axis, torch.tensor(order)) * abs(share)
    return field


def pooled(values: torch.Tensor, stride: int) -> torch.Tensor:
    """Means of blocks of `stride` voxels, the last ones filled up by repeating the edge."""
    extra = [(-n) % stride for n in values.shape[1:]]
    padding = [amount for size in reversed(extra) for amount in (0, size)]
    filled = torch.nn.functional.pad(values[None], padding, mode="replicate")
    return torch.nn.functional.avg_pool3d(filled, stride)[0]
