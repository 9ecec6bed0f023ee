"""Batches of whole pictures: the same again, shared without overlap, reports with their exam; what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from train_samples import tiny_encoder

from radfoundry import config as settings
from radfoundry import registry
from radfoundry.records import Acquisition, Case, Cohort, Features, InputError, Series
from radfoundry.stages import pretrain
from radfoundry.train import album, cohort_source, feeding, scene
from radfoundry.train.album import Album, FromAlbum
from radfoundry.train.batches import Batch
from radfoundry.train.objectives import align, contrast
from radfoundry.train.processes import Place
from radfoundry.volume import Volume

EXAMS = ((0, 1, 2), (3, 4, 5), (6,))


@pytest.fixture(scope="module")
def book():
    pictures = np.arange(7, dtype=np.float16)[:, None, None] + np.zeros((7, 8, 8), np.float16)
    return Album(pictures, EXAMS, np.array([0, 0, 0, 1, 1, 1, 0]), np.arange(3)[:, None] + np.ones((3, 4), int))


def source(book, *, size=4, views=3, shift=0, place=None):
    return FromAlbum(book, size, views, shift, 0, place or Place())


def test_every_exam_comes_with_its_own_pictures_and_its_own_report(book):
    batch = source(book, size=16).batch(0)
    assert batch.images.shape == (16, 3, 8, 8, 1)
    for exam, images, words in zip(batch.study.tolist(), batch.images[:, :, 0, 0, 0], batch.words, strict=True):
        assert sorted(set(images.tolist())) == list(EXAMS[exam]) and words.tolist() == [exam + 1] * 4


def test_the_same_step_gives_the_same_batch_and_processes_share_it(book):
    whole = source(book, shift=2).batch(5)
    assert torch.equal(whole.images, source(book, shift=2).batch(5).images)
    parts = [source(book, size=2, shift=2, place=Place(rank, 2)).batch(5) for rank in (0, 1)]
    assert sorted(torch.cat([part.case for part in parts]).tolist()) == sorted(whole.case.tolist())


def test_findings_are_read_from_the_reports_by_rules():
    said = ["FINDINGS: There is a joint effusion. No fracture.", "FINDINGS: A fracture line is seen.", "Unremarkable."]
    table, names = album.told([[text] for text in said])
    assert dict(zip(names, table.T.tolist(), strict=True)) == {"fracture": [0, 1, 0], "joint-effusion": [1, 0, 0]}


def test_a_report_in_another_language_tells_nothing_and_is_nobodys_partner():
    german = "Befund: Kein Nachweis einer Fraktur, aber ein Erguss ist im Gelenk und die Kniescheibe ist angehoben."
    table, names = album.told([["FINDINGS: A joint effusion is seen."], [german], ["No joint effusion."]])
    assert names == ("joint-effusion",) and table.tolist() == [[1], [-1], [0]]
    batch = Batch(images=torch.zeros(3, 1, 1, 1, 1), case=torch.arange(3), findings=torch.full((3, 1), -1))
    made = align.build(dataclasses.replace(shapes(1), findings=1), width=4)
    assert made.pairs(scene.Scene(batch, None, 0), views=1).tolist() == torch.eye(3).bool().tolist()


def film(name, exam, side):
    volume = Volume.of(np.random.default_rng(side).random((side, side, 1)).astype(np.float32), np.eye(4))
    given = {"shape": volume.array.shape, "spacing_mm": volume.spacing_mm, "loader": lambda _series: volume}
    return Series(name, exam, exam, Acquisition(modality="DX"), **given)


def test_the_films_of_a_cohort_are_brought_to_one_size_exam_by_exam_or_refused():
    exams = (Case("a", "a", (film("x", "a", 40), film("y", "a", 48))), Case("b", "b", (film("z", "b", 64),)))
    spec = registry.build("encoders", "conv2d-tiny", side=32).spec
    made = album.gathered(Cohort(exams), spec)
    assert made.pictures.shape == (3, 32, 32) and made.pictures.dtype == np.float16
    assert made.exams == ((0, 1), (2,)) and made.words is made.findings is None
    with pytest.raises(InputError, match="different sizes"):
        album.gathered(Cohort(exams), dataclasses.replace(spec, shape=None, options={}))


def test_exams_without_a_report_take_no_part_where_reports_are_read():
    told = Cohort((Case("a", "p", reports=("FINDINGS: None.",)), Case("b", "q"), Case("c", "r", reports=(" ",))))
    assert [case.key for case in cohort_source.reported(told).cases] == ["a"]
    with pytest.raises(InputError, match="has no reports"):
        cohort_source.reported(Cohort(told.cases[1:]))


def test_shuffled_reports_belong_to_nobody_they_are_given_to(book):
    given = album.shuffled(book, seed=0).words
    assert given is not None and not np.any(np.equal(given, book.words))


def shapes(views):
    return scene.Shapes(pooled=6, width=6, grid=(1, 1, 1), crop=(8, 8, 1), views=views, vocabulary=9, text_width=5)


class _Reader(torch.nn.Module):
    def encode(self, words):
        return Features(pooled=torch.nn.functional.one_hot(words[:, 0], 5).float())


@pytest.mark.parametrize("by", ["softmax", "sigmoid"])
def test_views_that_meet_their_report_together_do_so_as_their_mean(by):
    # With all views of a patient alike, their mean is each of them: the loss has to be the same.
    torch.manual_seed(0)
    one = torch.randn(4, 1, 6).expand(4, 3, 6).flatten(0, 1)
    batch = Batch(images=torch.zeros(4, 3, 1, 1, 1), case=torch.arange(4), study=torch.arange(4))
    losses = []
    for together in (False, True):
        torch.manual_seed(1)
        made = align.build(shapes(3), width=4, by=by, same_findings=False, together=together)
        seen = scene.Scene(batch, None, 0, text=_Reader())
        seen.clean = Features(pooled=one)
        seen.reading = _Reader().encode(torch.arange(4)[:, None])
        losses.append(float(made(seen)["loss"].detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_an_exam_drawn_twice_is_no_negative_of_itself():
    rows = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    exchanged = rows[[0, 3, 2, 1, 4, 5, 6, 7]]  # the second views of the first two rows of the batch

    def loss(pooled, study, side=1):
        torch.manual_seed(0)
        made = contrast.build(shapes(2), width=4, dense=0.0)
        batch = Batch(images=torch.zeros(4, 2, side, side, side), case=torch.arange(4), study=torch.tensor(study))
        seen = scene.Scene(batch, None, 0)
        seen.clean = Features(pooled=pooled)
        return float(made(seen)["loss"].detach())

    assert loss(rows, [0, 0, 2, 3]) == pytest.approx(loss(exchanged, [0, 0, 2, 3]), rel=1e-5)
    for study, side in (([0, 1, 2, 3], 1), ([0, 0, 2, 3], 4)):  # other exams; parts of a volume
        assert loss(rows, study, side) != pytest.approx(loss(exchanged, study, side), rel=1e-3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cohort": None}, "not simulated on the way"),
        ({"simulated": 0.5}, "not simulated on the way"),
        ({"check_steps": 10}, "ask simulated volumes"),
        ({"objectives": [{"name": "translate"}]}, "cannot be learned from pictures"),
        ({"objectives": ["contrast"]}, "set dense: 0"),
        ({"crops": {"patients": 9}}, "crops.patients: has no effect"),
    ],
)
def test_what_pictures_cannot_do_is_refused_in_one_line(changed, said):
    asked = {"cohort": "films", "simulated": 0.0, "check_steps": 0, "steps": 1, "objectives": ["align"], **changed}
    config = settings.check(pretrain.Config, asked)
    spec = registry.build("encoders", "conv2d-tiny", side=32).spec
    plan = pretrain.crop_plan(config, spec)
    assert plan.size == 32 and pretrain.crop_plan(config, tiny_encoder().spec).size == 16
    with pytest.raises(InputError, match=said):
        feeding.data_of(config, plan, spec, Place())


def test_a_crop_of_a_picture_is_refused():
    config = settings.check(pretrain.Config, {"steps": 1, "crops": {"size": 16}})
    with pytest.raises(InputError, match="learned whole"):
        pretrain.crop_plan(config, registry.build("encoders", "conv2d-tiny", side=32).spec)
