"""Random images for property tests: any shape, voxel type, axis order, flip, oblique turn and shear."""

import numpy as np
from hypothesis import strategies as st

from radfoundry.volume import Volume

STORABLE = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
ORIENTATIONS = ["RAS", "LPS", "LAS", "PIR", "SRA", "AIL", "IPR"]


def rotation(rng):
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


@st.composite
def affines(draw, sheared=False):
    """Proper and mirrored rotations with unequal spacing, optionally sheared as by a tilted gantry."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix = rotation(rng) if draw(st.booleans()) else np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    if sheared:
        matrix = matrix @ np.array([[1, 0, 0], [0, 1, draw(st.floats(-0.5, 0.5))], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = matrix * rng.uniform(0.3, 6.0, 3)
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    return affine


@st.composite
def volumes(draw, kinds=STORABLE, most_channels=3, longest=9, sheared=False):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, most_channels)), *(draw(st.integers(1, longest)) for _ in range(3)))
    kind = np.dtype(draw(st.sampled_from(kinds)))
    if kind.kind == "f":
        array = (rng.standard_normal(shape) * 1000).astype(kind)
    else:
        array = rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)
    if draw(st.booleans()):  # as readers hand them over: first axis running fastest
        array = np.ascontiguousarray(array.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    return Volume(array, draw(affines(sheared=sheared)))


def same(first, second, *, tolerance_mm=1e-3):
    """Whether two volumes have the same voxels, types and places."""
    return (
        first.array.dtype == second.array.dtype
        and np.array_equal(first.array, second.array)
        and first.geometry.matches(second.geometry, tolerance_mm=tolerance_mm)
    )
