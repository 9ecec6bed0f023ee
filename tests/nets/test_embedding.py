"""Embedding a cohort: remembered by content, independent of order and interruption, honest about what it left out."""

from dataclasses import replace

import numpy as np
import pytest

from radfoundry.config import Component
from radfoundry.nets import embedding, intensity, untrained, vit
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.volume import Volume


def series(number, *, modality="MR", shape=(1, 12, 12, 10)):
    def load(item):
        rng = np.random.default_rng(number)
        return Volume(rng.normal(100, 20, shape).astype(np.float32), np.diag([6.0, 6.0, 6.0, 1.0]))

    return Series(
        f"s{number}",
        f"p{number}",
        f"c{number}",
        Acquisition(modality=modality),
        shape,
        (6, 6, 6),
        content=f"content{number}",
        loader=load,
    )


def cohort(numbers, path=None, **options):
    items = [series(number, **options) for number in numbers]
    return Cohort(tuple(Case(s.case, s.patient, (s,)) for s in items), path=None if path is None else str(path))


class Counting:
    """An encoder that counts how many images it was given, and can break off."""

    def __init__(self, breaks_after=None):
        self.inner, self.seen, self.breaks_after = intensity.build(), 0, breaks_after
        self.spec = self.inner.spec

    def encode(self, x, present=None):
        if self.breaks_after is not None and self.seen >= self.breaks_after:
            raise KeyboardInterrupt
        self.seen += len(x) if x.float().std() > 0 else 0
        return self.inner.encode(x, present)


def test_second_time_costs_nothing_and_gives_the_same(tmp_path):
    first, second = Counting(), Counting()
    one = embedding.embed(cohort(range(5), tmp_path), first)
    other = embedding.embed(cohort(range(5), tmp_path), second)
    probe_images = 1
    assert first.seen == 5 + probe_images and second.seen == probe_images
    assert np.array_equal(one.vectors, other.vectors)


def test_new_series_are_added_to_what_is_known(tmp_path):
    embedding.embed(cohort(range(3), tmp_path), Counting())
    counting = Counting()
    table = embedding.embed(cohort(range(6), tmp_path), counting)
    assert counting.seen == 3 + 1 and len(table.series) == 6


def test_order_and_batch_do_not_matter():
    forward = embedding.embed(cohort(range(4)), vit.tiny())
    backward = embedding.embed(cohort(reversed(range(4))), vit.tiny())
    batched = embedding.embed(cohort(range(4)), vit.tiny(), batch=3)
    assert np.array_equal(forward.vectors, backward.vectors[::-1])
    assert np.allclose(forward.vectors, batched.vectors, atol=1e-4)


def test_what_was_embedded_before_an_interruption_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "PART_ROWS", 2)
    with pytest.raises(KeyboardInterrupt):
        embedding.embed(cohort(range(5), tmp_path), Counting(breaks_after=4))
    counting = Counting()
    embedding.embed(cohort(range(5), tmp_path), counting)
    assert counting.seen < 5


def test_series_outside_the_spec_are_listed_with_the_reason():
    mixed = Cohort(cohort([1]).cases + cohort([2], modality="US").cases + cohort([3], shape=(1, 12, 12, 1)).cases)
    table = embedding.embed(mixed, vit.tiny())
    assert [item.key for item in table.series] == ["s1"]
    assert dict(table.refused) == {
        "s2": "modality US is not one of MR, CT",
        "s3": "a 2D image, and the encoder reads volumes",
    }
    with pytest.raises(InputError, match="no series fits encoder vit3d-tiny"):
        embedding.embed(cohort([2], modality="US"), vit.tiny())
    with pytest.raises(InputError, match=r"for pictures take encoder=vit2d-tiny"):
        embedding.embed(cohort([3], shape=(1, 12, 12, 1)), intensity.build())


def test_volumes_of_a_few_voxels_have_as_many_features_as_others():
    table = embedding.embed(Cohort(cohort([1]).cases + cohort([2], shape=(1, 3, 3, 3)).cases), intensity.build())
    assert len(table.vectors) == 2 and np.isfinite(table.vectors).all()


def test_frame_has_keys_and_features():
    frame = embedding.embed(cohort(range(2)), intensity.build()).frame()
    assert list(frame.columns[:6]) == ["series", "case", "patient", "site", "sequence", "encoder"]
    assert frame.shape[1] == 6 + intensity.STATISTICS + 6**3


def test_another_preparation_is_another_answer(tmp_path):
    one = embedding.embed(cohort(range(2), tmp_path), intensity.build(spacing_mm=3.0))
    other = embedding.embed(cohort(range(2), tmp_path), intensity.build(spacing_mm=6.0))
    assert one.plan != other.plan and not np.array_equal(one.vectors, other.vectors)


def test_settings_name_an_encoder_or_a_checkpoint(tmp_path):
    from radfoundry.nets import checkpoint

    path = tmp_path / "mine.safetensors"
    checkpoint.save(vit.tiny(seed=3), path, builder="vit3d-tiny", options={"seed": 3})
    loaded = embedding.open_encoder(Component(name=str(path)))
    named = embedding.open_encoder(Component(name="vit3d-tiny", seed=3))
    assert checkpoint.fingerprint(loaded) == checkpoint.fingerprint(named)
    with pytest.raises(InputError, match="did you mean 'vit3d-tiny'"):
        embedding.open_encoder(Component(name="vit3d-tyni"))


def test_missing_sequences_change_the_answer_but_never_break_it():
    import torch

    encoder = vit.tiny(channels=2)
    image = torch.rand(1, 2, 64, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both, one = (encoder.encode(image, torch.tensor([flags])).pooled for flags in ([True, True], [True, False]))
        blank = encoder.encode(
            torch.cat([image[:, :1], torch.zeros_like(image[:, :1])], 1), torch.tensor([[True, True]])
        )
    assert torch.isfinite(one).all() and not torch.allclose(both, one)
    assert torch.allclose(one, blank.pooled)  # untrained, a missing channel is a channel of zeros


def test_refusal_says_nothing_for_a_fitting_series():
    assert embedding.refusal(series(1), vit.tiny().spec) == ""
    assert "volume" in embedding.refusal(series(1), replace(vit.tiny_2d().spec))


@pytest.mark.parametrize("name", ["conv2d-tiny", "vit2d-standard"])
def test_pictures_of_any_size_are_embedded_whole(name, tmp_path):
    """What lies at the edge of a large picture is seen: it is brought to size, not cut."""
    from radfoundry import registry

    layout = {"width": 32, "depth": 1, "heads": 2, "image": 32, "patch": 8}
    encoder = registry.build("encoders", name, **({"layout": layout} if name == "vit2d-standard" else {}))

    def picture(number, *, corner):
        def load(item):
            array = np.random.default_rng(0).normal(100, 20, (1, 300, 200, 1)).astype(np.float32)
            array[:, 10:60, 10:60] += corner
            return Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]))

        shape = (1, 300, 200, 1)
        about = Acquisition(modality="DX")
        return Series(f"s{number}", "p", f"c{number}", about, shape, (1, 1, 1), content=f"content{number}", loader=load)

    items = [picture(0, corner=0), picture(1, corner=80)]
    cohort_here = Cohort(tuple(Case(item.case, item.patient, (item,)) for item in items), path=str(tmp_path))
    table = embedding.embed(cohort_here, encoder)
    assert len(table.series) == 2 and not np.allclose(*table.vectors, atol=1e-3)
    assert np.array_equal(embedding.embed(cohort_here, encoder).vectors, table.vectors)


def test_an_encoder_that_reads_the_header_answers_anew_when_the_header_changes(tmp_path):
    encoder, plain = vit.tiny(acquisition=True), vit.tiny()
    whole = cohort(range(2), tmp_path)
    (case, other) = whole.cases
    told = replace(case.series[0], acquisition=replace(case.series[0].acquisition, echo_time_ms=123.0))
    changed = replace(whole, cases=(replace(case, series=(told,)), other))
    before, after = (embedding.embed(one, encoder).vectors for one in (whole, changed))
    assert not np.allclose(before[0], after[0], atol=1e-4) and np.array_equal(before[1], after[1])
    blind = [embedding.embed(one, plain).vectors for one in (whole, changed)]
    assert np.array_equal(*blind)


def test_a_film_keeps_its_rows_and_columns_whatever_its_plane():
    pixels = np.random.default_rng(0).random((1, 140, 150, 1)).astype(np.float32)
    coronal = np.array([[-1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
    volume = Volume(pixels, coronal)
    spec = intensity.build(dimensions=2).spec
    film = Series(
        "s",
        "p",
        "c",
        Acquisition(modality="DX"),
        volume.array.shape,
        (1.0,) * 3,
        plane="coronal",
        loader=lambda _: volume,
    )
    image = embedding.image_of(film, embedding.plan_for(spec), spec, None)
    assert image.shape == (1, 128, 128, 1)
    assert np.corrcoef(image[0, ..., 0].ravel(), pixels[0, 6:134, 11:139, 0].ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("name", "options", "random"),
    [
        ("vit2d-tiny", {}, True),
        ("intensity", {}, False),
        ("radfoundry-mri", {}, False),
        ("radfoundry-mri", {"untrained_seed": 3}, True),
        ("slices", {}, True),
        ("slices", {"encoder": "radfoundry-mri"}, False),
        ("fmcib", {"path": "weights.pth"}, False),
        ("run/encoder.safetensors", {}, False),
    ],
)
def test_random_weights_are_said_to_be_random(name, options, random):
    found = untrained.remarks(Component.model_validate({"name": name, **options}))
    assert len(found) == random and all("are random" in line for line in found)
