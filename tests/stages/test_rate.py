"""`radfoundry rate`: scores in, a rater with its doubt out, and `curate quality` that asks it."""

import csv
import shutil

import numpy as np
import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.data.cohort import open_cohort
from radfoundry.nets import rater


@pytest.fixture(scope="module")
def cohort(simulated_cohort, tmp_path_factory):
    folder = shutil.copytree(simulated_cohort / "cohort", tmp_path_factory.mktemp("rate") / "cohort")
    rng = np.random.default_rng(0)
    table = folder.parent / "scores.csv"
    chosen = [series for series in open_cohort(folder).series if series.sequence == "T2w"]
    rows = [f"{series.key},{rng.uniform(0, 100):.1f},{rng.uniform(0, 100):.1f}" for series in chosen]
    table.write_text("\n".join(["series,reading,measuring", *rows]))
    assert exit_code(["label", str(folder), str(table), "--on", "series"]) == 0
    return folder


QUICK = ["start=scratch", "beside=[no-prompt]", "teachings=2", "steps=3", "scored=8"]


@pytest.mark.slow
def test_scores_make_a_rater_that_curate_asks(cohort, tmp_path):
    assert exit_code(["rate", f"cohort={cohort}", *QUICK, "--to", str(tmp_path / "run")]) == 0
    metrics = runs.read(tmp_path / "run").metrics
    assert {"scratch/srcc", "scratch-minus-no-prompt/srcc", "all-scans/rmse"} <= set(metrics)
    trained = rater.load(tmp_path / "run" / "rater.safetensors")
    assert trained.net.purposes == ("reading", "measuring") and set(trained.half_widths) == {"reading", "measuring"}
    with (tmp_path / "run" / "scores.csv").open(newline="") as handle:
        answers = list(csv.DictReader(handle))
    # Half of twelve patients test, and both purposes of each.
    assert len(answers) == 12 and {row["purpose"] for row in answers} == {"reading", "measuring"}

    from radfoundry.stages.curate.quality import learned

    few = open_cohort(cohort)
    scores = learned(few, str(tmp_path / "run" / "rater.safetensors"), "measuring")
    assert set(scores) == {series.key for series in few.series}
    assert all(0 <= item.low <= item.value <= item.high <= 100 for item in scores.values())


def test_wrong_requests_name_what_is_known(cohort, tmp_path, capsys):
    for words, said in (
        (["beside=[nothing]"], "shuffled-prompt"),
        (["targets=[beauty]"], "0 scores are too few"),
        (["targets=[age_years]"], "too few"),
    ):
        assert exit_code(["rate", f"cohort={cohort}", *QUICK, *words, "--to", str(tmp_path / "run")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_page_and_the_table_show_the_learned_score(cohort, tmp_path):
    assert exit_code(["rate", f"cohort={cohort}", *QUICK, "--to", str(tmp_path / "run")]) == 0
    path = tmp_path / "run" / "rater.safetensors"
    asked = ["curate", "quality", f"cohort={cohort}", f"score={path}"]
    assert exit_code([*asked, "--to", str(tmp_path / "quality")]) == 0
    assert "learned score" in (tmp_path / "quality" / "report.html").read_text()
    with (tmp_path / "quality" / "quality.csv").open(newline="") as handle:
        assert all(row["learned_score"] for row in csv.DictReader(handle))
    assert exit_code([*asked, "purpose=art", "--to", str(tmp_path / "art")]) == 2
