"""Batches from a cohort on disk: the same place in mm in both views, the same batch again, a header's facts."""

import shutil

import numpy as np
import pytest
import torch
from train_samples import CROP, tiny_encoder, tiny_source

from radfoundry import config as settings
from radfoundry.data import cohort as cohorts
from radfoundry.records import Acquisition, InputError
from radfoundry.stages import pretrain
from radfoundry.train import cohort_source
from radfoundry.train.cohort_source import FromCohort, Mixed
from radfoundry.train.processes import Place

CROP_VOXELS = 16


@pytest.fixture(scope="module")
def cohort(simulated_cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copied") / "cohort"
    shutil.copytree(simulated_cohort / "cohort", folder, ignore=shutil.ignore_patterns("cache"))
    opened = cohorts.open_cohort(folder)
    return type(opened)(opened.cases[:3], opened.fingerprint, {}, {}, str(folder))


@pytest.fixture(scope="module")
def shelf(cohort):
    return cohort_source.shelve(cohort, tiny_encoder().spec, crop=CROP_VOXELS, protocols=CROP.protocols)


def source(shelf, size=4, views=2, seed=0):
    return FromCohort(shelf, size, views, seed, Place())


def test_views_are_different_sequences_of_the_same_place(shelf):
    reader = shelf.reader
    here = source(shelf)
    batch = here.batch(0)
    assert batch.images.shape == (4, 2, 16, 16, 16) and torch.isfinite(batch.images).all()
    assert bool((batch.protocol[:, 0] != batch.protocol[:, 1]).all())
    half = (np.array(reader.size) - 1) / 2
    first, other = shelf.exams[0][:2]
    middle = (np.array(reader.stored[first].shape[1:]) - reader.size) // 2
    moved = here.same_place(first, middle, other)
    one, two = (
        reader.stored[n].affine[:3, :3] @ (start + half) + reader.stored[n].affine[:3, 3]
        for n, start in ((first, middle), (other, moved))
    )
    # Rounded to whole voxels of 4 mm.
    assert np.linalg.norm(one - two) <= np.sqrt(3) * 2 + 1e-6


def test_the_same_step_gives_the_same_batch_and_another_one_another(shelf):
    first, again, next_one = source(shelf).batch(3), source(shelf).batch(3), source(shelf).batch(4)
    assert torch.equal(first.images, again.images) and torch.equal(first.case, again.case)
    assert not torch.equal(first.images, next_one.images) and not set(first.case.tolist()) & set(next_one.case.tolist())


def test_processes_share_a_step_without_overlap(shelf):
    whole = source(shelf, size=4).batch(2)
    parts = [FromCohort(shelf, 2, 2, 0, Place(rank, 2)).batch(2) for rank in (0, 1)]
    assert sorted(whole.case.tolist()) == sorted([*parts[0].case.tolist(), *parts[1].case.tolist()])
    joined = {int(c): image for part in parts for c, image in zip(part.case, part.images, strict=True)}
    assert all(torch.equal(joined[int(c)], image) for c, image in zip(whole.case, whole.images, strict=True))


def test_an_exam_with_too_few_series_is_shown_again_in_another_contrast(shelf):
    alone = type(shelf)(shelf.reader, ((0,),), shelf.protocol, shelf.settings, shelf.site, shelf.sites)
    images = source(alone).batch(0).images
    assert not torch.equal(images[:, 0], images[:, 1])
    # A bent grey scale keeps edges: equal voxels stay equal.
    one, two = images[0, 0].flatten(), images[0, 1].flatten()
    order = one.argsort()
    steps = two[order].diff()
    assert bool((steps >= -1e-4).all()) or bool((steps <= 1e-4).all())


def test_a_header_that_says_nothing_gives_zeros():
    found = cohort_source.settings_of(Acquisition(echo_time_ms=90.0, field_strength_t=3.0))
    assert found.tolist() == pytest.approx([0, np.log(90), 0, 0, 3.0])


def test_mixing_takes_the_asked_share():
    class Named:
        def __init__(self, name):
            self.name = name

        def batch(self, step):
            return self.name

    mixed = Mixed(Named("a"), Named("b"), 0.25, seed=0)
    drawn = [mixed.batch(step) for step in range(400)]
    assert 0.19 < drawn.count("a") / 400 < 0.3
    assert drawn == [mixed.batch(step) for step in range(400)]
    assert tiny_source().batch(0).case.max() < cohort_source.FIRST_SAMPLE


def test_reports_are_asked_of_cohorts_that_have_them(cohort):
    with pytest.raises(InputError, match="no reports"):
        cohort_source.reports_tokeniser(cohort)
    told = type(cohort.cases[0])("c", "p", reports=("No mass.", "A mass."))
    made = cohort_source.reports_tokeniser(type(cohort)((told,)), size=262)
    assert made.size <= 262


@pytest.mark.slow
def test_pretraining_on_a_cohort_watches_whether_sites_can_be_told(cohort, tmp_path):
    words = [
        f"cohort={cohort.path}", "simulated=0.5", "batch=2", "steps=4", "crops.size=16", "crops.spacing_mm=[3,3]",
        "check_steps=4", "check_patients=8", "objectives=[{name: masked, width: 16}]", f"to={tmp_path / 'r'}",
    ]  # fmt: skip
    run = pretrain.run(settings.load(pretrain.Config, None, words))
    assert "probe-site" in run.metrics and run.inputs["cohort"]
