"""A prior that is an ingested mask: the gland is where it was drawn, and a wrong place or none is worse."""

import csv

import numpy as np
import pytest
from adapt_samples import SHAPE, nifti

from radfoundry import config as settings
from radfoundry.cli.main import exit_code
from radfoundry.data import cohort as cohorts
from radfoundry.data import masks
from radfoundry.stages import adapt

PATIENTS = 24


@pytest.fixture(scope="module")
def glands(tmp_path_factory):
    """A gland on one side or the other; the bright spot of the ill lies in it, that of the others across."""
    folder = tmp_path_factory.mktemp("glands")
    rng, rows = np.random.default_rng(0), []
    axes = np.indices(SHAPE)
    for number in range(PATIENTS):
        centre = [SHAPE[0] / 2 + (3.5 if number % 4 < 2 else -3.5), SHAPE[1] / 2, SHAPE[2] / 2]
        away = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)))
        image = 100 + 8 * rng.normal(size=SHAPE)
        ill = number % 2
        spots = [centre if ill else [SHAPE[0] - centre[0], *centre[1:]]]
        for spot in spots:
            image += 150 * (np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, spot, strict=True))) < 1.8)
        nifti(folder / "scans" / f"p{number:02d}_T2w.nii.gz", image)
        if number:
            nifti(folder / "scans" / f"p{number:02d}_gland.nii.gz", (away < 3.5).astype(float))
        rows.append({"patient": f"p{number:02d}", "cancer": ill})
    with (folder / "labels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    key = ["--key-file", str(folder / "key")]
    words = ["ingest", str(folder / "scans"), "--to", str(folder / "cohort"), *key, "modality=MR"]
    words += ["pattern=(?P<patient>p\\d+)_(?P<sequence>T2w)?", 'masks=["*_gland*"]']
    assert exit_code(words) == 0
    assert exit_code(["label", str(folder / "cohort"), str(folder / "labels.csv"), "--on", "patient", *key]) == 0
    return folder


@pytest.mark.slow
def test_an_ingested_mask_tells_where_to_look(glands, tmp_path):
    cohort = cohorts.open_cohort(str(glands / "cohort"))
    assert sum(masks.is_mask(series) for series in cohort.series) == PATIENTS - 1
    given = {
        "cohort": str(glands / "cohort"),
        "task": {"name": "classify", "target": "cancer"},
        "encoder": {"name": "intensity", "spacing_mm": 8.0},
        "head": {"name": "logistic", "strengths": [0.1], "inner_folds": 2},
        "folds": 3,
        "prior": {"name": "mask", "how": "image", "wrong_mm": [0, 48, 0]},
        "to": str(tmp_path / "run"),
    }
    found = adapt.run(settings.check(adapt.Config, given))
    assert found.metrics["auroc"].n == PATIENTS - 1  # the patient without a mask is left out
    assert found.metrics["auroc"].value > 0.95
    assert found.metrics["prior-minus-whole/auroc"].low > 0
    assert found.metrics["prior-minus-wrong/auroc"].low > 0
    assert (tmp_path / "run" / "predictor" / "predictor.json").is_file()
