"""How long nested evaluation of 44 small questions takes from features at hand, against the same grid in scikit-learn.

Run: OMP_NUM_THREADS=1 python benchmarks/nested.py [--workers 2] [--to benchmarks/results/nested.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

from radfoundry import runs
from radfoundry.tasks import heads, nested, nested_board, nested_figures
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.nested_pipeline import Pipeline

QUESTIONS, WIDTH, COMPARED = 44, 288, 4
DESIGN = nested.Design(folds=5, inner_folds=4)


def question(number: int, encoder: str, strength: float) -> nested.Rows:
    """One question about 60 to 120 patients; every fourth asks for a quantity, the others yes or no."""
    rng = np.random.default_rng(number)
    count = int(rng.integers(60, 121))
    hidden = rng.normal(size=count)
    kind = "regression" if number % 4 == 3 else "binary"
    answer = hidden if kind == "regression" else (hidden + 0.5 * rng.normal(size=count) > 0).astype(int)
    own = np.random.default_rng((number, len(encoder)))
    features = own.normal(size=(count, WIDTH))
    features[:, :20] += strength * hidden[:, None]
    ids = np.array([f"{number:02d}-{place:03d}" for place in range(count)])
    rows = Examples(features, answer, ids, ids, ids, np.arange(count), ids)
    return nested.Rows(encoder, f"question-{number:02d}", kind, 2, rows, nested.mark_of(rows), {})


def cpu_seconds() -> float:
    """Processor seconds of this process and of those it waited for, which other work on the machine does not change."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def plain(asked: nested.Rows) -> np.ndarray:
    """The same folds, strengths and standardisation with scikit-learn's pipeline and grid search."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = asked.rows
    fold = nested.fold_numbers(rows, kind=asked.kind, folds=DESIGN.folds, seed=0)
    score = np.zeros(len(rows))
    splitter = (GroupKFold if asked.kind == "regression" else StratifiedGroupKFold)(DESIGN.inner_folds)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    grid = {"logisticregression__C": heads.LOGISTIC_STRENGTHS}
    for number in range(DESIGN.folds):
        learn = fold != number
        search = GridSearchCV(model, grid, scoring="neg_log_loss", cv=splitter)
        search.fit(rows.features[learn], rows.answer[learn], groups=rows.patient[learn])
        score[~learn] = search.predict_proba(rows.features[~learn])[:, 1]
    return score


def main() -> None:
    """Measure, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--to", type=Path, default=Path("benchmarks/results/nested.json"))
    given = parser.parse_args()
    asked = [question(n, name, power) for n in range(QUESTIONS) for name, power in (("strong", 0.3), ("weak", 0.1))]
    start, used = time.perf_counter(), cpu_seconds()
    found = nested.evaluate(asked, [Pipeline()], design=DESIGN, workers=given.workers)
    folds_seconds = time.perf_counter() - start
    truth = {one.task: (one.kind, nested.cases_of(one.rows)) for one in asked}
    board = nested_board.board(found, truth, [Pipeline()], draws=1000, seed=0)
    leaders = nested_board.leaderboard(board, [("strong", "base"), ("weak", "base")])
    apart = nested_board.separated(board, [("strong", "base"), ("weak", "base")], seed=0)
    whole_seconds, used = time.perf_counter() - start, cpu_seconds() - used
    compared = [one for one in asked if one.kind == "binary"][:COMPARED]
    start = time.process_time()
    ours = [nested.run_job(nested.Job(one, Pipeline(), DESIGN, None)).score[0] for one in compared]
    ours_seconds = time.process_time() - start
    start = time.process_time()
    theirs = [plain(one) for one in compared]
    theirs_seconds = time.process_time() - start
    gaps = [
        abs(nested_figures.whole("binary", _with(one, a)) - nested_figures.whole("binary", _with(one, b)))
        for one, a, b in zip(compared, ours, theirs, strict=True)
    ]
    result = {
        "about": "44 questions, 2 encoders of 288 features, 60 to 120 patients, 5 outer and 4 inner folds, 6 strengths",
        "workers": given.workers,
        "wall_seconds_folds": round(folds_seconds, 1),
        "wall_seconds_with_intervals_and_ranks": round(whole_seconds, 1),
        "cpu_seconds_with_intervals_and_ranks": round(used, 1),
        "mean_rank": {leader.name[0]: str(leader.rank) for leader in leaders},
        "critical_difference": None if apart is None else round(apart.difference, 3),
        "against_scikit_learn": {
            "questions": COMPARED,
            "cpu_seconds": round(ours_seconds, 2),
            "cpu_seconds_scikit_learn": round(theirs_seconds, 2),
            "largest_auroc_difference": round(max(gaps), 4),
        },
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores shared with other work",
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": runs.versions(),
    }
    given.to.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _with(asked: nested.Rows, score: np.ndarray) -> object:
    from dataclasses import replace

    return replace(nested.cases_of(asked.rows), score=score)


if __name__ == "__main__":
    main()
