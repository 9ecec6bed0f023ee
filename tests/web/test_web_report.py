"""The report page: whole, self-contained, honest about its numbers, and deaf to hostile text."""

import html
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from web_demonstration import estimate, make_run, thumbnail

from radfoundry import runs
from radfoundry.records import Estimate, InputError
from radfoundry.web import report
from radfoundry.web.numbers import SmallPrint, cell, estimate_text, estimates_in

HOSTILE = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)> $\\frac{$ </title></style>"
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Outline(HTMLParser):
    """Elements with their attributes, the visible text, and whether every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open, self.crossed = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(run_folder):
    return report.write_report(run_folder).read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    thumbnail(tmp_path / "thumbnails" / "0.png", np.random.default_rng(0))
    return tmp_path


def written(blocks, folder):
    return report.write_page(blocks, title="T", subtitle="S", folder=folder, to=folder / "p.html").read_text()


def test_nothing_outside_the_page_is_asked_for(page):
    assert not re.search(r"https?:", page, re.IGNORECASE)
    assert "@import" not in page
    for tag, attributes in Outline(page).elements:
        for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_every_tag_is_closed_and_every_id_is_unique_and_found(page):
    outline = Outline(page)
    assert not outline.crossed and not outline.open
    identifiers = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    pointed = {a["href"][1:] for _, a in outline.elements if a.get("href", "").startswith("#")}
    pointed |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert pointed <= set(identifiers)


def test_every_estimate_is_shown_with_its_interval(page, run_folder):
    text = html.unescape(re.sub(r"<sup>.*?</sup>|<[^>]+>", "", page))
    blocks = json.loads((run_folder / "blocks.json").read_text())
    metrics = json.loads((run_folder / "run.json").read_text())["metrics"]
    found = estimates_in([blocks, metrics])
    assert len(found) > 20
    for item in found:
        assert item.text(2) in text
        assert item.method in page


def test_what_the_page_must_say(page):
    for words in (
        "Research software, not a medical device",
        "Benchmark: lesion-present",
        "radfoundry rerun benchmark-demo",
        "name: lesion-present",
        "2 of 63 patients had no FLAIR and were left out",
        "5f0c9a41e2b7d386",
        "did not hold",
        "undefined (no case with a lesion)",
        "p = 0.004",
    ):
        assert words in page


def test_every_picture_has_words_and_every_table_has_headers(page):
    outline = Outline(page)
    tables = [attributes for tag, attributes in outline.elements if tag == "table"]
    headers = [attributes for tag, attributes in outline.elements if tag == "th"]
    assert len(tables) >= 5 and all("scope" in attributes for attributes in headers)
    assert all(attributes.get("alt") for tag, attributes in outline.elements if tag == "img")
    drawn = [attributes for tag, attributes in outline.elements if tag == "svg"]
    assert len(drawn) == 7
    assert all(attributes["role"] == "img" and attributes["aria-labelledby"] for attributes in drawn)


def test_drawn_again_it_is_the_same_byte_for_byte(run_folder, page):
    assert report.write_report(run_folder).read_text(encoding="utf-8") == page


def test_a_page_changed_by_hand_says_so(run_folder, page, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "run.json").write_bytes((run_folder / "run.json").read_bytes())
    runs.write_json(copy / "blocks.json", [{"kind": "text", "title": "Summary", "paragraphs": ["All is well."]}])
    assert "was changed after the run had ended" not in page
    assert "was changed after the run had ended" in report.render_report(copy)


def test_a_failing_block_leaves_the_old_page_and_no_other_file(folder):
    good = written([{"kind": "text", "title": "A", "paragraphs": ["b"]}], folder)
    with pytest.raises(InputError):
        written([{"kind": "nonsense"}], folder)
    assert (folder / "p.html").read_text() == good
    assert sorted(path.name for path in folder.iterdir()) == ["p.html", "thumbnails"]


def test_an_interrupted_write_leaves_the_old_page(folder, monkeypatch):
    good = written([{"kind": "text", "title": "A", "paragraphs": ["b"]}], folder)

    def broken(_handle):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="no space"):
        written([{"kind": "text", "title": "A", "paragraphs": ["c"]}], folder)
    assert (folder / "p.html").read_text() == good
    assert len(list(folder.glob("*.html*"))) == 1


@pytest.mark.parametrize("value", [0.83, np.float32(0.83), [1, 2], {"a": 1}])
def test_a_bare_number_is_refused_in_a_table_and_in_facts(value, folder):
    table = {"kind": "table", "title": "R", "columns": [{"key": "a", "label": "A"}], "rows": [{"a": value}]}
    with pytest.raises(InputError, match=r"block 1 \(table, R\), row 1, A"):
        written([table], folder)
    with pytest.raises(InputError, match="give"):
        written([{"kind": "facts", "title": "F", "items": [["a", value]]}], folder)


@pytest.mark.parametrize(
    "block",
    [
        {"kind": "forest", "title": "x", "rows": [{"label": "a", "estimate": 0.8}], "reference": None, "axis": "a"},
        {"kind": "forest", "title": "x", "rows": [], "reference": None, "axis": "a"},
        {"kind": "claims", "title": "x", "rows": [
            {"claim": "a", "control": True, "met": True, "found": 0.2, "needed": ""}]},
        {"kind": "roc", "title": "x", "curves": [{"name": "a", "false_positive_rate": [0, 1], "sensitivity": [0, 1]}]},
        {"kind": "roc", "title": "x", "curves": [
            {"name": "a", "false_positive_rate": [0, 1], "sensitivity": [0], "low": [0, 1], "high": [0, 1]}]},
        {"kind": "map", "title": "x", "x": [1.0], "y": [1.0], "colours": {"site": ["a", "b"]}},
        {"kind": "thumbnails", "title": "x", "images": [{"png": "../outside.png", "caption": "a"}]},
        {"kind": "thumbnails", "title": "x", "images": [{"png": "/etc/hostname", "caption": "a"}]},
        {"kind": "thumbnails", "title": "x", "images": [{"png": "thumbnails/none.png", "caption": "a"}]},
        {"kind": "text", "title": "x", "paragraphs": "one string"},
        {"kind": "table", "title": "x"},
        {"kind": "pie", "title": "x"},
        {"title": "x"},
    ],
)  # fmt: skip
def test_a_block_that_is_not_right_is_one_clear_line(block, folder):
    with pytest.raises(InputError) as caught:
        written([block], folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "p.html").exists()


def test_hostile_text_stays_text(folder):
    number = Estimate(0.8, 0.7, 0.9, method=HOSTILE, n=3, note=HOSTILE).to_dict()
    points = {"low": [0, 0.5, 1], "high": [0.2, 0.9, 1]}
    blocks = [
        {"kind": "text", "title": HOSTILE, "paragraphs": [HOSTILE]},
        {"kind": "facts", "title": HOSTILE, "items": [[HOSTILE, HOSTILE], [HOSTILE, number]]},
        {"kind": "table", "title": HOSTILE, "note": HOSTILE, "columns": [{"key": HOSTILE, "label": HOSTILE}],
         "rows": [{HOSTILE: HOSTILE}, {HOSTILE: number}]},
        {"kind": "thumbnails", "title": HOSTILE, "images": [{"png": "thumbnails/0.png", "caption": HOSTILE}]},
        {"kind": "forest", "title": HOSTILE, "rows": [{"label": HOSTILE, "estimate": number}], "axis": HOSTILE},
        {"kind": "roc", "title": HOSTILE, "curves": [
            {"name": HOSTILE, "false_positive_rate": [0, 0.5, 1], "sensitivity": [0, 0.8, 1], **points,
             "estimate": number}]},
        {"kind": "map", "title": HOSTILE, "x": [1, 2], "y": [2, 1], "colours": {HOSTILE: [HOSTILE, "_hidden"]}},
        {"kind": "claims", "title": HOSTILE, "rows": [
            {"claim": HOSTILE, "control": False, "met": False, "found": number, "needed": HOSTILE}]},
    ]  # fmt: skip
    page = report.write_page(blocks, title=HOSTILE, subtitle=HOSTILE, folder=folder, to=folder / "p.html").read_text()
    outline = Outline(page)
    assert sum(tag == "script" for tag, _ in outline.elements) == 1
    assert sum(tag == "img" for tag, _ in outline.elements) == 1
    assert not any(name.startswith("on") for _, attributes in outline.elements for name in attributes)
    assert "alert" in html.unescape("".join(outline.text))
    # The hidden-name trap of matplotlib legends: a label that starts with an underscore is still listed.
    assert "_hidden (1)" in page


def test_only_the_pages_own_script_may_run(page):
    import base64
    import hashlib

    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1))
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_run_without_blocks_still_shows_its_numbers(tmp_path):
    with runs.writing("embed", {"encoder": "intensity"}, to=tmp_path / "run") as writer:
        writer.metrics["auroc"] = estimate(0.7, 0.1)
    page = report.write_report(tmp_path / "run").read_text()
    assert str(estimate(0.7, 0.1)) in page and "Embed: intensity" in page


def test_not_a_run_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        report.write_report(tmp_path)


def test_footnotes_say_each_way_once():
    numbers = [estimate(0.8, 0.1), estimate(0.7, 0.1), estimate(0.6, 0.1, method="bootstrap")]
    small = SmallPrint(numbers)
    assert small.notes == [("a", "95 % interval, DeLong, n = 61"), ("b", "95 % interval, bootstrap, n = 61")]
    assert [cell(item.to_dict(), small, where="").mark for item in numbers] == ["a", "a", "b"]
    assert SmallPrint(numbers[:2]).notes == [("", "95 % interval, DeLong, n = 61")]


def test_an_interval_never_prints_as_a_point():
    rng = np.random.default_rng(3)
    for scale in 10.0 ** rng.uniform(-4, 3, 200):
        item = Estimate(scale, scale * 0.9, scale * 1.1)
        low, high = re.search(r"\((.+?)-(.+?)\)", estimate_text(item)).groups()
        assert low != high
