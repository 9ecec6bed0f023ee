"""Ask frozen features a question: fit a head on some patients, let it answer for the others, keep both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import runs
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError, Predictions, Series, Task
from radfoundry.tasks import heads


@dataclass(frozen=True)
class Design:
    """Who teaches and who is tested: series filters, a named split or cross-validation between patients.

    train_on and test_on name header facts, for example `{"sequence": ["T2w"]}`. With `split` the head is
    fitted on its part `train` and tested on `test`; without, every patient is tested once by a head that
    was fitted on the other folds.
    """

    train_on: Mapping[str, Sequence[str]]
    test_on: Mapping[str, Sequence[str]]
    split: str | None = None
    folds: int = 5
    seed: int = 0


Wanted = Mapping[str, list[str] | str]


def design(train_on: Wanted, test_on: Wanted | None, *, split: str | None, folds: int, seed: int) -> Design:
    """The design that settings describe; series are tested on what taught them unless said otherwise."""

    def as_lists(wanted: Wanted) -> dict[str, list[str]]:
        return {fact: [values] if isinstance(values, str) else list(values) for fact, values in wanted.items()}

    return Design(as_lists(train_on), as_lists(train_on if test_on is None else test_on), split, folds, seed)


@dataclass(frozen=True, eq=False)
class Probe:
    """What came of asking: out-of-sample predictions, the head fitted on everybody allowed, and remarks."""

    predictions: Predictions
    head: heads.FittedHead
    training_patients: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Rows:
    """One row per series: its features, its case's answer, whose it is and where."""

    features: np.ndarray
    answer: np.ndarray
    case: np.ndarray
    patient: np.ndarray
    site: np.ndarray

    def take(self, keep: np.ndarray) -> _Rows:
        return _Rows(self.features[keep], self.answer[keep], self.case[keep], self.patient[keep], self.site[keep])


def probe(
    cohort: Cohort, embeddings: Embeddings, *, task: Task, truth: Mapping[str, Any], head: heads.Head, design: Design
) -> Probe:
    """Fit a head on frozen features and predict every test case out of sample; one score per case.

    A case with several matching series gets the mean of their scores. Cases without an answer or without a
    matching series are left out and counted in `notes`. Refuses filters nothing matches.
    """
    learn = _rows(embeddings, truth, design.train_on, name="train_on")
    asked = _rows(embeddings, truth, design.test_on, name="test_on")
    classes = int(max(truth.values())) + 1 if task.kind != "regression" else 0
    if design.split is None:
        parts = _fold_pairs(learn, asked, kind=task.kind, design=design)
    else:
        parts = [_split_pair(cohort, learn, asked, design.split)]
    scored = []
    for teaching, testing in parts:
        fitted = heads.fit(head, teaching.features, teaching.answer, teaching.patient, kind=task.kind, classes=classes)
        scored.append((testing, fitted.predict(testing.features)))
    final = parts[0][0] if design.split else learn
    fitted = heads.fit(head, final.features, final.answer, final.patient, kind=task.kind, classes=classes)
    predictions = _by_case(scored)
    notes = [f"{len(truth) - len(predictions)} of {len(truth)} cases with an answer were not tested"]
    notes = notes if len(predictions) < len(truth) and design.split is None else []
    if len(cohort) > len(truth):
        notes.append(f"{len(cohort) - len(truth)} of {len(cohort)} cases have no answer and were left out")
    return Probe(predictions, fitted, len(np.unique(final.patient)), tuple(notes))


def matches(series: Series, wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether a series has one of the wanted values for every fact named (sequence, plane, site or a header field)."""
    for fact, values in wanted.items():
        if hasattr(series, fact):
            found = getattr(series, fact)
        elif hasattr(series.acquisition, fact):
            found = getattr(series.acquisition, fact)
        else:
            raise InputError(f"series have no fact {fact!r}", remedy="use sequence, plane, site or a header field")
        if found is None or str(found) not in [str(value) for value in values]:
            return False
    return True


def _rows(embeddings: Embeddings, truth: Mapping[str, Any], wanted: Mapping[str, Sequence[str]], *, name: str) -> _Rows:
    keep = [index for index, series in enumerate(embeddings.series) if series.case in truth and matches(series, wanted)]
    if not keep:
        sequences = sorted({str(series.sequence) for series in embeddings.series})
        raise InputError(
            f"no series with an answer matches {dict(wanted)}",
            where=name,
            remedy=f"sequences here: {', '.join(sequences)}",
            finding="no-match",
        )
    chosen = [embeddings.series[index] for index in keep]
    return _Rows(
        features=embeddings.vectors[keep].astype(float),
        answer=np.array([truth[series.case] for series in chosen]),
        case=np.array([series.case for series in chosen]),
        patient=np.array([series.patient for series in chosen]),
        site=np.array([series.site or "unknown" for series in chosen]),
    )


def _split_pair(cohort: Cohort, learn: _Rows, asked: _Rows, split: str) -> tuple[_Rows, _Rows]:
    train = {case.key for case in cohort.part(split, "train").cases}
    test = {case.key for case in cohort.part(split, "test").cases}
    teaching = learn.take(np.isin(learn.case, sorted(train)))
    testing = asked.take(np.isin(asked.case, sorted(test)))
    for rows, part in ((teaching, "train"), (testing, "test")):
        if not len(rows.case):
            raise InputError(f"part {part!r} has no usable case", where=f"split {split}", remedy="see radfoundry split")
    shared = set(teaching.patient) & set(testing.patient)
    if shared:
        raise InputError(
            f"{len(shared)} patients are in train and in test",
            where=f"split {split}",
            remedy="split by patient",
            finding="leak",
        )
    return teaching, testing


def _fold_pairs(learn: _Rows, asked: _Rows, *, kind: str, design: Design) -> list[tuple[_Rows, _Rows]]:
    """Every patient is tested once; folds depend on the patients and the seed alone, not on the encoder."""
    from sklearn.model_selection import KFold, StratifiedKFold

    patients, first = np.unique(np.concatenate([learn.patient, asked.patient]), return_index=True)
    answer = np.concatenate([learn.answer, asked.answer])[first]
    folds = min(design.folds, len(patients))
    if kind != "regression":
        folds = min(folds, int(np.unique(answer, return_counts=True)[1].min()))
    if folds < 2:
        raise InputError(
            f"{len(patients)} patients cannot be cut into folds that each hold every class",
            remedy="add patients of the rare class, or name a split",
            finding="too-few",
        )
    splitter = (KFold if kind == "regression" else StratifiedKFold)(folds, shuffle=True, random_state=design.seed)
    pairs = []
    for _, tested in splitter.split(patients, answer):
        held = patients[tested]
        pairs.append((learn.take(~np.isin(learn.patient, held)), asked.take(np.isin(asked.patient, held))))
    return pairs


def _by_case(scored: list[tuple[_Rows, np.ndarray]]) -> Predictions:
    case = np.concatenate([rows.case for rows, _ in scored])
    score = np.concatenate([values for _, values in scored])
    names, first, group = np.unique(case, return_index=True, return_inverse=True)
    total = np.zeros((len(names), *score.shape[1:]))
    np.add.at(total, group, score)
    counts = np.bincount(group).reshape(-1, *[1] * (score.ndim - 1))
    column = {
        name: np.concatenate([getattr(rows, name) for rows, _ in scored])[first]
        for name in ("answer", "patient", "site")
    }
    return Predictions(names, column["patient"], column["answer"], total / counts, column["site"])


def write_predictions(predictions: Predictions, path: Path) -> None:
    """The predictions as a table: case, patient, site, target, and one score column per class."""
    import pandas as pd

    columns: dict[str, Any] = {name: getattr(predictions, name) for name in ("case", "patient", "site", "target")}
    scores = predictions.score.reshape(len(predictions), -1)
    names = ["score"] if scores.shape[1] == 1 else [f"score_{index}" for index in range(scores.shape[1])]
    columns.update(zip(names, scores.T, strict=True))
    with runs.atomic(path) as partial:
        pd.DataFrame(columns).to_parquet(partial, index=False)


def read_predictions(path: str | Path) -> Predictions:
    """The predictions `write_predictions` wrote."""
    import pandas as pd

    table = pd.read_parquet(path)
    scores = table[[name for name in table.columns if name.startswith("score")]].to_numpy(float)
    return Predictions.of(
        table["target"].to_numpy(),
        scores[:, 0] if scores.shape[1] == 1 else scores,
        patient=table["patient"].to_numpy(str),
        site=table["site"].to_numpy(str),
        case=table["case"].to_numpy(str),
    )


def save_head(probe: Probe, folder: Path, *, task: Task, encoder: str, fingerprint: str) -> None:
    """Write the fitted head as `head.safetensors` with what it answers and which encoder it needs inside."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(value) for name, value in probe.head.arrays.items()}
    about = {
        "format": 1,
        "head": {"name": probe.head.name, "kind": probe.head.kind, "strength": probe.head.strength},
        "task": {"name": task.name, "target": task.target, "kind": task.kind, "about": task.about},
        "encoder": {"name": encoder, "fingerprint": fingerprint},
    }
    # One entry only: safetensors writes several in an order that changes from run to run.
    metadata = {"radfoundry": json.dumps(about, sort_keys=True)}
    with runs.atomic(folder / "head.safetensors") as partial:
        save_file(arrays, partial, metadata=metadata)


def load_head(path: str | Path) -> heads.FittedHead:
    """Read a head written by `save_head`; refuses anything else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as handle:
            about = json.loads((handle.metadata() or {})["radfoundry"])["head"]
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError):
        raise InputError("not a head written by radfoundry adapt", where=str(path), finding="unreadable") from None
    return heads.FittedHead(about["name"], about["kind"], about["strength"], arrays)
