"""How reader AUCs move together when the cases change: jackknife, DeLong, unbiased and bootstrap covariances."""

from __future__ import annotations

import numpy as np

from radfoundry.records import InputError
from radfoundry.stats.auc import cluster_covariance, placements
from radfoundry.stats.inputs import Seed, at_least, choice, clusters, generator, one_class_note
from radfoundry.stats.readers import ReaderStudy

COVARIANCES = ("jackknife", "delong", "unbiased", "bootstrap")


def reader_aucs(study: ReaderStudy) -> np.ndarray:
    """The (arms, readers) areas under the empirical ROC curves; ties count half.

    >>> reader_aucs(ReaderStudy.of([[[1, 2, 5], [2, 1, 1]]], [0, 0, 1])).tolist()
    [[1.0, 0.25]]
    """
    _both_classes(study)
    return np.array([[placements(study.truth, row).value for row in arm] for arm in study.ratings])


def auc_covariance(study: ReaderStudy, *, method: str = "jackknife", draws: int = 1000, rng: Seed = 0) -> np.ndarray:
    """The (arms x readers) square covariance of the AUCs due to the sample of cases, readers varying fastest.

    Args:
        study: a crossed reader study.
        method: "jackknife" (leave one patient out), "delong", "unbiased" (Gallas' U-statistic moments; one case per
            patient only) or "bootstrap" (patients drawn within diseased and healthy).
        draws: bootstrap draws.
        rng: seed or generator of the bootstrap.

    Sources: Hillis, Obuchowski, Schartz & Berbaum, Stat Med 2005;24:1579; DeLong et al., Biometrics 1988;44:837;
    Obuchowski, Biometrics 1997;53:567 (several cases of one patient); Gallas, Acad Radiol 2006;13:353.
    """
    choice(method, COVARIANCES, "covariance")
    _both_classes(study)
    if method == "jackknife":
        left_out = jackknife_aucs(study)
        count = left_out.shape[1]
        centred = left_out - left_out.mean(axis=1, keepdims=True)
        return centred @ centred.T * (count - 1) / count
    if method == "delong":
        rows = study.ratings.reshape(-1, len(study.truth))
        return cluster_covariance([placements(study.truth, row) for row in rows], *clusters(study.patient))
    if method == "unbiased":
        return _unbiased(study)
    return np.cov(_bootstrap_aucs(study, at_least(draws, 50, "draws"), generator(rng)))


def _both_classes(study: ReaderStudy) -> None:
    note = one_class_note(study.truth)
    if note:
        raise InputError(note, remedy="an AUC needs diseased and healthy cases; use binary_readers for one class")


def wins(study: ReaderStudy) -> np.ndarray:
    """(arms x readers, healthy, diseased): 1 where the diseased case is rated higher, 1/2 at ties, else 0."""
    rows = study.ratings.reshape(-1, len(study.truth))
    diseased, healthy = rows[:, study.truth], rows[:, ~study.truth]
    above = diseased[:, None, :] > healthy[:, :, None]
    return above + 0.5 * (diseased[:, None, :] == healthy[:, :, None])


def jackknife_aucs(study: ReaderStudy) -> np.ndarray:
    """(arms x readers, patients): the AUCs when each patient in turn is left out."""
    if not study.clustered:
        return _jackknife_cases(study)
    kernel = wins(study)
    group, count = clusters(study.patient)
    healthy, diseased = group[~study.truth], group[study.truth]
    member_healthy = (healthy[:, None] == np.arange(count)).astype(float)
    member_diseased = (diseased[:, None] == np.arange(count)).astype(float)
    by_healthy, by_diseased = kernel.sum(axis=2), kernel.sum(axis=1)
    # Pairs of one patient's own healthy and diseased case are taken away twice and so given back once.
    rows, columns = np.nonzero(healthy[:, None] == diseased[None, :])
    own = np.stack([np.bincount(healthy[rows], pairs, count) for pairs in kernel[:, rows, columns]])
    kept = kernel.sum(axis=(1, 2))[:, None] - by_healthy @ member_healthy - by_diseased @ member_diseased + own
    pairs = (len(healthy) - member_healthy.sum(axis=0)) * (len(diseased) - member_diseased.sum(axis=0))
    if (pairs == 0).any():
        raise InputError("leaving out one patient leaves no case of one class", remedy="add patients of that class")
    return kept / pairs


def _jackknife_cases(study: ReaderStudy) -> np.ndarray:
    """One case per patient: leaving a case out takes its own share from the area, so nothing is recounted."""
    diseased = int(study.truth.sum())
    size = np.where(study.truth, diseased, len(study.truth) - diseased).astype(float)
    if size.min() < 2:
        raise InputError("leaving out one patient leaves no case of one class", remedy="add patients of that class")
    parts = [placements(study.truth, row) for row in study.ratings.reshape(-1, len(study.truth))]
    return np.stack([part.value - part.influence * size / (size - 1) for part in parts])


def _unbiased(study: ReaderStudy) -> np.ndarray:
    if study.clustered:
        raise InputError("the unbiased covariance needs one case per patient", remedy="use covariance='jackknife'")
    kernel = wins(study)
    _, healthy, diseased = kernel.shape
    if min(healthy, diseased) < 2:
        raise InputError("fewer than two cases in one class", remedy="add cases of that class")
    flat = kernel.reshape(len(kernel), -1)
    by_healthy, by_diseased = kernel.sum(axis=2), kernel.sum(axis=1)
    total = flat.sum(axis=1)
    same = flat @ flat.T
    one_healthy = by_healthy @ by_healthy.T - same
    one_diseased = by_diseased @ by_diseased.T - same
    none_shared = np.outer(total, total) - same - one_healthy - one_diseased
    pairs = healthy * diseased
    moment = none_shared / (pairs * (healthy - 1) * (diseased - 1))
    return (same + one_healthy + one_diseased + none_shared) / pairs**2 - moment


def _bootstrap_aucs(study: ReaderStudy, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(arms x readers, draws) AUCs; patients drawn within those with and those without a diseased case."""
    kernel = wins(study)
    group, count = clusters(study.patient)
    with_disease = np.bincount(group, study.truth, count) > 0
    weight = np.zeros((draws, count))
    for stratum in (np.flatnonzero(with_disease), np.flatnonzero(~with_disease)):
        if len(stratum):
            chosen = rng.integers(0, len(stratum), (draws, len(stratum)))
            np.add.at(weight, (np.arange(draws)[:, None], stratum[chosen]), 1.0)
    healthy, diseased = weight[:, group[~study.truth]], weight[:, group[study.truth]]
    pairs = healthy.sum(axis=1) * diseased.sum(axis=1)
    keep = pairs > 0
    return np.stack([((healthy[keep] @ row) * diseased[keep]).sum(axis=1) / pairs[keep] for row in kernel])
