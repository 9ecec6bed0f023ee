"""`radfoundry register`: files in, files out, and one line for what cannot be registered."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from radfoundry.cli.main import exit_code
from radfoundry.data.nifti import read_nifti, write_nifti
from radfoundry.stages import register as register_stage
from radfoundry.volume import Volume

AFFINE = np.diag([-4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (32, -32, -32)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A textured ball and the same shifted by two voxels along each axis."""
    folder = tmp_path_factory.mktemp("register")
    texture = gaussian_filter(np.random.default_rng(0).normal(size=(20,) * 3), 1.5)
    ball = sum((axis - 9) ** 2 for axis in np.indices((20,) * 3)) < 40
    image = np.where(ball, 100 + 200 * texture, 0).astype(np.float32)
    write_nifti(Volume.of(image, AFFINE), folder / "moving.nii.gz")
    write_nifti(Volume.of(np.roll(image, 2, axis=0), AFFINE), folder / "fixed.nii.gz")
    write_nifti(Volume.of(ball.astype(np.uint8), AFFINE), folder / "ball.nii.gz")
    write_nifti(Volume.of(np.roll(ball, 2, axis=0).astype(np.uint8), AFFINE), folder / "ball-after.nii.gz")
    write_nifti(Volume.of(np.ones((20, 20, 20), np.float32), AFFINE), folder / "empty.nii.gz")
    write_nifti(Volume.of(image[:, :, 9], AFFINE), folder / "slice.nii.gz")
    write_nifti(Volume(np.stack([image, image / 2]), AFFINE), folder / "times.nii.gz")
    far = AFFINE.copy()
    far[0, 3] += 4000
    write_nifti(Volume.of(image, far), folder / "far.nii.gz")
    (folder / "points.csv").write_text("x,y,z,name\n-4,4,4,apex\n")
    (folder / "away.csv").write_text("x,y,z\n900,0,0\n")
    return folder


@pytest.mark.slow
def test_image_mask_points_and_lesions_move_along(images, tmp_path):
    given = [str(images / name) for name in ("moving.nii.gz", "fixed.nii.gz")]
    extra = [
        "model=rigid", f"masks=[{images / 'ball.nii.gz'}]", f"landmarks={images / 'points.csv'}",
        f"lesions_before={images / 'ball.nii.gz'}", f"lesions_after={images / 'ball-after.nii.gz'}",
    ]  # fmt: skip
    assert exit_code(["register", *given, *extra, "--to", str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    fixed, moved = read_nifti(given[1]).volume, read_nifti(out / "moved.nii.gz").volume
    assert moved.geometry.matches(fixed.geometry)
    assert np.corrcoef(moved.array.ravel(), fixed.array.ravel())[0, 1] > 0.98
    shift = read_nifti(out / "displacement.nii.gz").volume.array[:, 9, 9, 9]
    assert np.allclose(shift, [8, 0, 0], atol=0.8)  # two voxels of 4 mm; the first axis runs to the left
    mask = read_nifti(out / "moved-ball.nii.gz").volume.array
    assert np.mean(mask == read_nifti(images / "ball-after.nii.gz").volume.array) > 0.98
    point = (out / "moved-landmarks.csv").read_text().splitlines()[1].split(",")
    assert np.allclose([float(value) for value in point[:3]], [-12, 4, 4], atol=0.8)
    assert point[3] == "apex"
    record = json.loads((out / "run.json").read_text())
    assert record["metrics"]["unlikeness-after"]["value"] < record["metrics"]["unlikeness-before"]["value"]
    assert record["metrics"]["lesions-stable"]["value"] == 1
    assert (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["empty.nii.gz", "fixed.nii.gz"], "is empty"),
        (["slice.nii.gz", "fixed.nii.gz"], "2D image"),
        (["far.nii.gz", "fixed.nii.gz"], "do not overlap"),
        (["moving.nii.gz", "fixed.nii.gz", "modality=CT", "encoder=radfoundry-mri"], "modality CT"),
        (["moving.nii.gz", "fixed.nii.gz", "encoder=mindd"], "unknown encoder"),
        (["moving.nii.gz", "fixed.nii.gz", "model=elastic"], "model"),
        (["moving.nii.gz", "fixed.nii.gz", "landmarks=away.csv"], "outside the moving image"),
        (["moving.nii.gz", "fixed.nii.gz", "masks=[slice.nii.gz]"], "does not lie on the grid"),
        (["moving.nii.gz", "nothing.nii.gz"], "no such file"),
        (["times.nii.gz", "fixed.nii.gz", "moving_volume=2"], "moving_volume: no volume 2: the moving image holds 2"),
        (["moving.nii.gz", "."], "series"),
        (["moving.nii.gz", "fixed.nii.gz", "lesions_before=ball.nii.gz"], "together"),
    ],
)
def test_what_cannot_be_registered_gets_one_line(images, monkeypatch, capsys, tmp_path, words, said):
    monkeypatch.chdir(images)
    assert exit_code(["register", *words, "--to", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_of_several_volumes_it_is_said_which_was_compared_and_all_are_moved(images, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(images)
    quick = ["model=rigid", "spacing_mm=16"]
    assert exit_code(["register", "times.nii.gz", "fixed.nii.gz", *quick, "--to", str(tmp_path / "mean")]) == 0
    notes = json.loads((tmp_path / "mean" / "run.json").read_text())["notes"]
    assert "2 volumes" in notes[0] and "their mean was compared (moving_volume=N takes one)" in notes[0]
    assert len(read_nifti(tmp_path / "mean" / "moved.nii.gz").volume.array) == 2
    given = ["moving.nii.gz", "times.nii.gz", *quick, "fixed_volume=1", "--to", str(tmp_path / "one")]
    assert exit_code(["register", *given]) == 0
    assert "volume 1 was taken" in json.loads((tmp_path / "one" / "run.json").read_text())["notes"][0]


def test_an_image_that_leaves_the_other_is_warned_about(images):
    volume = read_nifti(images / "fixed.nii.gz").volume
    given = register_stage._Given(volume, volume, volume, {}, [], None)
    far = np.eye(4)
    far[2, 3] = 60.0
    config = register_stage.Config(moving="a", fixed="b")
    for matrix, said in ((np.eye(4), 0), (far, 1)):
        found = SimpleNamespace(transform=SimpleNamespace(matrix=matrix))
        assert len(register_stage._left_the_image(config, given, found)) == said


def test_two_ways_that_disagree_are_warned_about():
    far, near = (SimpleNamespace(inverse_gap_mm=np.full(8, gap)) for gap in (17.0, 0.4))
    assert "17 mm" in register_stage._two_ways(far)[0] and register_stage._two_ways(near) == []
