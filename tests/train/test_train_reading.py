"""Image and report in one space: what is aligned is found, what is not is at chance, prompts ask what they say."""

import pytest
import torch
from train_samples import CROP, tiny_learner

from radfoundry.records import InputError
from radfoundry.simulate.vocabulary import PHRASES
from radfoundry.train import reading, reports
from radfoundry.train.processes import Place
from radfoundry.train.sources import QUALITY, Simulated


@pytest.fixture(scope="module")
def tokeniser():
    return reports.learned_tokeniser(CROP, seed=5, size=300, patients=60)


@pytest.fixture(scope="module")
def learner(tokeniser):
    facts = {"vocabulary": tokeniser.size, "text_width": 32, "findings": len(reports.FINDINGS), "quality": len(QUALITY)}
    return tiny_learner("align", **facts)


def source(tokeniser, **options):
    return Simulated(CROP, 6, 0, "zscore", Place(), tokeniser=tokeniser, report_length=96, **options)


def test_aligned_vectors_are_found_and_others_are_not():
    rows = torch.nn.functional.normalize(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    assert reading.found_among(rows, rows).value == 1
    apart = reading.found_among(rows, rows.roll(7, dims=0))
    assert apart.low < 10 / 60 < apart.high + 0.1 and "chance 0.167" in apart.note


def test_images_and_reports_get_unit_vectors(learner, tokeniser):
    images, said = reading.vectors(learner, [source(tokeniser).batch(0)])
    assert images.shape == said.shape and torch.allclose(images.norm(dim=1), torch.ones(6), atol=1e-5)


def test_prompts_read_off_what_they_name(learner, tokeniser):
    """Images that are the prompts themselves: "there is a mass" has to answer yes and "no mass" no."""
    sentences = ["FINDINGS: There is a mass.", "FINDINGS: No mass."] * 4
    words = torch.tensor([tokeniser.padded(text, learner.text.length) for text in sentences])
    findings = torch.zeros(8, len(reports.FINDINGS))
    findings[::2, reports.FINDINGS.index("tumour")] = 1
    found = reading.zero_shot(learner, reading.read(learner, words), findings, tokeniser)
    assert found["tumour"].value > 0.9 and "single ones" in found["tumour"].note
    assert not found["infarct"].defined


def test_shuffled_reports_are_those_of_others(tokeniser):
    own, other = source(tokeniser).batch(0), source(tokeniser, shuffled=True).batch(0)
    assert torch.equal(own.images, other.images) and not torch.equal(own.words, other.words)


def test_reports_mention_what_is_in_the_crop_and_concepts_stand_where_they_are_named(tokeniser):
    batch = source(tokeniser).batch(1)
    for words, findings, concepts in zip(batch.words, batch.findings, batch.concepts, strict=True):
        for first, last, number in concepts.tolist():
            if number >= 0:
                named = tokeniser.decode(words[first:last].tolist()).strip().lower()
                assert any(named in phrase or phrase in named for phrase in PHRASES[reports.FINDINGS[number]])
                assert findings[number] == 1


def test_without_an_aligner_nothing_is_read(tokeniser):
    with pytest.raises(InputError, match="add align"):
        reading.vectors(tiny_learner("masked"), [source(tokeniser).batch(0)])
