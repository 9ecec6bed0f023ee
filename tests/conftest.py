"""What many tests share: a small simulated cohort, made once a session from DICOM by the same commands a user gives."""

import csv

import numpy as np
import pytest


@pytest.fixture(scope="session")
def simulated_cohort(tmp_path_factory):
    """A folder with `scans/` (simulated DICOM), `cohort/` (labelled), `labels.csv`, `predictions.csv` and `key`."""
    from radfoundry.cli.main import exit_code

    folder = tmp_path_factory.mktemp("simulated")
    simulate = ["simulate", "--cohort", "brain-multisequence", "--cases", "12", "--seed", "3"]
    assert exit_code([*simulate, "--to", str(folder / "simulation")]) == 0
    (folder / "simulation" / "dicom").rename(folder / "scans")
    (folder / "simulation" / "labels.csv").rename(folder / "labels.csv")
    key = ["--key-file", str(folder / "key")]
    assert exit_code(["ingest", str(folder / "scans"), "--to", str(folder / "cohort"), *key]) == 0
    assert exit_code(["label", str(folder / "cohort"), str(folder / "labels.csv"), "--on", "patient", *key]) == 0
    rng = np.random.default_rng(0)
    with (folder / "predictions.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["case", "patient", "site", "target", "score", "other"])
        for index in range(120):
            target = int(rng.random() < 0.4)
            score, other = (round(float(1 / (1 + np.exp(-(target * gain - 1 + rng.normal())))), 4) for gain in (2, 1))
            writer.writerow([f"c{index}", f"p{index // 2}", f"site-{index % 3}", target, score, other])
    return folder
