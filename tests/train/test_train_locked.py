"""A locked encoder does not move, and remembering its features changes no number."""

import pytest
import torch
from train_samples import CROP, tiny_learner

from radfoundry.train import reports
from radfoundry.train.kept import Kept
from radfoundry.train.processes import Place
from radfoundry.train.sources import QUALITY, Simulated


@pytest.fixture(scope="module")
def tokeniser():
    return reports.learned_tokeniser(CROP, seed=5, size=300, patients=40)


def learner(tokeniser):
    facts = {"vocabulary": tokeniser.size, "text_width": 32, "findings": len(reports.FINDINGS), "quality": len(QUALITY)}
    return tiny_learner("align", **facts)


def test_the_encoder_stays_and_the_words_move(tokeniser):
    source = Kept(Simulated(CROP, 3, 0, "zscore", Place(), tokeniser=tokeniser, report_length=64), 3)
    plain, kept = learner(tokeniser).lock(remember=False), learner(tokeniser).lock(remember=True)
    for step in range(3):
        first, second = plain(source.batch(step))["loss"], kept(source.batch(step))["loss"]
        assert torch.allclose(first, second, atol=1e-4)
    second.backward()
    assert all(weight.grad is None for weight in kept.encoder.parameters())
    assert kept.text.words.weight.grad.abs().sum() > 0
    assert len(kept.locked.rows) == 3 * CROP.views and not plain.locked.rows
