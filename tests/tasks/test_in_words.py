"""Questions in words: models that know everything find everything, models that know nothing are at chance."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from radfoundry.records import InputError
from radfoundry.simulate import prompts
from radfoundry.tasks import pointing, retrieval, worded, zero_shot
from radfoundry.tasks.in_words import Asked

KINDS = ("tumour", "infarct", "haemorrhage", "demyelination")


class Oracle:
    """Reads a text as one number a finding: 1 where a sentence says it is there, -1 where it says it is not."""

    def __init__(self, noise=0.0):
        self.rng, self.noise = np.random.default_rng(0), noise
        self.side = type("Side", (), {"sizes": type("Sizes", (), {"local": 1})()})()

    def said(self, texts):
        rows = []
        for text in texts:
            known = {name: prompts.pairs(name) for name in KINDS}
            there = [any(yes.split(": ")[1] in text for yes, _ in known[name]) for name in KINDS]
            absent = [any(no.split(": ")[1] in text for _, no in known[name]) for name in KINDS]
            rows.append(np.array(there, float) - np.array(absent, float))
        rows = np.stack(rows) + self.noise * self.rng.normal(size=(len(rows), len(KINDS)))
        return normalize(torch.from_numpy(rows), dim=1)


def asked(*, noise=0.0, studies=120):
    rng = np.random.default_rng(1)
    truth = (rng.random((studies, len(KINDS))) < 0.4).astype(float)
    model = Oracle()
    seen = normalize(torch.from_numpy(2 * truth - 1 + noise * rng.normal(size=truth.shape)), dim=1)
    texts = [
        " ".join(prompts.pairs(kind)[0][1 - int(there)] for kind, there in zip(KINDS, row, strict=True))
        for row in truth
    ]
    names = np.array([f"s{number}" for number in range(studies)])
    findings = {kind: truth[:, place] for place, kind in enumerate(KINDS)}
    return Asked(model, seen, tuple(texts), names, names, findings, region=np.array(["a", "b"])[np.arange(studies) % 2])


def test_a_model_that_knows_the_findings_finds_reports_and_answers_prompts():
    found = retrieval.measure(asked()).metrics
    # Sixteen pictures of findings among 120 studies: the own one is among at least eight that are just alike.
    assert found["recall@10-over-chance"].low > 3 and found["median-rank"].value < 12
    assert found["finding-likeness"].low > 0.5 and found["within-region"].low > 0.8
    told = zero_shot.measure(asked()).metrics
    assert told["zero-shot-auroc"].low > 0.95 and told["prompt-spread"].value < 0.05
    assert "single ones" in told["zero-shot-auroc-tumour"].note


def test_likeness_of_pairs_is_spearmans_correlation():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    seen, there = rng.normal(size=(30, 6)), (rng.random((30, 4)) < 0.4).astype(float)
    shared = [
        1.0 if not (a + b).any() else float((a * b).sum() / ((a + b) > 0).sum())
        for row, a in enumerate(there)
        for b in there[row + 1 :]
    ]
    alike = [float(a @ b) for row, a in enumerate(seen) for b in seen[row + 1 :]]
    found = retrieval._correlation(retrieval.pair_ranks(seen, there)).prepare(retrieval.EMPTY)(np.ones((1, 30)))
    assert found[0] == pytest.approx(spearmanr(alike, shared).statistic)


def test_images_of_others_leave_chance():
    broken = worded.permuted(asked(), seed=3)
    found = retrieval.measure(broken).metrics
    assert found["recall@10-over-chance"].low < 1 < found["recall@10-over-chance"].high + 0.5
    told = zero_shot.measure(broken).metrics["zero-shot-auroc"]
    assert told.low < 0.5 < told.high


def test_differences_are_paired_and_signed():
    good, poor = asked(), asked(noise=5.0)
    for task in (retrieval, zero_shot):
        gap = task.difference(task.measure(good), task.measure(poor))
        name = "recall@10" if task is retrieval else "zero-shot-auroc"
        assert gap[name].low > 0
    same = retrieval.measure(good)
    assert retrieval.difference(same, same)["finding-likeness"].value == 0


def test_unknown_findings_are_left_out_of_their_auroc_alone():
    some = asked()
    some.findings["tumour"][::2] = np.nan
    found = zero_shot.measure(some).metrics
    assert found["zero-shot-auroc-tumour"].n == 60 and found["zero-shot-auroc"].low > 0.95
    some.findings["infarct"][:] = 0
    assert not zero_shot.measure(some).metrics["zero-shot-auroc-infarct"].defined


def test_other_words_may_be_given_and_wordless_findings_are_refused():
    assert prompts.pairs("my finding", ["odd thing"])[0][0] == "FINDINGS: There is an odd thing."
    with pytest.raises(InputError, match="no words"):
        prompts.pairs("my finding")


def test_pointing_at_the_lesion_counts_and_ties_are_by_lot():
    lesion = np.zeros((2, 8, 8, 8))
    lesion[0, :4, :4, :4] = 1
    lesion[1, 4:, 4:, 2:6] = 1  # half in each of two places
    held = pointing.held_by(lesion, (2, 2, 2))
    assert held.sum(axis=(1, 2, 3)).tolist() == [1, 2]
    maps = np.zeros((2, 2, 2, 2))
    assert np.allclose(pointing.pointed(maps, held), [1 / 8, 2 / 8])
    maps[:, 0, 0, 0] = 1
    assert pointing.pointed(maps, held).tolist() == [1.0, 0.0]


def test_too_few_studies_are_refused():
    with pytest.raises(InputError, match="too few"):
        retrieval.measure(asked(studies=10))
