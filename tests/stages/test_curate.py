"""`radfoundry curate`: verdicts with reasons, slots, and corrections that come back through `radfoundry label`."""

import csv
import json
import shutil

import pytest

from radfoundry.cli.main import exit_code
from radfoundry.data.cohort import open_cohort


@pytest.fixture
def cohort(simulated_cohort, tmp_path):
    return shutil.copytree(simulated_cohort / "few", tmp_path / "cohort")


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_series_gets_a_verdict_and_a_card(cohort, tmp_path):
    assert exit_code(["curate", "quality", f"cohort={cohort}", "--to", str(tmp_path / "run")]) == 0
    before = open_cohort(cohort)
    table = rows(tmp_path / "run" / "quality.csv")
    assert [row["series"] for row in table] == [series.key for series in before.series]
    assert {row["verdict"] for row in table} <= {"good", "review", "leave out"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count('class="series-card"') == len(table) and "corrections.csv" in page
    assert open_cohort(cohort).fingerprint == before.fingerprint
    # Measured once: a second call reads what was kept, also in the same order.
    kept = {path.name: path.stat().st_mtime_ns for path in (cohort / ".quality").iterdir()}
    assert exit_code(["curate", "quality", f"cohort={cohort}", "--to", str(tmp_path / "again")]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (cohort / ".quality").iterdir()} == kept
    assert (tmp_path / "again" / "quality.csv").read_bytes() == (tmp_path / "run" / "quality.csv").read_bytes()


def test_slots_are_filled_and_a_person_may_choose(cohort, tmp_path):
    wanted = ["slots=[{name: first, sequence: [T2w, FLAIR]}, {name: gadolinium, sequence: [T1w], contrast: with}]"]
    command = ["curate", "slots", f"cohort={cohort}", *wanted]
    assert exit_code([*command, "--to", str(tmp_path / "run")]) == 0
    table = rows(tmp_path / "run" / "slots.csv")
    filled = [row for row in table if row["slot"] == "first"]
    assert all(row["series"] and row["alternatives"] for row in filled)
    assert all(not row["series"] and "nothing fits" in row["reason"] for row in table if row["slot"] == "gadolinium")
    # The other series of the first exam, by a person.
    other = filled[0]["alternatives"].split(" ")[0]
    (tmp_path / "choices.csv").write_text(f"series,slot\n{other},first\n")
    assert exit_code(["label", str(cohort), str(tmp_path / "choices.csv"), "--on", "series"]) == 0
    assert exit_code([*command, "--to", str(tmp_path / "chosen")]) == 0
    again = rows(tmp_path / "chosen" / "slots.csv")
    assert next(row for row in again if row["case"] == filled[0]["case"] and row["slot"] == "first")["series"] == other


def test_corrections_change_the_series_and_may_be_taken_back(cohort, tmp_path):
    before = open_cohort(cohort)
    first, second = before.series[0], before.series[1]
    table = tmp_path / "corrections.csv"
    table.write_text(f"series,sequence,use,use_reason\n{first.key},PDw,,\n{second.key},,false,a ghost\n")
    assert exit_code(["label", str(cohort), str(table), "--on", "series"]) == 0
    after = open_cohort(cohort)
    found = {series.key: series for series in after.series}
    assert found[first.key].sequence == "PDw" and second.key not in found
    assert len(after.series) == len(before.series) - 1 and after.provenance["set_aside"] == 1
    assert after.fingerprint != before.fingerprint
    assert all("sequence" not in case.labels and "use" not in case.labels for case in after.cases)
    table.write_text(f"series,use\n{second.key},true\n")
    assert exit_code(["label", str(cohort), str(table), "--on", "series"]) == 0
    assert len(open_cohort(cohort).series) == len(before.series)


def test_bad_slots_are_one_clear_line(cohort, tmp_path, capsys):
    wrong = "slots=[{name: a, sequence: [T1w], prefer: luck}]"
    assert exit_code(["curate", "slots", f"cohort={cohort}", wrong, "--to", str(tmp_path / "run")]) == 2
    assert "cannot prefer 'luck'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_sequence_that_is_none_is_refused_and_an_absent_one_is_said(cohort, tmp_path, capsys):
    command = ["curate", "slots", f"cohort={cohort}", "--to", str(tmp_path / "run")]
    assert exit_code([*command, "slots=[{name: a, sequence: [T1x]}]"]) == 2
    assert "did you mean 'T1w'" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert exit_code([*command, "slots=[{name: a, sequence: [asl]}]"]) == 0
    assert "no series is asl; here:" in capsys.readouterr().err


def test_no_slots_are_no_complete_exams(cohort, tmp_path, capsys):
    assert exit_code(["curate", "slots", f"cohort={cohort}", "slots=[]", "--to", str(tmp_path / "run")]) == 2
    assert "slots" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_masks_are_never_called_poor_images(cohort):
    from dataclasses import replace

    from radfoundry.stages.curate.quality import without_masks

    whole = open_cohort(cohort)
    first = whole.cases[0]
    mask = replace(first.series[0], acquisition=replace(first.series[0].acquisition, modality="SEG"))
    marked = replace(whole, cases=(replace(first, series=(mask, *first.series[1:])), *whole.cases[1:]))
    images, masks = without_masks(marked)
    assert masks == 1 and mask.key not in {series.key for series in images.series}
    assert len(images.series) == len(whole.series) - 1


def test_json_says_how_many(cohort, tmp_path, capsys):
    assert exit_code(["curate", "slots", f"cohort={cohort}", "--to", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["exams-complete"]["value"] == len(open_cohort(cohort))


def test_a_film_that_cannot_be_measured_is_not_judged_instead_of_blamed():
    from radfoundry.records import Estimate
    from radfoundry.stages.curate.quality import UNJUDGED, judged

    nothing = {"noise_share": Estimate.undefined("no air"), "clipped_share": Estimate(0.0)}
    assert judged("MG", nothing).reasons == (UNJUDGED,)
    assert judged("MR", nothing).reasons != (UNJUDGED,)
    clipped = judged("MG", {**nothing, "clipped_share": Estimate(0.9)})
    assert clipped.verdict == "leave out" and len(clipped.reasons) == 2
    assert judged("MG", {"noise_share": Estimate(0.01)}).verdict == "good"
