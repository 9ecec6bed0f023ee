"""What can be read from frozen features while an encoder learns: place, sequence, lesion, and whether features live."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import normalize

from radfoundry.losses.spread import alignment, effective_rank, uniformity
from radfoundry.records import Estimate, Predictions

PENALTIES = tuple(10.0**power for power in range(-2, 5))
# A finding is in a crop when so many of its voxels are seen.
LEAST_LESION_VOXELS = 4.0


@dataclass(frozen=True, eq=False)
class Probed:
    """Features of held-out patients with what is known of them; N patients, S views, D features.

    features `(N, S, D)` · place_mm `(N, 3)`, sequence `(N, S)`, lesion `(N,)`, site `(N,)`, or None where not known.
    """

    features: torch.Tensor
    place_mm: torch.Tensor | None = None
    sequence: torch.Tensor | None = None
    lesion: torch.Tensor | None = None
    site: torch.Tensor | None = None


def measures(probed: Probed) -> dict[str, Estimate]:
    """Every measure that the facts allow: heads are fitted on one half of the patients and tested on the other.

    `position` is the median error in mm in the other view than the one that taught; `sequence`, `site` are shares
    named rightly, `lesion` the AUROC, `retrieval` the share of patients whose other view is the nearest of all.
    """
    found = {"effective-rank": plain(float(effective_rank(probed.features.flatten(0, 1))), "exp of entropy")}
    if probed.features.shape[1] > 1:
        first, second = probed.features[:, 0], probed.features[:, 1]
        found["retrieval"] = retrieval(first, second)
        found["alignment"] = plain(float(alignment(first, second)), "mean squared distance of partners")
    found["uniformity"] = plain(float(uniformity(probed.features[:, 0])), "log mean heat")
    if probed.place_mm is not None:
        found["position"] = position(probed.features, probed.place_mm)
    if probed.sequence is not None:
        found["sequence"] = named_rightly(probed.features, probed.sequence)
    if probed.site is not None:
        found["site"] = named_rightly(probed.features, probed.site[:, None].expand(-1, probed.features.shape[1]))
    if probed.lesion is not None:
        found["lesion"] = lesion(probed.features, probed.lesion)
    return found


def plain(value: float, method: str) -> Estimate:
    """A description of these features, not an estimate of anything beyond them."""
    return Estimate(value, method=method, note="describes the held-out crops")


def halves(count: int) -> tuple[slice, slice]:
    """Which patients teach and which are asked."""
    return slice(0, count // 2), slice(count // 2, count)


def ridge(features: torch.Tensor, target: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Answers `(M, Q)` of a linear head fitted to `(N, D)` features and `(N, Q)` targets, for `(M, D)` new features.

    Features are standardised; the penalty is the one with the least leave-one-out error (Allen's PRESS in closed form).
    """
    mean, spread = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    centre = target.mean(dim=0)
    known, new = ((part - mean) / spread for part in (features.double(), asked.double()))
    left, values, right = torch.linalg.svd(known, full_matrices=False)
    turned = left.T @ (target - centre).double()
    best, answers = math.inf, new[:, :1] * 0
    for penalty in PENALTIES:
        shrunk = values.square() / (values.square() + penalty)
        leverage = (left.square() * shrunk).sum(dim=1, keepdim=True) + 1 / len(known)
        missed = (target - centre).double() - left @ (shrunk[:, None] * turned)
        error = float((missed / (1 - leverage).clamp_min(1e-6)).square().mean())
        if error < best:
            best = error
            answers = new @ (right.T @ ((values / (values.square() + penalty))[:, None] * turned)) + centre
    return answers


def position(features: torch.Tensor, place_mm: torch.Tensor) -> Estimate:
    """The median distance in mm between true and read place, taught in the first view and asked in the last."""
    teach, ask = halves(len(features))
    answers = ridge(features[teach, 0], place_mm[teach], features[ask, -1])
    errors = (answers - place_mm[ask]).norm(dim=1).sort().values.numpy()
    return median(errors)


def median(ordered: np.ndarray, *, level: float = 0.95) -> Estimate:
    """The median of sorted values with the interval between the order statistics of the binomial distribution."""
    from scipy.stats import binom

    n = len(ordered)
    low = int(binom.ppf((1 - level) / 2, n, 0.5)) - 1
    if low < 0:
        return Estimate(float(np.median(ordered)), method="median", n=n, note="too few for an interval")
    limits = (float(ordered[low]), float(ordered[n - 1 - low]))
    return Estimate(float(np.median(ordered)), *limits, level=level, method="median, order statistics", n=n)


def named_rightly(features: torch.Tensor, label: torch.Tensor) -> Estimate:
    """The share of images whose class a linear head reads rightly; patients with several views count as clusters."""
    from radfoundry.stats.proportions import clustered_proportion

    teach, ask = halves(len(features))
    views = features.shape[1]
    known = label[teach].flatten() >= 0
    kinds = torch.unique(label[teach].flatten()[known])
    if len(kinds) < 2:
        return Estimate.undefined("only one class is known")
    target = (label[teach].flatten()[known][:, None] == kinds).double()
    answers = ridge(features[teach].flatten(0, 1)[known], target, features[ask].flatten(0, 1))
    right = (kinds[answers.argmax(dim=1)] == label[ask].flatten()).numpy()
    asked = (label[ask].flatten() >= 0).numpy()
    patient = np.repeat(np.arange(len(features[ask])), views)
    return clustered_proportion(right[asked], patient[asked])


def lesion(features: torch.Tensor, present: torch.Tensor) -> Estimate:
    """The AUROC of a linear head for a lesion in the crop, from the mean over views."""
    from radfoundry.stats.auc import auroc

    teach, ask = halves(len(features))
    answers = ridge(features[teach].mean(dim=1), present[teach, None].double(), features[ask].mean(dim=1))
    truth = present[ask].numpy().astype(int)
    if len(set(truth.tolist())) < 2:
        return Estimate.undefined("only one class is known", n=len(truth))
    return auroc(Predictions.of(truth, answers[:, 0].numpy()))


def retrieval(first: torch.Tensor, second: torch.Tensor) -> Estimate:
    """The share of patients whose own second view is the nearest of all second views."""
    from radfoundry.stats.proportions import proportion

    near = (normalize(first, dim=1) @ normalize(second, dim=1).T).argmax(dim=1)
    hits = int((near == torch.arange(len(first))).sum())
    return proportion(hits, len(first), name="found")
