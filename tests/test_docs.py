"""Everything the documentation shows runs: Python blocks as they stand, `radfoundry` commands in order."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from radfoundry.cli.main import exit_code

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = "# not run"
# Pages with whole cohorts; what they show is also tested stage by stage.
SLOW = [
    "adapt",
    "benchmark",
    "compare",
    "curate",
    "deidentify",
    "embed",
    "get-started",
    "ingest",
    "label",
    "rerun",
    "search",
]


def page_case(page):
    return (
        pytest.param(page, marks=pytest.mark.slow, id=page.stem)
        if page.stem in SLOW
        else pytest.param(page, id=page.stem)
    )


def blocks(page):
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(text):
    """The `radfoundry` lines of a shell block, continued lines joined; lines marked as not run left out."""
    joined = text.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    return [line for line in lines if line.startswith("radfoundry ") and NOT_RUN not in line]


@pytest.mark.parametrize("page", [page_case(page) for page in PAGES])
def test_snippets_run(page, tmp_path, monkeypatch, request):
    found = blocks(page)
    if not found:
        pytest.skip("no snippets")
    monkeypatch.chdir(tmp_path)
    shell = [line for language, text in found if language == "bash" for line in commands(text)]
    if any(word in line for line in shell for word in ("scans", "cohort", "labels.csv", "predictions.csv")):
        simulated = request.getfixturevalue("simulated_cohort")
        for name in ("scans", "cohort", "labels.csv", "predictions.csv", "key"):
            source = simulated / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    names = {}
    for language, text in found:
        if language == "python":
            exec(compile(text, f"{page.name} snippet", "exec"), names)
        else:
            for line in commands(text):
                assert exit_code(shlex.split(line)[1:]) == 0, line


def test_every_verb_and_recipe_has_a_page():
    from radfoundry.cli.main import COMMANDS
    from radfoundry.recipes import runner

    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    missing = [name for name in COMMANDS if name not in pages]
    missing += [name for name in runner.names() if f"recipe-{name}" not in pages]
    assert missing == []


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
