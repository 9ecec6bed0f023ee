"""Label planning judged on real learning curves: the AUC curves of the Learning Curve Database (package lcdb, MIT).

Give the path of its `database-auc.csv`: python benchmarks/label_budget.py DATABASE.csv. Each curve is seen up to 300
training cases (ten draws); the truth is the mean over all draws at a larger size. Without the file it says so and
leaves the committed result as it is.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from radfoundry.stats.curve_points import score_points
from radfoundry.stats.label_budget import HORIZON, CurveForecast, forecast, plan_labels

LEARNERS = (
    "SVC_linear",
    "SVC_rbf",
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.linear_model.LogisticRegression",
)
SEEN, DRAWS = 300, 10


def curves(path: Path) -> list[dict[str, np.ndarray]]:
    """Every curve with at least six sizes up to 300, ten complete draws, and a size of at least 2,000 (5 draws)."""
    import pandas as pd

    rows = pd.read_csv(path)
    found = []
    for (data_set, _), part in rows[rows.learner.isin(LEARNERS)].groupby(["openmlid", "learner"]):
        table = part.pivot_table(index=["outer_seed", "inner_seed"], columns="size_train", values="score_test")
        count = table.notna().sum()
        small = [size for size in table.columns if size <= SEEN and count[size] >= DRAWS]
        large = [size for size in table.columns if size >= 2000 and count[size] >= 5]
        complete = table[small].dropna()
        if len(small) >= 6 and large and len(complete) >= DRAWS:
            truth = np.array([table[size].mean() for size in large])
            found.append(
                {
                    "half": data_set % 2,
                    "size": np.array(small, dtype=float),
                    "scores": complete.to_numpy()[:DRAWS],
                    "large": np.array(large, dtype=float),
                    "truth": truth,
                }
            )
    return found


def seen(curve: dict[str, np.ndarray], seed: int) -> CurveForecast:
    """The forecast from what was seen."""
    size, scores = curve["size"], curve["scores"]
    draw = np.repeat(np.arange(len(scores)), len(size))
    return forecast(score_points(np.tile(size, len(scores)), scores.ravel(), draw=draw), draws=200, rng=seed)


def judge(curve: dict[str, np.ndarray], seed: int) -> dict[str, float]:
    """Errors and coverage at the largest size within the horizon, and the plan for a target halfway there."""
    model = seen(curve, seed)
    last, reach = float(curve["scores"][:, -1].mean()), curve["size"][-1] * HORIZON
    place = int(np.flatnonzero(curve["large"] <= reach)[-1]) if (curve["large"] <= reach).any() else 0
    truth, size = float(curve["truth"][place]), float(curve["large"][place])
    guess, narrow = model.at(size)[0], model.at(size, level=0.8)[0]
    far = model.at(curve["large"][-1])[0]
    found = {
        "half": float(curve["half"]),
        "size": size,
        "fit": abs(guess.value - truth),
        "last": abs(last - truth),
        "inside95": float(guess.low <= truth <= guess.high),
        "inside80": float(narrow.low <= truth <= narrow.high),
        "width95": guess.high - guess.low,
        "fit_far": abs(far.value - float(curve["truth"][-1])),
        "last_far": abs(last - float(curve["truth"][-1])),
    }
    for family, fit in zip(model.families, model.fits, strict=True):
        found[f"mae {family}"] = abs(float(fit.predict([size])[0, 0]) - truth)
    target = (last + truth) / 2
    if truth - last > 0.02 and 0.5 < target < 1:
        plan = plan_labels(model, target)
        found["reachable_chance"] = plan.reachable.value
    return found


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over curves."""
    names = [name for name in rows[0] if name not in {"half", "reachable_chance"}]
    result = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in names}
    chances = [row["reachable_chance"] for row in rows if "reachable_chance" in row]
    wins = float(np.mean([row["fit"] < row["last"] for row in rows]))
    return {
        "curves": len(rows),
        **result,
        "share_of_curves_better_than_last": round(wins, 3),
        "true_gain_called_reachable": round(float(np.mean(np.array(chances) >= 0.5)), 3),
        "curves_with_true_gain": len(chances),
    }


def main() -> None:
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        print("skipped: give the path of lcdb's database-auc.csv (package lcdb)")
        return
    started = time.perf_counter()
    rows = [judge(curve, seed) for seed, curve in enumerate(curves(Path(sys.argv[1])))]
    result = {
        "all": summary(rows),
        "even data sets (family error chosen here)": summary([row for row in rows if row["half"] == 0]),
        "odd data sets (only judged)": summary([row for row in rows if row["half"] == 1]),
        "seconds": round(time.perf_counter() - started, 1),
        "lcdb": "0.1.0",
    }
    written = Path(__file__).parent / "results" / "label_budget.json"
    written.parent.mkdir(exist_ok=True)
    written.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
