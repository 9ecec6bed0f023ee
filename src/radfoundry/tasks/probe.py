"""Ask frozen features a question: fit a head on some patients, let it answer for the others, keep both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError, Predictions, Task, counted
from radfoundry.stats import operating
from radfoundry.tasks import finish, heads
from radfoundry.tasks.examples import Examples, Learner, by_case, examples

PATIENTS, SITES = "patients", "sites"


@dataclass(frozen=True)
class Design:
    """Who teaches and who is tested: series filters, a named split or cross-validation between patients.

    train_on and test_on name header facts, for example `{"sequence": ["T2w"]}`. With `split` the head is
    fitted on its part `train` and tested on `test`; without, every patient is tested once by a head that
    was fitted on the other folds. held_out: `patients`, or `sites` where every fold is one site that taught nothing.
    labelled: so many patients of those that may teach do, each class by its share; 0 for all.
    """

    train_on: Mapping[str, Sequence[str]]
    test_on: Mapping[str, Sequence[str]]
    split: str | None = None
    folds: int = 5
    seed: int = 0
    rule: str = "youden"
    wanted: float = 0.9
    held_out: str = PATIENTS
    labelled: int = 0


Wanted = Mapping[str, list[str] | str]


def with_cut_off(made: Design, cut_off: Component) -> Design:
    """The design with the rule for the cut-off that a setting names; refuses rules and options there are not."""
    if cut_off.name not in operating.RULES:
        raise registry.unknown("cut-off", cut_off.name, operating.RULES, where="cut_off")
    for option in cut_off.options:
        if option != "wanted":
            raise registry.unknown("option", option, ["wanted"], where="cut_off")
    return replace(made, rule=cut_off.name, wanted=float(cut_off.options.get("wanted", 0.9)))


def design(train_on: Wanted, test_on: Wanted | None, *, split: str | None, folds: int, seed: int) -> Design:
    """The design that settings describe; series are tested on what taught them unless said otherwise."""

    def as_lists(wanted: Wanted) -> dict[str, list[str]]:
        return {fact: [values] if isinstance(values, str) else list(values) for fact, values in wanted.items()}

    return Design(as_lists(train_on), as_lists(train_on if test_on is None else test_on), split, folds, seed)


@dataclass(frozen=True, eq=False)
class Pooled:
    """A head on pooled features as something that learns from rows."""

    head: heads.Head

    @property
    def name(self) -> str:
        """The head's name."""
        return self.head.name

    def fit(self, rows: Examples, *, kind: str, classes: int) -> FittedPooled:
        """Fit the head on the rows' features."""
        fitted = heads.fit(self.head, rows.features, rows.answer, rows.patient, kind=kind, classes=classes)
        return FittedPooled(fitted, fitted.held_out)


@dataclass(frozen=True, eq=False)
class FittedPooled:
    """A fitted head that answers rows by their features."""

    head: heads.FittedHead
    held_out: np.ndarray | None

    def predict(self, rows: Examples) -> np.ndarray:
        """Scores of rows."""
        return self.head.predict(rows.features)


@dataclass(frozen=True, eq=False)
class Probe:
    """What came of asking: out-of-sample predictions, raw and finished, and what was fitted on everybody allowed.

    `answers` are the predictions after calibration, interval and cut-off, each chosen inside the patients that
    taught; `finish` is the same for the final fit.
    """

    predictions: Predictions
    answers: finish.Answers
    fitted: Any
    finish: finish.Finish
    training: Examples
    notes: tuple[str, ...] = ()

    @property
    def head(self) -> heads.FittedHead:
        """The fitted head on pooled features."""
        return self.fitted.head

    @property
    def training_patients(self) -> int:
        """How many patients taught the final fit."""
        return len(np.unique(self.training.patient))


def probe(
    cohort: Cohort,
    embeddings: Embeddings,
    *,
    task: Task,
    truth: Mapping[str, Any],
    head: heads.Head | Learner,
    design: Design,
) -> Probe:
    """Fit a head on frozen features and predict every test case out of sample; one score per case.

    `head` may be anything that learns from rows. A case with several matching series gets the mean of their scores.
    Cases without an answer or without a matching series are left out and counted in `notes`. Refuses filters nothing
    matches.
    """
    learner: Learner = Pooled(head) if isinstance(head, heads.Head) else head
    views = getattr(learner, "views", None)
    learn = examples(embeddings, truth, design.train_on, name="train_on", views=views)
    asked = examples(embeddings, truth, design.test_on, name="test_on", views=views)
    classes = class_count(task.kind, truth)
    parts = pairs(cohort, learn, asked, kind=task.kind, design=design)
    found, said = [], []
    for teaching, testing in parts:
        fitted = learner.fit(teaching, kind=task.kind, classes=classes)
        found.append(by_case([(testing, fitted.predict(testing))]))
        said.append(finish.finish(found[-1].score, finished(teaching, fitted, task.kind, design)))
    final = everybody(parts, learn, kind=task.kind, design=design)
    fitted = learner.fit(final, kind=task.kind, classes=classes)
    predictions, answers = in_order(found, said)
    how = finished(final, fitted, task.kind, design)
    notes = remarks(cohort, truth, predictions, design, folds=len(parts))
    return Probe(predictions, answers, fitted, how, final, (*notes, how.note) if how.note else notes)


def pairs(
    cohort: Cohort, learn: Examples, asked: Examples, *, kind: str, design: Design
) -> list[tuple[Examples, Examples]]:
    """Who teaches and who is tested, fold by fold, site by site, or once where a split is named."""
    if design.split is not None:
        found = [_split_pair(cohort, learn, asked, design.split)]
    elif design.held_out == SITES:
        found = _site_pairs(learn, asked)
    else:
        found = _fold_pairs(learn, asked, kind=kind, design=design)
    return [(few(teaching, design, kind=kind), testing) for teaching, testing in found]


def everybody(parts: Sequence[tuple[Examples, Examples]], learn: Examples, *, kind: str, design: Design) -> Examples:
    """The rows that teach the final fit: of the part `train` where a split is named, else all that may teach."""
    return parts[0][0] if design.split else few(learn, design, kind=kind)


def few(rows: Examples, design: Design, *, kind: str) -> Examples:
    """The rows of `design.labelled` of the patients, each class by its share and at least one of it; 0 for all."""
    owners, first = np.unique(rows.patient, return_index=True)
    if not 0 < design.labelled < len(owners):
        return rows
    known = _strata(kind, rows.answer[first])
    strata = np.zeros(len(owners), int) if known is None else known
    order = np.random.default_rng(design.seed).permutation(len(owners))
    chosen: list[str] = []
    for value, count in zip(*np.unique(strata, return_counts=True), strict=True):
        wanted = max(1, round(design.labelled * count / len(owners)))
        chosen += owners[order[strata[order] == value][:wanted]].tolist()
    return rows.take(np.isin(rows.patient, chosen))


def remarks(
    cohort: Cohort, truth: Mapping[str, Any], predictions: Predictions, design: Design, *, folds: int
) -> tuple[str, ...]:
    """Who was left out, and how many folds there were, in words."""
    notes = []
    if design.split is None and design.held_out == PATIENTS and folds < design.folds:
        notes.append(f"{folds} folds, not {design.folds}: the rarest answer has too few patients for more")
    if len(predictions) < len(truth) and design.split is None:
        notes.append(f"not tested: {len(truth) - len(predictions)} of {counted(len(truth), 'case')} with an answer")
    if len(cohort) > len(truth):
        notes.append(f"left out for want of an answer: {len(cohort) - len(truth)} of {counted(len(cohort), 'case')}")
    people = len(np.unique(predictions.patient))
    if design.split is None and design.labelled >= people:
        notes.append(f"labelled={design.labelled}: all who may teach do, of {counted(people, 'patient')}")
    return tuple(notes)


def class_count(kind: str, truth: Mapping[str, Any]) -> int:
    """How many classes a question has; 0 for other kinds of question."""
    return int(max(truth.values())) + 1 if kind in heads.CLASSES else 0


def finished(rows: Examples, fitted: Any, kind: str, design: Design) -> finish.Finish:
    """Calibration, interval and cut-off from the held-out scores of the rows that taught."""
    held_out = None if fitted.held_out is None else by_case([(rows, fitted.held_out)])
    return finish.choose(held_out, kind, rule=design.rule, wanted=design.wanted)


def in_order(found: Sequence[Predictions], said: Sequence[finish.Answers]) -> tuple[Predictions, finish.Answers]:
    """All folds' cases as one table, in order of the case's name."""
    order = np.argsort(np.concatenate([part.case for part in found]), kind="stable")
    names = ("case", "patient", "target", "score", "site")
    together = Predictions(*(np.concatenate([getattr(part, name) for part in found])[order] for name in names))
    columns = ("value", "low", "high", "called")
    if not said:
        return together, finish.Answers(together.score, together.score, together.score)
    answers = finish.Answers(*(np.concatenate([getattr(part, name) for part in said])[order] for name in columns))
    return together, answers


def _split_pair(cohort: Cohort, learn: Examples, asked: Examples, split: str) -> tuple[Examples, Examples]:
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
            f"{counted(len(shared), 'patient is', 'patients are')} in train and in test",
            where=f"split {split}",
            remedy="split by patient",
            finding="leak",
        )
    return teaching, testing


def _site_pairs(learn: Examples, asked: Examples) -> list[tuple[Examples, Examples]]:
    """Every site is tested once, by what learned at the others from other patients."""
    sites = np.unique(asked.site)
    if len(np.unique(np.concatenate([learn.site, asked.site]))) < 2:
        raise InputError(
            "all patients are of one site", where="held_out=sites", remedy="ingest with site_from", finding="one-site"
        )
    found = []
    for site in sites:
        tested = asked.take(asked.site == site)
        teaching = learn.take((learn.site != site) & ~np.isin(learn.patient, tested.patient))
        if not len(teaching):
            raise InputError(f"nobody elsewhere teaches for {site}", where="held_out=sites", remedy="see train_on")
        found.append((teaching, tested))
    return found


def _strata(kind: str, answer: np.ndarray) -> np.ndarray | None:
    """What every fold should hold its share of, or nothing."""
    if kind in heads.CLASSES:
        return answer
    return answer[:, 1].astype(int) if kind == "survival" else None


def _fold_pairs(learn: Examples, asked: Examples, *, kind: str, design: Design) -> list[tuple[Examples, Examples]]:
    """Every patient is tested once; folds depend on the patients and the seed alone, not on the encoder."""
    from sklearn.model_selection import KFold, StratifiedKFold

    patients, first = np.unique(np.concatenate([learn.patient, asked.patient]), return_index=True)
    answer = np.concatenate([learn.answer, asked.answer])[first]
    folds = min(design.folds, len(patients))
    strata = _strata(kind, answer)
    if strata is not None:
        folds = min(folds, int(np.unique(strata, return_counts=True)[1].min()))
    if folds < 2:
        raise InputError(
            f"{counted(len(patients), 'patient')} cannot be cut into folds that each hold every class: the rarest "
            f"has {folds}",
            remedy="add patients of the rare class, empty its cells to leave it out, or name a split",
            finding="too-few",
        )
    splitter = (KFold if strata is None else StratifiedKFold)(folds, shuffle=True, random_state=design.seed)
    pairs = []
    for _, tested in splitter.split(patients, strata):
        held = patients[tested]
        pairs.append((learn.take(~np.isin(learn.patient, held)), asked.take(np.isin(asked.patient, held))))
    return pairs


def write_predictions(predictions: Predictions, path: Path, *, answers: finish.Answers | None = None) -> None:
    """The predictions as a table: case, patient, site, target, one score column per class, and finished answers."""
    import pandas as pd

    columns: dict[str, Any] = {name: getattr(predictions, name) for name in ("case", "patient", "site")}
    columns |= numbered("target", predictions.target) | numbered("score", predictions.score)
    if answers is not None:
        columns |= finished_columns(answers)
    with runs.atomic(path) as partial:
        pd.DataFrame(columns).to_parquet(partial, index=False)


def numbered(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """One column, or several with a number behind the name."""
    table = values.reshape(len(values), -1)
    return {name if table.shape[1] == 1 else f"{name}_{index}": column for index, column in enumerate(table.T)}


def finished_columns(answers: finish.Answers) -> dict[str, np.ndarray]:
    """Finished answers as columns: answer, low and high where there is an interval, and the class called."""
    columns = numbered("answer", answers.value)
    if not np.isnan(answers.low).all():
        columns |= numbered("low", answers.low) | numbered("high", answers.high)
    return columns if (answers.called < 0).all() else columns | {"called": answers.called}


def read_predictions(path: str | Path) -> Predictions:
    """The predictions `write_predictions` wrote."""
    import pandas as pd

    table = pd.read_parquet(path)
    target, scores = (_columns(table, name) for name in ("target", "score"))
    return Predictions.of(
        target,
        scores.astype(float),
        patient=table["patient"].to_numpy(str),
        site=table["site"].to_numpy(str),
        case=table["case"].to_numpy(str),
    )


def _columns(table: Any, name: str) -> np.ndarray:
    if name in table.columns:
        return table[name].to_numpy()
    return table[[column for column in table.columns if column.startswith(f"{name}_")]].to_numpy()
