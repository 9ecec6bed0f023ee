"""Laws of registration: the same image stays where it is, a known move is found, swapping undoes, headers count."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from radfoundry.data.resample import resample
from radfoundry.nets import descriptors, warp
from radfoundry.records import InputError
from radfoundry.tasks.register import Options, register
from radfoundry.tasks.register_transform import Transform
from radfoundry.volume import Geometry, Volume, points_to_world


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blobs(seed=0, side=22, spacing_mm=3.0, contrast=400):
    """A smooth 'organ' with inner structure in air, RAS, 3 mm."""
    rng = np.random.default_rng(seed)
    inner = gaussian_filter(rng.normal(size=(side,) * 3), 2)
    axes = np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 3, indexing="ij")
    shape = sum((axis / radius) ** 2 for axis, radius in zip(axes, (9.5, 6.5, 8), strict=True)) < 1
    image = np.where(shape, 100 + contrast * inner, 0).astype(np.float32)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = -spacing_mm * (side - 1) / 2
    return Volume.of(image, affine)


def turned(angle=0.12, shift=(5.0, -4.0, 3.0), stretch=1.0):
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) * stretch
    matrix[:3, 3] = shift
    return matrix


PLACES = np.random.default_rng(1).uniform(-20, 20, size=(50, 3))


def error(found, truth):
    return np.linalg.norm(found.points(PLACES) - truth.points(PLACES), axis=1).max()


@pytest.mark.parametrize("model", ["rigid", pytest.param("deformable", marks=pytest.mark.slow)])
def test_the_same_image_stays_where_it_is(model):
    image = blobs()
    found = register(image, image, options=Options(model=model, steps=5))
    assert error(found.transform, Transform(np.eye(4))) < 0.05
    assert found.folded_share == 0
    assert found.unlike_after == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_a_known_affine_is_found_whatever_the_contrast_orientation_and_spacing():
    image = blobs()
    truth = Transform(turned(stretch=1.06))
    other = truth.moved(blobs(contrast=-250), image.geometry)
    flipped = resample(other.reorient("LIP"), (3.0, 3.6, 3.0))
    found = register(image, flipped, options=Options(model="affine"))
    assert error(found.transform, truth) < 1.5  # half a working voxel
    assert found.changes[0] == pytest.approx(1.06**3, rel=0.03)


@pytest.mark.slow
def test_swapping_the_images_gives_about_the_inverse():
    image, truth = blobs(), Transform(turned())
    fixed = truth.moved(image, image.geometry)
    there = register(image, fixed, options=Options(model="rigid"))
    back = register(fixed, image, options=Options(model="rigid"))
    assert np.abs(back.transform.points(there.transform.points(PLACES)) - PLACES).max() < 0.5
    assert there.inverse_gap_mm.max() < 0.5


@pytest.mark.slow
def test_a_smooth_displacement_is_found_and_undone_without_folds():
    image = blobs(side=24)
    waves = np.stack([4 * np.sin(np.linspace(0, np.pi, 24))[:, None, None] * np.ones((24,) * 3)] * 3)
    truth = Transform(np.eye(4), Volume(waves.astype(np.float32), image.affine))
    fixed = truth.moved(image, image.geometry)
    before = np.linalg.norm(truth.points(PLACES) - PLACES, axis=1).mean()
    found = register(image, fixed, options=Options(model="deformable", steps=25))
    after = np.linalg.norm(found.transform.points(PLACES) - truth.points(PLACES), axis=1).mean()
    assert after < 0.3 * before
    assert found.folded_share == 0
    assert found.inverse_gap_mm.mean() < 0.5
    assert np.abs(found.backward.points(found.transform.points(PLACES)) - PLACES).mean() < 0.5


def test_start_centre_finds_volumes_that_headers_put_apart():
    image = blobs()
    far = Volume(image.array, np.array([[1, 0, 0, 900.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ image.affine)
    with pytest.raises(InputError, match="do not overlap"):
        register(image, far, options=Options(model="rigid"))
    found = register(image, far, options=Options(model="rigid", start="centre"))
    assert np.abs(found.transform.points(PLACES + np.array([900, 0, 0])) - PLACES).max() < 0.2


@pytest.mark.parametrize(
    ("array", "said"), [(np.ones((9, 9, 9)), "is empty"), (np.arange(81.0).reshape(9, 9), "single slice")]
)
def test_images_that_cannot_be_registered_are_refused(array, said):
    with pytest.raises(InputError, match=said):
        register(Volume.of(array, np.eye(4)), blobs())


def test_options_are_checked():
    with pytest.raises(InputError, match="unknown model"):
        Options(model="elastic")
    with pytest.raises(InputError, match="unknown start"):
        Options(start="nowhere")


def test_points_go_there_and_back():
    field = gaussian_filter(np.random.default_rng(2).normal(size=(3, 20, 20, 20)), (0, 4, 4, 4))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -40
    move = Transform(turned(), Volume((3 * field / np.abs(field).max()).astype(np.float32), affine))
    assert np.abs(move.inverse_points(move.points(PLACES)) - PLACES).max() < 1e-3


def test_the_displacement_says_where_points_go():
    grid = Geometry((5, 6, 7), np.diag([-2.0, 3.0, 4.0, 1.0]))
    move = Transform(turned())
    shift = move.displacement(grid)
    place = points_to_world(grid.affine, np.array([[2, 3, 4]]))
    assert np.allclose(place + shift.array[:, 2, 3, 4], move.points(place), atol=1e-4)


def test_label_maps_keep_their_labels():
    labels = Volume.of(np.random.default_rng(0).integers(0, 4, (12, 12, 12)).astype(np.int16), np.eye(4))
    field = Volume(np.full((3, 12, 12, 12), 1.0, np.float32), np.eye(4))
    moved = Transform(np.eye(4), field).moved(labels, labels.geometry, order=0)
    assert moved.array.dtype == np.int16
    assert np.array_equal(moved.array[0, :-1, :-1, :-1], labels.array[0, 1:, 1:, 1:])


def test_a_shift_by_whole_voxels_is_exact():
    image = torch.rand(2, 6, 7, 8, generator=torch.Generator().manual_seed(0))
    field = torch.zeros(3, 6, 7, 8)
    field[1] = 2
    assert torch.allclose(warp.moved_by(image, field)[:, :, :5], image[:, :, 2:], atol=1e-5)


def test_composing_with_the_inverse_gives_nothing():
    there = torch.zeros(3, 8, 8, 8)
    there[0] = 1.5
    assert warp.composed(there, -there).abs().max() < 1e-6


def test_interleaving_shifted_answers_gives_the_finer_answer():
    """Means of 4-voxel blocks, moved by half a block: the oracle is the running mean itself."""
    image = torch.rand(1, 16, 12, 8, generator=torch.Generator().manual_seed(0))
    seen = descriptors.interleaved(
        image, lambda part: torch.nn.functional.avg_pool3d(part[None], 4)[0], patch=(4, 4, 4), offsets=2
    )
    running = torch.nn.functional.avg_pool3d(image[None], 4, stride=2)[0]
    assert seen.steps == (2.0, 2.0, 2.0)
    assert seen.first == (-0.5, -0.5, -0.5)
    n = running.shape
    assert torch.allclose(seen.values[:, 1 : n[1] + 1, 1 : n[2] + 1, 1 : n[3] + 1], running, atol=1e-6)
