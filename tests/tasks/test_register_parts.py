"""Parts of registration against slower or independent ways to the same numbers."""

import numpy as np
import pytest
import torch

from radfoundry.nets import warp
from radfoundry.tasks.register import describer
from radfoundry.tasks.register_affine import Pair, _Problem, generators
from radfoundry.tasks.register_deform import Adam
from radfoundry.volume import Volume


def test_means_by_axis_are_those_of_whole_boxes():
    values = torch.rand(3, 6, 7, 5, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.avg_pool3d(values[None], (3, 2, 1), stride=1)[0]
    assert torch.allclose(warp.box_means(values, (3, 2, 1)), whole, atol=1e-6)


def test_the_slope_of_the_affine_problem_is_that_of_half_its_cost():
    rng = torch.Generator().manual_seed(1)
    smooth = warp.smoothed(torch.rand(2, 14, 14, 14, generator=rng), times=3)
    images = [Volume(image[None].numpy(), np.eye(4)) for image in smooth]
    pair = Pair(images[0], torch.ones(14, 14, 14), images[1], describer())
    maps = warp.smoothed(pair.describe(images[1], 1), times=3)
    problem = _Problem.of(pair, maps, torch.ones(14, 14, 14), 1)
    inner = ((problem.points > 3) & (problem.points < 10)).all(axis=1)
    problem = _Problem(
        problem.points[inner], problem.wanted[:, torch.from_numpy(inner)], problem.maps, problem.values, np.eye(4), 12
    )
    basis = generators("affine", np.full(3, 6.5))
    normal, slope = problem.normal(np.eye(4), problem.moves(basis))
    assert np.allclose(normal, normal.T, atol=1e-6) and np.linalg.eigvalsh(normal).min() > -1e-6
    step = 0.2
    costs = [[problem.cost(np.eye(4) + sign * step * move) for sign in (1, -1)] for move in basis]
    measured = np.array([(up - down) / (2 * step) / 2 for up, down in costs])
    # Slopes are read off differences of whole voxels, so that the two agree in direction rather than to the digit.
    assert np.dot(measured, slope) / (np.linalg.norm(measured) * np.linalg.norm(slope)) > 0.95


@pytest.mark.slow
def test_the_steps_are_those_of_torchs_own_adam():
    wanted = torch.tensor([[0.3, -2.0], [1.0, 4.0]])
    ours, theirs = torch.zeros(2, 2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
    mine, known = Adam([ours], 0.1), torch.optim.Adam([theirs], lr=0.1)
    for _ in range(20):
        mine.step(torch.autograd.grad(((ours - wanted) ** 4).sum(), [ours]))
        known.zero_grad()
        ((theirs - wanted) ** 4).sum().backward()
        known.step()
    assert torch.allclose(ours, theirs, atol=1e-6)
