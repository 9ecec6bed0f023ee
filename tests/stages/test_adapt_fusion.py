"""The verb adapt with fused images, end to end: numbers beside, contributions, missing series, and what is refused."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from adapt_samples import blob, nifti

from radfoundry import config as settings
from radfoundry.cli.main import exit_code
from radfoundry.records import InputError
from radfoundry.stages import adapt, predict
from radfoundry.web import blocks as web

PATIENTS = 12
QUICK = {"name": "logistic", "strengths": [0.1], "inner_folds": 2}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Patients with a FLAIR and a T1w, some without the one; both balls together decide the answer."""
    folder = tmp_path_factory.mktemp("pairs")
    rng, rows = np.random.default_rng(0), []
    for number in range(PATIENTS):
        sizes = rng.uniform(2, 5, 2)
        for name, size in zip(("FLAIR", "T1w"), sizes, strict=True):
            if name == "FLAIR" or number % 6:
                nifti(folder / "scans" / f"sub-{number:02d}_{name}.nii.gz", blob(rng, size))
        age = 50 + 10 * float(sizes.sum() - 7) + rng.normal()
        answer = "yes" if sizes.sum() > 7 else "no"
        rows.append({"file": f"sub-{number:02d}_FLAIR", "large": answer, "marker": round(age, 2)})
    with (folder / "labels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    key = ["--key-file", str(folder / "key")]
    assert exit_code(["ingest", str(folder / "scans"), "--to", str(folder / "cohort"), *key, "modality=MR"]) == 0
    assert exit_code(["label", str(folder / "cohort"), str(folder / "labels.csv"), "--on", "series", *key]) == 0
    return folder


def run(folder, to, **values):
    given = {"cohort": str(folder / "cohort"), "encoder": "intensity", "folds": 2, "head": QUICK}
    given |= {"task": {"name": "classify", "target": "large"}, **values, "to": str(to)}
    return adapt.run(settings.check(adapt.Config, given))


def test_fused_answers_from_files_to_the_report_and_back(pairs, tmp_path):
    asked = {"name": "late", "beside": ["early"]}
    found = run(pairs, tmp_path / "run", fuse=asked, covariates=["marker"], called="pair")
    for name in ("single", "FLAIR", "T1w", "images", "covariates", "early"):
        assert found.metrics[f"fused-minus-{name}/auroc-pair"].defined, name
    assert found.metrics["without-T1w-minus-fused/auroc-pair"].defined
    assert found.metrics["fused-minus-early/auroc-without-FLAIR-pair"].defined
    assert "2 of 12 exams that taught have no T1w" in found.notes
    table = pd.read_csv(tmp_path / "run" / "contributions.csv")
    added = table[["FLAIR", "T1w", "covariates"]].sum(axis=1)
    assert np.allclose(added, table["answer"] - table["nothing"], atol=1e-4)
    assert (table["T1w"][table["missing"].fillna("").str.contains("T1w")] == 0).all()
    shown = json.loads((tmp_path / "run" / "blocks.json").read_text())
    titles = [block.get("title") for block in shown]
    assert "What each image adds" in titles and "Fused, and what stands beside it" in titles
    web.views(shown, folder=tmp_path / "run")

    scans = [str(pairs / "scans" / f"sub-0{number}_FLAIR.nii.gz") for number in (0, 1)]
    scans.append(str(pairs / "scans" / "sub-01_T1w.nii.gz"))
    asked = predict.Config(predictor=str(tmp_path / "run"), scans=tuple(scans), modality="MR", to=str(tmp_path / "new"))
    predict.run(asked)
    answers = pd.read_csv(tmp_path / "new" / "predictions.csv").sort_values("images")
    assert answers["missing"].tolist() == ["T1w, covariates", "covariates"]
    assert answers["images"].tolist() == [1, 2] and answers["answer"].between(0, 1).all()


@pytest.mark.slow
def test_a_prior_beside_whole_images_and_a_wrong_one(pairs, tmp_path):
    prior = {"name": "ball", "radius_mm": 45, "how": "image", "wrong_mm": [55, 55, 0]}
    found = run(pairs, tmp_path / "run", prior=prior, train_on={"sequence": "FLAIR"})
    for name in ("prior-minus-whole/auroc", "prior-minus-wrong/auroc", "whole/auroc", "wrong/auroc"):
        assert found.metrics[name].defined
    scans = [str(pairs / "scans" / f"sub-0{number}_FLAIR.nii.gz") for number in (0, 1)]
    made = predict.Config(predictor=str(tmp_path / "run"), scans=tuple(scans), modality="MR", to=str(tmp_path / "new"))
    predict.run(made)
    answers = pd.read_csv(tmp_path / "new" / "predictions.csv")
    assert len(answers) == 2 and answers["answer"].nunique() == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fuse": "erly"}, "did you mean 'early'"),
        ({"fuse": {"name": "early", "by": "plain"}}, "did you mean 'plane'"),
        ({"fuse": {"name": "early", "by": "view"}}, "no series states its view"),
        ({"fuse": {"name": "early", "drop": 0.5}}, "unknown option 'drop'"),
        ({"fuse": {"name": "experts", "drop": 1.0}}, "drop from 0 to below 1"),
        ({"fuse": {"name": "late", "beside": ["best"]}}, "unknown fusion 'best'"),
        ({"prior": "bal"}, "did you mean 'ball'"),
        ({"prior": {"name": "ball", "radius_mm": 40, "ladder": 1}}, "unknown option 'ladder'"),
        ({"prior": "mask"}, "nothing lies inside the prior: its exam has no mask"),
        ({"prior": {"name": "ball", "radius_mm": 40}, "ladder": True}, "a prior is a region of frozen features"),
        ({"fuse": "early", "ladder": True}, "reads frozen features"),
        ({"covariates": ["marker"]}, "covariates stand beside images"),
        ({"fuse": "early", "covariates": ["markr"]}, "did you mean 'marker'"),
        ({"fuse": "early", "covariates": ["large"]}, "it is the answer itself"),
        ({"fuse": {"name": "average", "by": "sequence"}, "covariates": ["marker"]}, "cannot be averaged"),
    ],
)
def test_what_cannot_be_fused_is_one_line_and_leaves_nothing(pairs, tmp_path, values, said):
    with pytest.raises(InputError, match=said) as error:
        run(pairs, tmp_path / "out", **values)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
