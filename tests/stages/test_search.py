"""From embed to search over tiny pictures: neighbours of a cohort and of loose files, and what is refused."""

import pandas as pd
import pytest
from adapt_samples import make_cohort

from radfoundry import runs
from radfoundry.cli.main import exit_code


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = make_cohort(tmp_path_factory.mktemp("search"), flat=True, patients=16)
    words = ["embed", f"cohort={folder / 'cohort'}", "encoder={name: intensity, dimensions: 2}"]
    assert exit_code([*words, "--to", str(folder / "features")]) == 0
    return folder


def test_a_cohort_asks_its_own_index_without_meeting_itself(flat, tmp_path):
    words = ["search", str(flat / "features"), str(flat / "cohort"), "target=large", "nearest=5"]
    assert exit_code([*words, "--to", str(tmp_path / "found")]) == 0
    found = runs.read(tmp_path / "found")
    assert found.metrics["recall@5"].value >= found.metrics["chance-recall@5"].value - 0.2
    table = pd.read_csv(tmp_path / "found" / "neighbours.csv")
    assert len(table) == 16 * 5 and (table["image"] != table["case"]).all() and table["cosine"].max() < 0.9999
    assert (tmp_path / "found" / "report.html").is_file()


def test_loose_files_do_not_find_their_own_pixels(flat, tmp_path):
    scan = flat / "scans" / "sub-03_FLAIR.nii.gz"
    words = ["search", str(flat / "features" / "index"), str(scan), "modality=US", "nearest=3"]
    assert exit_code([*words, "--to", str(tmp_path / "found")]) == 0
    table = pd.read_csv(tmp_path / "found" / "neighbours.csv")
    assert len(table) == 3 and table["cosine"].max() < 0.9999


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cohort"], "no index here"),
        (["features"], "no scans"),
        (["features", "cohort", "target=absent"], "unknown label 'absent'"),
        (["features", "cohort", "engine=fast"], "unknown engine"),
        (["features", "cohort", "nearest=0"], "greater than or equal to 1"),
        (["features", "nowhere.nii"], "nowhere"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(flat, tmp_path, words, said, capsys):
    full = [str(flat / word) if "=" not in word else word for word in words]
    full = [full[0], *(full[1:] or (["engine=exact"] if said == "no scans" else [str(flat / "cohort")]))]
    assert exit_code(["search", *full, "--to", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error and not list(tmp_path.iterdir())
