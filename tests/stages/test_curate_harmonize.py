"""`radfoundry curate harmonize`: a new cohort with provenance, the old one untouched, and honest measuring."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.data import combat, harmonize
from radfoundry.data.cohort import open_cohort, read_record


@pytest.fixture
def cohort(simulated_cohort, tmp_path):
    return shutil.copytree(simulated_cohort / "cohort", tmp_path / "cohort")


def curated(cohort, to, *words):
    return exit_code(["curate", "harmonize", f"cohort={cohort}", *words, "--to", str(to)])


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_cohort_is_written_and_the_old_one_stays(cohort, tmp_path):
    assert exit_code(["split", str(cohort), "--name", "default", "--test", "0.3"]) == 0
    before = files_of(cohort)
    words = ("method=nyul", "on.sequence=[T2w, FLAIR]", "split=default", "measure=false")
    assert curated(cohort, tmp_path / "run", *words) == 0
    assert files_of(cohort) == before
    old, new = open_cohort(cohort), open_cohort(tmp_path / "run" / "cohort")
    kept = [item for item in old.series if item.sequence in ("T2w", "FLAIR")]
    assert [item.key for item in new.series] == [item.key for item in kept]
    assert new.splits == old.splits and [case.labels for case in new.cases] == [case.labels for case in old.cases]
    assert new.fingerprint != old.fingerprint
    made = read_record(tmp_path / "run" / "cohort")["provenance"]["derived"][-1]
    assert made["from"] == old.fingerprint and made["how"]["methods"] == [{"name": "nyul"}]
    assert made["how"]["split"] == "default" and made["left_out"] == len(old.series) - len(kept)
    first = new.series[0]
    chain = harmonize.read(tmp_path / "run" / f"harmonizer-{first.sequence}.safetensors")
    assert np.array_equal(first.load().array, chain.apply(kept[0].load()).array)
    assert "Before and after" in (tmp_path / "run" / "report.html").read_text()
    assert curated(cohort, tmp_path / "run", *words) == 2, "a folder that exists is refused"


def test_test_patients_never_influence_what_is_learned(cohort, tmp_path):
    """The pixels of a test patient are replaced by something else: what was learned does not change by a bit."""
    assert exit_code(["split", str(cohort), "--name", "default", "--test", "0.3"]) == 0
    words = ("method=histogram", "on.sequence=FLAIR", "split=default", "measure=false")
    assert curated(cohort, tmp_path / "run", *words) == 0
    opened = open_cohort(cohort)
    tested = {case.key for case in opened.part("default", "test").cases}
    changed = next(item for item in opened.series if item.case in tested and item.sequence == "FLAIR")
    others = next(item for item in opened.series if item.sequence == "T1w")
    shutil.copy(cohort / "volumes" / f"{others.key}.b2nd", cohort / "volumes" / f"{changed.key}.b2nd")
    assert curated(cohort, tmp_path / "again", *words) == 0
    name = "harmonizer-FLAIR.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_combat_writes_features_and_what_it_learned(cohort, tmp_path):
    words = ("method=combat", "on.sequence=FLAIR", "covariates=[age_years]")
    assert curated(cohort, tmp_path / "run", *words) == 0
    table = pd.read_parquet(tmp_path / "run" / "embeddings.parquet")
    model = combat.load(tmp_path / "run" / "combat.safetensors")
    assert len(table) == 12 and set(table["site"]) == set(model.sites) and model.covariates == ("age_years",)
    # Half of twelve patients are too few to learn a hospital from: said, not hidden, and the table is kept.
    assert any("not measured" in note and "too few rows" in note for note in runs.read(tmp_path / "run").notes)


def test_sites_and_answers_are_measured_before_and_after(cohort, tmp_path):
    words = ("method=zscore", "on.sequence=FLAIR", "task=lesion-present")
    assert curated(cohort, tmp_path / "run", *words) == 0
    made = runs.read(tmp_path / "run")
    assert made.metrics["none/site-accuracy"].defined
    assert "chance is 0.50" in made.metrics["zscore/site-accuracy"].note
    # Features that start with a z-score cannot see another one: nothing may change.
    assert abs(made.metrics["zscore-minus-none/site-accuracy"].value) < 1e-9
    # Half of the patients of one hospital may all have the same answer: measured, or said to be not.
    answered = made.metrics.get("zscore-minus-none/auroc-lesion-present")
    assert abs(answered.value) < 1e-9 if answered else any("lesion-present not measured" in note for note in made.notes)
    # A second run with the same images reads the features that the first one kept.
    kept = {path: path.stat().st_mtime_ns for path in (cohort / "cache" / "harmonized").iterdir()}
    assert curated(cohort, tmp_path / "again", "method=zscore", "on.sequence=FLAIR", "seed=0") == 0
    assert {path: path.stat().st_mtime_ns for path in (cohort / "cache" / "harmonized").iterdir()} == kept


def test_refusals_are_one_clear_line(cohort, tmp_path, capsys):
    def refused(*words):
        assert curated(cohort, tmp_path / "no", *words) == 2
        assert not (tmp_path / "no").exists()
        return capsys.readouterr().err

    assert "did you mean 'nyul'" in refused("method=nyull")
    assert "cannot follow image methods" in refused("method=[n4, combat]")
    assert "none of 36 series states software" in refused("by=software")
    assert "no series matches" in refused("on.sequence=PDw")
    assert "is not a yes-or-no question" in refused("method=zscore", "on.sequence=FLAIR", "task=age")
    assert "did you mean 'turns'" in refused("method={name: n4, turn: 3}")


def test_json_holds_the_numbers(cohort, tmp_path, capsys):
    words = [f"cohort={cohort}", "method=zscore", "on.sequence=T2w", "measure=false", "--json"]
    assert exit_code(["curate", "harmonize", *words, "--to", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["series-written"]["value"] == 12


def test_a_question_that_cannot_be_asked_is_refused_before_the_sites_are_measured(cohort, tmp_path, capsys):
    words = ("method=nyul", "on.sequence=FLAIR", "folds=90", "task=age")
    assert curated(cohort, tmp_path / "run", *words) == 2
    assert "not a yes-or-no question" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
