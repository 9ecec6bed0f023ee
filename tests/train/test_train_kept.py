"""Patients shown again and again: everybody once a round, the same picture every time, the report beside it."""

import pytest
import torch
from train_samples import CROP

from radfoundry.records import InputError
from radfoundry.train import reports
from radfoundry.train.kept import Kept
from radfoundry.train.processes import Place
from radfoundry.train.sources import Simulated


@pytest.fixture(scope="module")
def tokeniser():
    return reports.learned_tokeniser(CROP, seed=5, size=300, patients=40)


def simulated(tokeniser=None, **options):
    return Simulated(CROP, 3, 0, "zscore", Place(), tokeniser=tokeniser, report_length=64, **options)


def test_every_round_shows_everybody_once_in_another_order(tokeniser):
    source = Kept(simulated(tokeniser), 6)
    rounds = [[source.batch(step), source.batch(step + 1)] for step in (0, 2, 4)]
    studies = [torch.cat([batch.study for batch in pair]).tolist() for pair in rounds]
    assert all(sorted(one) == list(range(6)) for one in studies) and studies[0] == list(range(6))
    assert len({tuple(one) for one in studies}) > 1
    cases = torch.cat([batch.case for pair in rounds for batch in pair]).tolist()
    assert cases == list(range(18))  # numbers for masks never come twice


def test_kept_patients_are_those_of_the_simulator(tokeniser):
    first, again = simulated(tokeniser).batch(0), Kept(simulated(tokeniser), 3).batch(4)
    place = {study: row for row, study in enumerate(again.study.tolist())}
    for row, study in enumerate(first.study.tolist()):
        assert torch.allclose(first.images[row], again.images[place[study]], atol=5e-3, rtol=1e-3)
        assert torch.equal(first.words[row], again.words[place[study]])
    assert again.known == first.known


def test_shuffled_reports_leave_the_pictures_as_they_are(tokeniser):
    own, other = Kept(simulated(tokeniser), 3).batch(0), Kept(simulated(tokeniser, shuffled=True), 3).batch(0)
    assert torch.equal(own.images, other.images) and not torch.equal(own.words, other.words)


def test_fewer_patients_than_a_batch_are_refused():
    with pytest.raises(InputError, match="fewer than a batch"):
        Kept(simulated(), 2)
