"""The words of the documentation are the words of the code: glossary, kinds of block, floors, file names."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

from radfoundry import records, volume
from radfoundry.web import blocks, figures, serve

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^\| ([^|]+) \| `([\w.]+)` \| ([^|]+) \|$", GLOSSARY, re.MULTILINE)


def found(path):
    """The object behind a dotted path: the longest importable module, then attributes."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            thing = getattr(thing, name)
        return thing
    raise LookupError(path)


@pytest.mark.parametrize(("term", "path"), [entry[:2] for entry in ENTRIES], ids=lambda value: value.replace(" ", "-"))
def test_every_term_exists_in_code(term, path):
    assert found(path) is not None


def test_every_noun_of_the_code_is_explained():
    nouns = {
        name
        for module in (records, volume)
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and thing.__module__ == module.__name__
    }
    assert nouns and nouns <= {term for term, _, _ in ENTRIES}


def test_every_row_of_the_glossary_is_one_sentence():
    rows = [line for line in GLOSSARY.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    heads = [line for line in rows if "| meaning |" in line]
    assert len(rows) - len(heads) == len(ENTRIES) > 40
    for term, _, meaning in ENTRIES:
        assert meaning.endswith(".") and ". " not in meaning, term


def test_the_report_page_names_every_kind_of_block_and_no_other():
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    table = text[text.index("| kind |") :]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == {*blocks.BODIES, *figures.DRAWN}
    assert set(figures.READING) == set(figures.DRAWN)


def test_the_serve_page_names_every_kind_of_file():
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\.\w+)`", text)) == set(serve.KINDS)


def test_the_floors_of_the_architecture_page_are_the_floors_that_are_held():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = [set(re.findall(r"\w+", names)) for names in re.findall(r"^ +(?:roof|\d) +(.+?)  ", text, re.MULTILINE)]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    held = [set(layer.split(" | ")) - {"__main__"} for layer in layers]
    assert drawn == [names for names in held if names]


def test_files_the_architecture_page_points_to_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("| question |") :]
    for name in re.findall(r"`([\w/.]+\.\w+)`", table):
        places = [ROOT / name, *(ROOT / "src" / "radfoundry").rglob(Path(name).name)]
        assert any(place.exists() for place in places), name
