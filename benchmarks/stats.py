"""Bootstrap of AUROC and whole metric tables: radfoundry against the usual loops, one thread, both sides in one run.

Run `.venv/bin/python benchmarks/stats.py`. The rivals are installed into an environment of their own under
`.benchmarks/` (without dependencies, which they find in the project's environment). Results go to
`benchmarks/results/stats.json`. Exit 1 when limits differ, a loop is beaten by less than 30 times, or a table is slow.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".benchmarks" / "auc"
RESULTS = Path(__file__).parent / "results" / "stats.json"
RIVALS = ("MLstatkit==0.1.91", "confidenceinterval==1.0.5", "tqdm")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
CASES, DRAWS, TABLE_DRAWS = 1000, 1000, 2000
LEAST_SPEED_UP, TABLE_LIMIT_S = 30.0, 0.3
OUR_REPEATS, THEIR_REPEATS = 15, 3


def environment() -> Path:
    """The Python of the environment that holds the rivals, made on the first run."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        site = next((ENVIRONMENT / "lib").glob("python3.*/site-packages"))
        project = next((Path(sys.prefix) / "lib").glob("python3.*/site-packages"))
        (site / "project.pth").write_text(f"{project}\n{ROOT / 'src'}\n")
    probe = subprocess.run([str(python), "-c", "import MLstatkit, confidenceinterval"], capture_output=True)
    if probe.returncode:
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", *RIVALS], check=True)
    return python


def milliseconds(function: Callable[[], object], repeats: int) -> tuple[object, float]:
    """The last result and the median processor time, which other programs disturb less than wall time."""
    times, result = [], None
    for _ in range(repeats):
        start = time.process_time()
        with contextlib.redirect_stderr(io.StringIO()):
            result = function()
        times.append(1000 * (time.process_time() - start))
    return result, statistics.median(times)


def areas() -> list[dict[str, object]]:
    """1,000 draws of AUROC at 1,000 cases, and DeLong's interval and paired test."""
    import confidenceinterval
    import MLstatkit
    from sklearn.metrics import roc_auc_score

    from radfoundry.records import Predictions
    from radfoundry.stats.auc import auroc, auroc_difference
    from radfoundry.stats.bootstrap import bootstrap, draw_weights
    from radfoundry.stats.weighted import weighted_auroc

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, CASES)
    score, other = (truth * shift + rng.normal(size=CASES) for shift in (1.1, 0.9))
    data, second = Predictions.of(truth, score), Predictions.of(truth, other)
    rows = np.arange(CASES)

    def loop() -> tuple[float, float]:
        drawn = []
        for weight in draw_weights(data.patient, draws=DRAWS, rng=0).astype(int):
            sample = np.repeat(rows, weight)
            drawn.append(roc_auc_score(truth[sample], score[sample]))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return float(low), float(high)

    def limits(estimate: object) -> tuple[float, float]:
        return estimate.low, estimate.high

    def theirs_boot() -> tuple[float, float]:
        return tuple(map(float, MLstatkit.Bootstrapping(truth, score, "roc_auc", n_bootstraps=DRAWS)[1:]))

    def interval(method: str) -> tuple[float, float]:
        options = {} if method == "delong" else {"n_resamples": DRAWS}
        return tuple(map(float, confidenceinterval.roc_auc_score(truth, score, method=method, **options)[1]))

    def ours_boot(method: str) -> tuple[float, float]:
        return limits(bootstrap(weighted_auroc, data, draws=DRAWS, rng=0, method=method))

    pairs = [
        ("AUROC, 1,000 draws", "scikit-learn loop", lambda: ours_boot("percentile"), loop, 1e-12),
        ("AUROC, 1,000 draws", "MLstatkit", lambda: ours_boot("percentile"), theirs_boot, 0.005),
        (
            "AUROC, 1,000 draws, BCa",
            "confidenceinterval",
            lambda: ours_boot("bca"),
            lambda: interval("bootstrap_bca"),
            0.005,
        ),
        (
            "AUROC, DeLong",
            "confidenceinterval",
            lambda: limits(auroc(data, method="delong")),
            lambda: interval("delong"),
            1e-6,
        ),
        (
            "AUROC difference, paired DeLong p",
            "MLstatkit",
            lambda: auroc_difference(data, second).p_value,
            lambda: float(MLstatkit.Delong_test(truth, score, other)[1]),
            1e-6,
        ),
    ]
    found = []
    for name, rival, ours, theirs, within in pairs:
        here, fast = milliseconds(ours, OUR_REPEATS)
        there, slow = milliseconds(theirs, THEIR_REPEATS)
        found.append(
            {
                "what": name,
                "rival": rival,
                "radfoundry": here,
                "theirs": there,
                "equal_within": within,
                "equal": bool(np.allclose(here, there, atol=within, rtol=0)),
                "radfoundry_ms": round(fast, 2),
                "rival_ms": round(slow, 2),
                "speed_up": round(slow / fast, 1),
            }
        )
    return found


def tables() -> list[dict[str, object]]:
    """Every kind of metric table with 2,000 draws of patients at 1,000 rows of 334 patients."""
    from radfoundry.stats.tables import metric_table

    rng = np.random.default_rng(1)
    truth, grade = rng.integers(0, 2, CASES), rng.integers(0, 4, CASES)
    age = rng.uniform(20, 90, CASES)
    file = {
        "patient": (np.arange(CASES) // 3).astype(str),
        "truth": truth,
        "score": 1 / (1 + np.exp(-(1.5 * truth - 0.75 + rng.normal(size=CASES)))),
        "grade": grade,
        "age": age,
        "guess": age + rng.normal(0, 6, CASES),
        **{f"p{k}": rng.random(CASES) + (grade == k) for k in range(4)},
    }
    kinds = {
        "binary": ("truth", "score"),
        "classes": ("grade", ["p0", "p1", "p2", "p3"]),
        "regression": ("age", "guess"),
    }
    found = []
    for kind, (target, score) in kinds.items():
        table, spent = milliseconds(
            lambda t=target, s=score: metric_table(file, target=t, score=s, patient="patient"), 7
        )
        found.append({"table": kind, "lines": len(table.rows), "draws": TABLE_DRAWS, "radfoundry_ms": round(spent, 1)})
    return found


def measure() -> dict[str, object]:
    """Everything, inside the rivals' environment."""
    warnings.simplefilter("ignore")
    import confidenceinterval  # noqa: F401
    import scipy
    import sklearn

    versions = {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__}
    return {
        "cases": CASES,
        "threads": 1,
        "statistic": "median processor time",
        "processor": platform.processor() or platform.machine(),
        "versions": {"python": platform.python_version(), **versions, "rivals": list(RIVALS[:2])},
        "areas": areas(),
        "tables": tables(),
    }


def main() -> int:
    """Measure in the rivals' environment, print, write, and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().inside:
        print(json.dumps(measure()))
        return 0
    done = subprocess.run(
        [str(environment()), __file__, "--inside"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | ONE_THREAD,
    )
    result = json.loads(done.stdout.strip().splitlines()[-1])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    good = True
    for row in result["areas"]:
        fast_enough = row["speed_up"] >= LEAST_SPEED_UP or "draws" not in row["what"]
        good &= row["equal"] and fast_enough
        print(f"{row['what']:<36} {row['radfoundry_ms']:>9.2f} ms  {row['rival']:<20} {row['rival_ms']:>9.1f} ms  "
              f"{row['speed_up']:>7.1f} x  {'equal' if row['equal'] else 'DIFFERENT'}")  # fmt: skip
    for row in result["tables"]:
        good &= row["radfoundry_ms"] < 1000 * TABLE_LIMIT_S
        print(f"{row['table']:<12} table, {row['lines']} lines, {row['draws']} draws {row['radfoundry_ms']:>8.1f} ms")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
