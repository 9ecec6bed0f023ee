"""A run folder as a benchmark of two encoders would leave it, made from a seed: the page the tests look at."""

from pathlib import Path

import numpy as np
from PIL import Image

from radfoundry import runs
from radfoundry.records import Estimate


def estimate(value, width, n=61, method="DeLong", **more):
    return Estimate(value, max(value - width, 0.0), min(value + 0.8 * width, 1.0), method=method, n=n, **more)


def roc_curve(name, scores, truth, area):
    cuts = np.r_[np.inf, np.sort(np.unique(scores))[::-1]]
    sensitivity = np.array([(scores[truth == 1] >= cut).mean() for cut in cuts])
    healthy = np.array([(scores[truth == 0] >= cut).mean() for cut in cuts])
    half = 1.96 * np.sqrt(sensitivity * (1 - sensitivity) / (truth == 1).sum() + 0.0008)
    band = {"low": np.clip(sensitivity - half, 0, 1), "high": np.clip(sensitivity + half, 0, 1)}
    return {"name": name, "false_positive_rate": healthy, "sensitivity": sensitivity, **band, "estimate": area}


def calibration_curve(name, shift, rng):
    n = rng.integers(6, 25, 6)
    predicted = np.linspace(0.08, 0.92, 6)
    observed = np.clip(predicted + shift + rng.normal(0, 0.05, 6), 0, 1)
    half = 1.96 * np.sqrt(np.clip(observed * (1 - observed), 0.02, None) / n)
    band = {"low": np.clip(observed - half, 0, 1), "high": np.clip(observed + half, 0, 1)}
    return {"name": name, "predicted": predicted, "observed": observed, **band, "n": n}


def thumbnail(path, rng):
    """A head-like ellipse with a brighter spot, 96 × 96."""
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    head = (x / 0.7) ** 2 + (y / 0.85) ** 2
    spot = (x - rng.uniform(-0.4, 0.4)) ** 2 + (y - rng.uniform(-0.5, 0.5)) ** 2 < 0.02
    grey = (head < 1) * (110 + 50 * np.cos(6 * head + rng.uniform(0, 3))) + 70 * spot * (head < 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(grey + rng.normal(0, 5, grey.shape), 0, 255).astype(np.uint8)).save(path)


def demonstration_blocks(folder, rng):
    truth = (np.arange(61) % 3 == 0).astype(int)
    ours, theirs = truth * 1.6 + rng.normal(0, 1, 61), truth * 0.6 + rng.normal(0, 1, 61)
    best, simple = estimate(0.832, 0.12), estimate(0.641, 0.14)
    gain = Estimate(0.19, 0.06, 0.33, method="paired DeLong", n=61, p_value=0.0042)
    images = []
    for index, sequence in enumerate(["T1w", "T2w", "FLAIR", "PD", "T1w", "T2w", "FLAIR", "PD", "T1w", "T2w"]):
        thumbnail(folder / "thumbnails" / f"{index}.png", rng)
        images.append({"png": f"thumbnails/{index}.png", "caption": f"{sequence}, site {'ABC'[index % 3]}"})
    sites, sequences = np.array(list("ABC"))[rng.integers(0, 3, 120)], rng.choice(["T1w", "T2w", "FLAIR", "PD"], 120)
    x = rng.normal(0, 1, 120) + 2.0 * (sequences == "T2w") - 2.0 * (sequences == "FLAIR")
    volume = rng.uniform(1500, 4200, 40)
    subgroups = [("site A", 0.86, 24), ("site B", 0.81, 22), ("site C", None, 15), ("women", 0.84, 33)]
    by_patient = "bootstrap, by patient"
    rows = [
        {
            "label": label,
            "estimate": Estimate.undefined("no case with a lesion", n=n) if value is None else estimate(value, 0.15, n),
        }
        for label, value, n in subgroups
    ]
    return [
        {
            "kind": "text",
            "title": "Summary",
            "paragraphs": [
                "Is a lesion present? Frozen features of the token encoder found patients with a lesion better than "
                f"intensity features did: AUROC {best} against {simple} in 61 patients it had not seen.",
                "The patients are simulated: the figures show that the method works as described, not how it does in "
                "a clinic.",
            ],
        },
        {
            "kind": "claims",
            "title": "Claims and controls",
            "rows": [
                {"claim": "token encoder beats intensity (AUROC, paired)", "control": False, "met": True,
                 "found": gain, "needed": "lower limit above 0"},
                {"claim": "with labels permuted, AUROC is that of guessing", "control": True, "met": True,
                 "found": estimate(0.47, 0.14), "needed": "interval contains 0.5"},
                {"claim": "reaches an AUROC of 0.9", "control": False, "met": False,
                 "found": best, "needed": "lower limit above 0.9"},
            ],
        },
        {
            "kind": "facts",
            "title": "Patients",
            "items": [["Patients", 61], ["Images", "244 (T1w, T2w, FLAIR, PD)"], ["Sites", 3],
                      ["Age", "54 years (31 to 83)"], ["Women", "33 of 61"],
                      ["With a lesion", estimate(0.344, 0.13, method="Wilson")]],
        },
        {"kind": "thumbnails", "title": "A look at the images", "images": images,
         "note": "Middle slices of ten series, drawn at random. Seen from the feet, the patient's right on the left."},
        {
            "kind": "table",
            "title": "Results",
            "note": "Same folds and the same logistic head for every encoder. The trivial baseline always answers no.",
            "columns": [{"key": "encoder", "label": "Encoder"}, {"key": "features", "label": "Features"},
                        {"key": "auroc", "label": "AUROC"},
                        {"key": "sensitivity", "label": "Sensitivity at 90 % specificity"},
                        {"key": "brier", "label": "Brier score"}],
            "rows": [
                {"encoder": "token encoder", "features": 192, "auroc": best,
                 "sensitivity": estimate(0.57, 0.2, 21, by_patient),
                 "brier": estimate(0.16, 0.04, method=by_patient)},
                {"encoder": "intensity", "features": 74, "auroc": simple,
                 "sensitivity": estimate(0.29, 0.18, 21, by_patient),
                 "brier": estimate(0.21, 0.04, method=by_patient)},
                {"encoder": "trivial", "features": None, "auroc": Estimate.undefined("one score for everybody", n=61),
                 "sensitivity": "0 of 21", "brier": estimate(0.344, 0.12, method=by_patient)},
            ],
        },
        {"kind": "roc", "title": "Telling patients with and without a lesion apart",
         "curves": [roc_curve("token encoder", ours, truth, best), roc_curve("intensity", theirs, truth, simple)],
         "note": "Out-of-fold scores; bands are pointwise 95 % intervals."},
        {"kind": "calibration", "title": "Can the probabilities be taken at their word?",
         "curves": [calibration_curve("token encoder", 0.02, rng), calibration_curve("intensity", -0.12, rng)],
         "note": "Six bins of equal width."},
        {"kind": "forest", "title": "AUROC by subgroup", "rows": rows, "reference": 0.5, "axis": "AUROC",
         "note": "Token encoder."},
        {"kind": "agreement", "title": "Hippocampal volume", "x": volume, "y": volume + rng.normal(0, 260, 40),
         "x_label": "True volume (mm³)", "y_label": "Predicted volume (mm³)",
         "note": "Ridge head on the same features."},
        {"kind": "map", "title": "What the features group by", "x": x, "y": rng.normal(0, 1, 120) + (sites == "A"),
         "colours": {"site": sites, "sequence": sequences, "lesion": rng.choice(["yes", "no", None], 120)},
         "note": "First two principal components of the pooled features."},
    ]  # fmt: skip


def make_run(parent: Path, *, seed: int = 7) -> Path:
    """Write the run folder PARENT/benchmark-demo; its record is fixed, so that its page is too."""
    folder = parent / "benchmark-demo"
    blocks = demonstration_blocks(folder, np.random.default_rng(seed))
    runs.write_json(folder / "blocks.json", blocks)
    record = {
        "format": 1,
        "stage": "benchmark",
        "config": {"cohort": "cohorts/brain", "task": {"name": "lesion-present"}, "against": ["intensity"], "folds": 5},
        "seed": seed,
        "metrics": {
            "token encoder/auroc": estimate(0.832, 0.12),
            "intensity/auroc": estimate(0.641, 0.14),
            "token encoder/mcc": estimate(0.513, 0.2, method="bootstrap, by patient"),
        },
        "inputs": {"cohort": "5f0c9a41e2b7d386", "features": "91d2c07b44ae5f10"},
        "outputs": {"blocks.json": runs.digest_file(folder / "blocks.json"), "predictions.parquet": "0d41cc1277aa98fe"},
        "unstable": [],
        "versions": {"python": "3.11.2", "radfoundry": "0.1.0", "numpy": "2.4.6", "torch": "2.9.1"},
        "notes": ["2 of 63 patients had no FLAIR and were left out"],
        "started": 1_790_000_000,
        "seconds": 41.7,
    }
    runs.write_json(folder / "run.json", record)
    return folder
