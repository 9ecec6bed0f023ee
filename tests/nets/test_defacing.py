"""The face is in front of and below the brain; a head of known place loses its face and not its brain."""

import numpy as np
import pytest
import torch

from radfoundry.data.defacing import HeadPlace, brain_distance, defaced, face_mask, is_face
from radfoundry.volume import Volume


def test_places_of_the_template():
    # Points of the ICBM-152 space: eyes, nose, chin are face; cortex, cerebellum, neck and crown are not.
    face = np.array([[32.0, 64, -38], [-32, 64, -38], [0, 92, -55], [0, 75, -95]])
    kept = np.array([[0.0, 65, 0], [50, -20, 40], [0, -70, -40], [0, -40, -100], [0, 0, 90], [60, 10, -20]])
    assert is_face(face).all() and not is_face(kept).any()


def test_no_voxel_of_the_template_brain_is_face():
    distance, affine = brain_distance()
    index = np.argwhere(distance <= 0)
    assert not is_face(index @ affine[:3, :3].T + affine[:3, 3]).any()


def test_mask_follows_the_scan_s_geometry():
    turn = np.array([[0, 2.0, 0, -80], [-2.0, 0, 0, 100], [0, 0, 2.0, -110], [0, 0, 0, 1]])
    place = HeadPlace(np.eye(4), 0.0, 100, 1.0)
    plain = np.diag([2.0, 2.0, 2.0, 1.0])
    plain[:3, 3] = (-80, -80, -110)
    first = face_mask((81, 91, 60), plain, place)
    second = face_mask((91, 81, 60), turn, place)
    assert np.array_equal(first, second.transpose(1, 0, 2)[:, ::-1])
    volume, mask = defaced(Volume.of(np.arange(81 * 91 * 60, dtype=np.float32).reshape(81, 91, 60), plain), place)
    # The air before and below the face goes with it.
    assert (volume.array[0][mask] == volume.array.min()).all() and 0.02 < mask.mean() < 0.4


@pytest.mark.slow
def test_a_simulated_head_loses_its_face_and_keeps_its_brain():
    from radfoundry import registry
    from radfoundry.nets.head_places import locate
    from radfoundry.simulate.head import TISSUES, head

    torch.set_num_threads(1)
    template = head(2.0)
    bright = torch.rand(len(TISSUES), generator=torch.Generator().manual_seed(1)) * 0.7 + 0.3
    image = (template.fractions * bright[:, None, None, None]).sum(0).numpy()
    moved = np.eye(4)
    moved[:3, :3] = np.array([[1, 0, 0], [0, np.cos(0.15), -np.sin(0.15)], [0, np.sin(0.15), np.cos(0.15)]]) * 0.95
    moved[:3, 3] = (6, -9, 12)
    volume = Volume.of(image.astype(np.float32), moved @ template.affine)
    place = locate(volume, registry.build("encoders", "radfoundry-mri"))
    assert place.is_head
    _, mask = defaced(volume, place)
    names = list(TISSUES)
    brain = sum(template.fractions[names.index(name)] for name in ("grey", "white")).numpy() > 0.5
    eyes = template.fractions[names.index("vitreous")].numpy() > 0.5
    print(f"brain lost {mask[brain].mean():.4f}, eyes taken {mask[eyes].mean():.3f}")
    assert mask[brain].mean() < 0.002
    assert mask[eyes].mean() > 0.8
