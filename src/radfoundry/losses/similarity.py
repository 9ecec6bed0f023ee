"""How alike two descriptor maps are, how rough a displacement is, and how far two of them are from being inverse."""

from __future__ import annotations

import torch


def descriptor_distance(
    fixed: torch.Tensor, moved: torch.Tensor, weight: torch.Tensor | None = None, *, reject: float = 0.0
) -> torch.Tensor:
    """Mean squared difference of two descriptor maps, a single number.

    fixed, moved: `(C, …)`; weight: `(…)`, how much each place counts (0 where one image does not reach).
    With `reject` above 0 differences far above it stop counting more (Geman-McClure), so that a lesion that only one
    image shows does not pull. 0 where nothing counts.

    >>> descriptor_distance(torch.zeros(2, 3), torch.ones(2, 3)).item()
    1.0
    """
    apart = ((fixed - moved) ** 2).mean(dim=0)
    if reject > 0:
        apart = apart / (1 + apart / reject)
    if weight is None:
        return apart.mean()
    return (apart * weight).sum() / weight.sum().clamp_min(1e-6)


def roughness(field: torch.Tensor) -> torch.Tensor:
    """Mean squared difference between neighbours of a displacement `(3, I, J, K)`; 0 for a pure shift."""
    total = field.new_zeros(())
    for axis in (1, 2, 3):
        if field.shape[axis] > 1:
            total = total + (field.diff(dim=axis) ** 2).sum(dim=0).mean()
    return total


def folding(field: torch.Tensor, *, least: float = 0.1) -> torch.Tensor:
    """How far the local volume change of `x + field(x)` falls below `least`, squared, mean over places; 0 if nowhere.

    field: `(3, I, J, K)` in voxels of its own grid.
    """
    return (least - volume_change(field)).clamp_min(0).square().mean()


def volume_change(field: torch.Tensor) -> torch.Tensor:
    """The Jacobian determinant of `x + field(x)`, from forward differences; 1 keeps volume, 0 or less folds.

    field: `(3, I, J, K)` in voxels of its own grid; the result is one voxel shorter along each axis.

    >>> volume_change(torch.zeros(3, 4, 4, 4)).unique().tolist()
    [1.0]
    """
    inner = field[:, :-1, :-1, :-1]
    columns = [
        field[:, 1:, :-1, :-1] - inner,
        field[:, :-1, 1:, :-1] - inner,
        field[:, :-1, :-1, 1:] - inner,
    ]
    jacobian = torch.stack(columns, dim=1)
    (a, b, c), (d, e, f), (g, h, i) = (list(jacobian[row]) for row in range(3))
    a, e, i = a + 1, e + 1, i + 1
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
