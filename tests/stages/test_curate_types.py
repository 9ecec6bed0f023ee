"""`radfoundry curate types`: every series gets a type or a reason to look; corrections come back through label."""

import csv
import shutil

import pytest

from radfoundry.cli.main import exit_code
from radfoundry.data.cohort import open_cohort
from radfoundry.data.series_types import REVIEW, SEQUENCES
from radfoundry.records import Acquisition, Series
from radfoundry.stages.curate.types import correction


@pytest.fixture
def cohort(simulated_cohort, tmp_path):
    return shutil.copytree(simulated_cohort / "few", tmp_path / "cohort")


def rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def typed(cohort, to, *words):
    return exit_code(["curate", "types", f"cohort={cohort}", "workers=1", "--to", str(to), *words])


def test_every_series_gets_a_type_or_a_reason(cohort, tmp_path):
    assert typed(cohort, tmp_path / "run") == 0
    before = open_cohort(cohort)
    table = rows(tmp_path / "run" / "types.csv")
    assert {row["series"] for row in table} == {series.key for series in before.series}
    assert {row["type"] for row in table} <= {*SEQUENCES, REVIEW} and all(row["reasons"] for row in table)
    # What was simulated is known: none of these heads may be given a wrong type without asking.
    truth = {series.key: {"T1w": "T1", "T2w": "T2", "FLAIR": "T2-FLAIR"}[series.sequence] for series in before.series}
    wrong = [row for row in table if row["type"] not in (truth[row["series"]], REVIEW)]
    assert not wrong and sum(row["type"] != REVIEW for row in table) >= 0.7 * len(table)
    assert {row["plane"] for row in table} <= {"axial", "sagittal", "coronal", "oblique"}
    assert {row["anatomy"] for row in table} <= {"brain", REVIEW}
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count('class="series-card"') == len(before.series) and "sure" in page
    assert open_cohort(cohort).fingerprint == before.fingerprint
    # Typed once: a second call reads what was kept.
    kept = {path: path.stat().st_mtime_ns for path in (cohort / ".types").rglob("*.json")}
    assert typed(cohort, tmp_path / "again") == 0
    assert {path: path.stat().st_mtime_ns for path in (cohort / ".types").rglob("*.json")} == kept
    assert (tmp_path / "again" / "types.csv").read_bytes() == (tmp_path / "run" / "types.csv").read_bytes()


def test_corrections_go_back_through_label_and_a_persons_word_stays(cohort, tmp_path):
    first = open_cohort(cohort).series[0]
    true = first.sequence
    (tmp_path / "wrong.csv").write_text(f"series,sequence\n{first.key},swi\n")
    assert exit_code(["label", str(cohort), str(tmp_path / "wrong.csv"), "--on", "series"]) == 0
    assert typed(cohort, tmp_path / "run", "pixels=false") == 0
    proposed = rows(tmp_path / "run" / "corrections.csv")
    assert all(row["series"] != first.key for row in proposed)  # a person said swi
    row = next(row for row in rows(tmp_path / "run" / "types.csv") if row["series"] == first.key)
    assert row["was"] == "swi" and row["likely"] == {"T1w": "T1", "T2w": "T2", "FLAIR": "T2-FLAIR"}[true]


def made(**changes):
    said = Acquisition(modality="MR")
    return Series("k", "p", "c", said, (1, 64, 64, 20), (1.0, 1.0, 5.0), **changes)


def answer(sequence, **changes):
    return {"sequence": sequence, "detail": "", "plane": "axial", **changes}


def test_corrections_propose_what_is_new_and_nothing_else():
    assert correction(made(), [answer("T2-FLAIR")]) == {"series": "k", "sequence": "FLAIR", "plane": "axial"}
    assert correction(made(sequence="FLAIR", plane="axial"), [answer("T2-FLAIR")]) is None
    assert correction(made(sequence="PDw", plane="axial"), [answer("other")]) is None
    assert correction(made(), [answer(REVIEW)]) is None
    assert correction(made(), [answer("DWI"), answer("ADC")]) is None
    assert correction(made(sequence="T1w", plane="axial"), [answer("other", detail="mask or label map")]) == {
        "series": "k",
        "sequence": "mask",
        "plane": "",
    }


@pytest.mark.parametrize("words", [["rules=nowhere.yaml"], ["what=types-trial", "held_make=acme"]])
def test_bad_settings_are_one_clear_line(cohort, tmp_path, capsys, words):
    assert typed(cohort, tmp_path / "run", *words) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_rule_of_ones_own_decides(cohort, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "rules: [{name: all, type: LOC, strength: decide, says: everything is a scout here, match: {modality: MR}}]"
    )
    assert typed(cohort, tmp_path / "run", f"rules={tmp_path / 'mine.yaml'}", "pixels=false") == 0
    table = rows(tmp_path / "run" / "types.csv")
    assert {row["type"] for row in table} == {"LOC"} and {row["reasons"] for row in table} == {
        "everything is a scout here"
    }
