"""What an aligned image and text encoder can do without labels: find a patient's report, answer yes-or-no questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from radfoundry.records import Estimate, InputError, Predictions
from radfoundry.simulate import prompts
from radfoundry.text.tokens import Tokeniser
from radfoundry.train.batches import Batch
from radfoundry.train.objectives.align import Align
from radfoundry.train.reports import FINDINGS

NEAREST = 10


def aligner_of(learner: Any) -> Align | None:
    """The first objective that puts images and reports into one space, if there is one."""
    return next((part for part in learner.objectives.values() if isinstance(part, Align)), None)


@torch.no_grad()
def vectors(learner: Any, batches: Sequence[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    """`(N, D)` of images, the mean over views, and `(N, D)` of their reports, all of length 1."""
    aligner = _need(learner)
    device = next(learner.encoder.parameters()).device
    images, reports = [], []
    for batch in batches:
        if batch.words is None:
            raise InputError("these patients have no reports", remedy="set reports=true")
        pooled = learner(batch.to(device), asked=True)["pooled"]
        seen = normalize(aligner.image(pooled).float(), dim=1).reshape(len(batch), batch.views, -1)
        images.append(normalize(seen.mean(dim=1), dim=1).cpu())
        reports.append(read(learner, batch.words.to(device)))
    return torch.cat(images), torch.cat(reports)


@torch.no_grad()
def read(learner: Any, words: torch.Tensor) -> torch.Tensor:
    """`(B, T)` token numbers to `(B, D)` of length 1."""
    return normalize(_need(learner).report(learner.text.encode(words).pooled).float(), dim=1).cpu()


def found_among(images: torch.Tensor, reports: torch.Tensor, *, nearest: int = NEAREST) -> Estimate:
    """The share of patients whose own report is among the `nearest` ones; the note says what chance would give."""
    from radfoundry.stats import retrieval

    hit = retrieval.hits((images @ reports.T).numpy(), nearest=nearest)
    estimate = retrieval.recall(hit, np.arange(len(hit)), name="found")
    note = f"own report among the nearest {nearest} of {len(images)}; chance {min(1.0, nearest / len(images)):.3f}"
    return Estimate(estimate.value, estimate.low, estimate.high, method=estimate.method, n=estimate.n, note=note)


def zero_shot(learner: Any, images: torch.Tensor, findings: torch.Tensor, tokeniser: Tokeniser) -> dict[str, Estimate]:
    """AUROC of every finding from prompts alone, their mean as score; the note gives the spread over single prompts.

    images `(N, D)` from `vectors`; findings `(N, F)` 0 or 1. Findings that all or none have are undefined.
    """
    from radfoundry.stats.auc import auroc

    found = {}
    for column, name in enumerate(FINDINGS):
        truth = findings[:, column].numpy().astype(int)
        if len(set(truth.tolist())) < 2:
            found[name] = Estimate.undefined("only one class is there", n=len(truth))
            continue
        gaps = prompt_gaps(learner, images, name, tokeniser)
        single = [auroc(Predictions.of(truth, gap)).value for gap in gaps]
        whole = auroc(Predictions.of(truth, np.mean(gaps, axis=0)))
        note = f"mean of {len(gaps)} prompts, single ones {min(single):.2f} to {max(single):.2f}"
        found[name] = Estimate(whole.value, whole.low, whole.high, method=whole.method, n=whole.n, note=note)
    return found


def prompt_gaps(learner: Any, images: torch.Tensor, finding: str, tokeniser: Tokeniser) -> list[np.ndarray]:
    """For every pair of prompts `(N,)`: how much nearer an image is to "there is" than to "there is no"."""
    device = next(learner.encoder.parameters()).device
    sentences = [sentence for pair in prompts.pairs(finding) for sentence in pair]
    numbers = [tokeniser.padded(sentence, learner.text.length) for sentence in sentences]
    said = read(learner, torch.tensor(numbers, device=device)).reshape(len(sentences) // 2, 2, -1)
    return [(images @ (present - absent)).numpy() for present, absent in said]


def _need(learner: Any) -> Align:
    aligner = aligner_of(learner)
    if aligner is None:
        raise InputError("nothing aligns images and reports here", where="objectives", remedy="add align")
    return aligner
