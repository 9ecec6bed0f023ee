"""ComBat on real quality measures of 13 hospitals (RADFOUNDRY_DATA), and what every image method costs.

Real: 68 measures of 942 T1-weighted head scans of ABIDE (mriqc_iqm) with verdicts of raters. Can the hospital be told
from the measures, before and after ComBat, and is the verdict of a hospital that was left out foreseen better?
A hospital that was left out is learned by ComBat from half of its scans without their verdicts.
"""

import csv
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from radfoundry.data import harmonize
from radfoundry.tasks import sites
from radfoundry.tasks.harmonized import CombatFeatures
from radfoundry.volume import Volume

FEWEST = 20
METHODS = {"zscore": {}, "nyul": {}, "histogram": {}, "stripe": {}, "n4": {}, "spectrum": {}, "restorer": {"steps": 20}}
RESULT = Path(__file__).parent / "results" / "harmonize.json"


class Untouched:
    """The measures as they are."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def __call__(self, part: sites.Part) -> np.ndarray:
        return self.table


def measures(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Measures `(n, p)` on a scale without tails, hospitals, subjects, and each rater's verdict (NaN where none)."""
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    names = list(rows[0])[6:]
    raw = np.array([[float(row[name] or "nan") for name in names] for row in rows])
    kept = np.isfinite(raw).all(axis=0) & (raw.std(axis=0) > 0)
    order = raw[:, kept].argsort(axis=0).argsort(axis=0)
    table = (order - order.mean(axis=0)) / order.std(axis=0)
    verdicts = {
        name: np.array([float(row[name] or "nan") for row in rows]) for name in ("rater_1", "rater_2", "rater_3")
    }
    return table, np.array([row["site"] for row in rows]), np.array([row["subject_id"] for row in rows]), verdicts


def real(path: Path) -> dict[str, object]:
    """Hospital told apart, and verdicts of hospitals left out, before and after ComBat."""
    table, site, subject, verdicts = measures(path)
    rows = sites.Rows(site, subject)
    ways = {"none": Untouched(table), "combat": CombatFeatures(Untouched(table), site, np.zeros((len(site), 0)))}
    guesses = {name: sites.site_predictions(rows, features) for name, features in ways.items()}
    found = {f"{name}/site-accuracy": sites.site_accuracy(guess) for name, guess in guesses.items()}
    found["combat-minus-none/site-accuracy"] = sites.site_accuracy_difference(guesses["combat"], guesses["none"])
    for rater, given in verdicts.items():
        asked = np.isfinite(given)
        asked &= np.isin(site, [name for name in np.unique(site) if (asked & (site == name)).sum() >= FEWEST])
        bad = (given[asked] < 0).astype(int)
        members = sites.Rows(site[asked], subject[asked], bad)
        plain = Untouched(table[asked])
        combat = CombatFeatures(plain, site[asked], np.zeros((int(asked.sum()), 0)))
        before, after = (sites.left_out_predictions(members, features) for features in (plain, combat))
        for name, one in (("none", before), ("combat", after)):
            found[f"{name}/auroc-{rater}-poor"] = sites.left_out_measures(one)["auroc"]
        found[f"combat-minus-none/auroc-{rater}-poor"] = sites.left_out_differences(after, before)["auroc"]
    return {
        "scans": len(site),
        "hospitals": len(np.unique(site)),
        "measures": table.shape[1],
        "found": {name: value.to_dict() for name, value in found.items()},
    }


def head(seed: int, shape: tuple[int, int, int]) -> Volume:
    """A noisy ellipsoid, as large as a head scan."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij")
    inside = (axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2 < 0.8).astype(np.float32)
    value = np.abs(inside * (400 + 100 * np.sin(6 * axes[0])) + rng.normal(0, 15, shape)).astype(np.int16)
    return Volume.of(value, np.diag([0.9, 0.9, 1.2, 1.0]))


def speed(shape: tuple[int, int, int] = (256, 256, 128)) -> dict[str, object]:
    """Processor seconds to apply each method to one image, one thread, and the largest memory so far."""
    small = [head(seed, (64, 64, 32)) for seed in range(3)]
    image, found = head(9, shape), {}
    for name, options in METHODS.items():
        chain = harmonize.fit([(name, options)], small)
        started = time.process_time()
        chain.apply(image)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found[name] = {"seconds": round(time.process_time() - started, 2), "peak_mb_so_far": round(peak)}
        print(name, found[name], flush=True)
    return {"shape": list(shape), "apply": found}


def main() -> None:
    """Print and keep what was measured."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    wanted = sys.argv[1:] or ["real", "speed"]
    if "real" in wanted and os.environ.get("RADFOUNDRY_DATA"):
        result["abide"] = real(Path(os.environ["RADFOUNDRY_DATA"]) / "mriqc_iqm" / "abide_iqm.csv")
        for name, value in result["abide"]["found"].items():
            print(f"{name}: {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})")
    if "speed" in wanted:
        result["speed"] = speed()
    result["machine"] = f"{platform.system()} {platform.machine()}, one thread"
    RESULT.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
