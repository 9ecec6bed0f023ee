"""Everything the documentation shows runs: Python blocks as they stand, `radfoundry` commands in order."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from conftest import SIMULATE
from radfoundry.cli.main import exit_code

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
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


def uses(shell, *names):
    """Whether a command names one of the shared files, alone or as a setting (`cohort=cohort`)."""
    words = {word.rpartition("=")[2].split("/")[0] for line in shell for word in shlex.split(line)}
    return bool(words & set(names))


def as_simulated(simulated):
    """What the shared simulation wrote, here under the names that its command gives."""
    Path("simulation").mkdir()
    shutil.copytree(simulated / "scans", "simulation/dicom", copy_function=os.link)
    os.link(simulated / "labels.csv", "simulation/labels.csv")


def ran(line, request):
    """Run one command; the one that the shared cohort was made with is not run again."""
    words = shlex.split(line)[1:]
    if words == SIMULATE:
        as_simulated(request.getfixturevalue("simulated_cohort"))
        return True
    return exit_code(words) == 0


@pytest.mark.parametrize("page", [page_case(page) for page in PAGES])
def test_snippets_run(page, tmp_path, monkeypatch, request):
    found = blocks(page)
    if not found:
        pytest.skip("no snippets")
    monkeypatch.chdir(tmp_path)
    shell = [line for language, text in found if language == "bash" for line in commands(text)]
    shared = ("scans", "cohort", "labels.csv", "predictions.csv", "key")
    if uses(shell, *shared):
        simulated = request.getfixturevalue("simulated_cohort")
        for name in shared:
            source = simulated / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    names = {}
    for language, text in found:
        if language == "python":
            exec(compile(text, f"{page.name} snippet", "exec"), names)
        else:
            for line in commands(text):
                assert ran(line, request), line


def test_every_verb_and_recipe_has_a_page():
    from radfoundry.cli.main import COMMANDS
    from radfoundry.recipes import runner

    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    missing = [name for name in COMMANDS if name not in pages]
    missing += [name for name in runner.names() if f"recipe-{name}" not in pages]
    assert missing == []


def test_every_page_can_be_found_from_another():
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    linked = {(page.parent / target).resolve() for page, text in texts.items() for target in LINK.findall(text)}
    assert [page.name for page in PAGES if page.parent.name == "docs" and page.resolve() not in linked] == []


def test_the_list_of_recipes_names_each_once():
    from radfoundry.recipes import runner

    listed = re.findall(r"\(recipe-([\w-]+)\.md\)", (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(runner.names())


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
