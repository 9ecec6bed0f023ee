"""From simulated scans with reports to labels, drafts and decisions, by the commands a user gives."""

import csv
import json

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    key = ["--key-file", str(folder / "key")]
    simulate = ["simulate", "--cohort", "brain-multisequence", "--cases", "24", "--seed", "5"]
    options = ["cohort.sequences=[FLAIR]", "cohort.broad_strength=0.6"]
    assert exit_code([*simulate, *options, "--to", str(folder / "simulation")]) == 0
    reports = f"reports={folder / 'simulation' / 'reports'}"
    assert (
        exit_code(["ingest", str(folder / "simulation" / "dicom"), "--to", str(folder / "cohort"), reports, *key]) == 0
    )
    labels = str(folder / "simulation" / "labels.csv")
    assert exit_code(["label", str(folder / "cohort"), labels, "--on", "patient", *key]) == 0
    return folder / "cohort"


def test_reports_become_labels_that_the_cohort_takes(cohort, tmp_path):
    place = tmp_path / "findings"
    assert exit_code(["curate", "findings", f"cohort={cohort}", "region=head", "--to", str(place)]) == 0
    assert runs.read(place).metrics["reports-read"].value == 24
    assert exit_code(["label", str(cohort), str(place / "findings.csv"), "--on", "case"]) == 0
    with (place / "sentences.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert all(row["finding"] and row["sentence"] for row in rows)


def test_a_cohort_without_reports_is_refused(simulated_cohort, tmp_path, capsys):
    place = tmp_path / "findings"
    assert exit_code(["curate", "findings", f"cohort={simulated_cohort / 'cohort'}", "--to", str(place)]) == 2
    assert "no case has a report" in capsys.readouterr().err
    assert not place.exists()


def test_drafts_of_new_scans_are_traced(cohort, tmp_path):
    words = ["task=draft", "task.region=head", "task.fewest=3", "encoder=intensity", "folds=3"]
    assert exit_code(["adapt", f"cohort={cohort}", *words, "--to", str(tmp_path / "draft")]) == 0
    metrics = runs.read(tmp_path / "draft").metrics
    assert {"f1-retrieval", "f1-template", "share-withheld"} <= set(metrics)
    assert exit_code(["predict", str(tmp_path / "draft"), str(cohort), "--to", str(tmp_path / "out")]) == 0
    made = json.loads((tmp_path / "out" / "drafts.json").read_text())
    assert len(made) == 24
    assert len(list((tmp_path / "out" / "drafts").glob("*.txt"))) == 24
    for draft in made.values():
        assert draft["refused"] or all(item["text"] in draft["text"] for item in draft["sentences"])


def test_a_decoder_writes_drafts_of_new_scans_that_findings_bear_out(cohort, tmp_path):
    words = ["task=draft", "task.region=head", "task.fewest=3", "task.by=decoder", "task.decoder.steps=60"]
    place = tmp_path / "written"
    assert exit_code(["adapt", f"cohort={cohort}", *words, "encoder=intensity", "folds=3", "--to", str(place)]) == 0
    metrics = runs.read(place).metrics
    assert {"f1-decoder", "f1-usual", "f1-decoder-without-floor-minus-retrieval", "sentences-struck"} <= set(metrics)
    assert exit_code(["predict", str(place), str(cohort), "--to", str(tmp_path / "out")]) == 0
    made = json.loads((tmp_path / "out" / "drafts.json").read_text())
    assert len(made) == 24
    for draft in made.values():
        assert all(item["confidence"] >= 0.6 for item in draft["sentences"])
        assert draft["refused"] or all(item["text"] in draft["text"] for item in draft["sentences"])
    (place / "predictor" / "decoder.safetensors").write_bytes(b"other")
    assert exit_code(["predict", str(place), str(cohort), "--to", str(tmp_path / "no")]) == 2  # it was exchanged
    assert not (tmp_path / "no").exists()


def test_an_arbiter_decides_about_new_scans_and_logs_conflicts(cohort, tmp_path):
    runs_of = []
    for name, head in (("one", "logistic"), ("two", "knn")):
        words = ["task=classify", "task.target=broad", "encoder=intensity", f"head={head}", "folds=3"]
        assert exit_code(["adapt", f"cohort={cohort}", *words, "--to", str(tmp_path / name)]) == 0
        runs_of.append(str(tmp_path / name))
    words = ["task=arbitrate", "task.target=broad", f"task.specialists=[{','.join(runs_of)}]", "encoder=intensity"]
    place = tmp_path / "arbiter"
    assert exit_code(["adapt", f"cohort={cohort}", *words, "folds=3", "--to", str(place)]) == 0
    assert (place / "conflicts.csv").is_file()
    assert exit_code(["predict", str(place), str(cohort), "--to", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "predictions.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 24
    assert all(0 <= float(row["answer"]) <= 1 and row["one"] and row["two"] for row in rows)
