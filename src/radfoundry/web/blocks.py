"""Blocks as a stage writes them, checked and turned into what the templates show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radfoundry import runs
from radfoundry.records import InputError
from radfoundry.web import figures
from radfoundry.web.numbers import Cell, SmallPrint, cell, estimates_in

PNG_START = b"\x89PNG\r\n\x1a\n"
LARGEST_PNG_BYTES = 4_000_000


@dataclass(frozen=True)
class View:
    """One block ready to be shown; `body` depends on its kind."""

    kind: str
    anchor: str
    title: str
    note: str
    notes: Sequence[tuple[str, str]] = ()
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def compact(self) -> bool:
        """Whether this is a short table of two columns, which can stand beside others like it."""
        return (
            self.kind == "table" and len(self.body["labels"]) <= 2 and not self.notes and len(self.body["rows"]) <= 15
        )


def views(blocks: Sequence[Mapping[str, Any]], *, folder: Path) -> list[View]:
    """All blocks, checked. Refuses an unknown kind, a bare float, and pictures outside the folder."""
    return [_view(runs.plain(block), index, folder) for index, block in enumerate(blocks)]


def _view(block: Mapping[str, Any], index: int, folder: Path) -> View:
    if not isinstance(block, Mapping) or "kind" not in block:
        raise InputError("is not a block with a kind", where=f"block {index + 1}", remedy="see docs/report.md")
    kind, title = str(block["kind"]), str(block.get("title", ""))
    where = f"block {index + 1} ({kind}{f', {title}' if title else ''})"
    if kind not in BODIES and kind not in figures.DRAWN:
        known = ", ".join(sorted({*BODIES, *figures.DRAWN}))
        raise InputError("unknown kind of block", where=where, remedy=f"known: {known}", finding="unknown-block")
    columns = block.get("columns", ())
    beside = any(isinstance(column, Mapping) and column.get("key") == "n" for column in columns)
    small_print = SmallPrint(estimates_in(block), n_stands_beside=beside)
    try:
        if kind in figures.DRAWN:
            body = _drawn(block, small_print, f"figure-{index + 1}")
        else:
            body = BODIES[kind](block, small_print, where, folder)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"lacks or misplaces {error}", where=where, remedy="see docs/report.md", finding="block-shape"
        ) from error
    return View(kind, f"section-{index + 1}", title, str(block.get("note", "") or ""), small_print.notes, body)


def _text(block: Mapping[str, Any], _small: SmallPrint, where: str, _folder: Path) -> dict[str, Any]:
    paragraphs = block["paragraphs"]
    if isinstance(paragraphs, str) or not all(isinstance(item, str) for item in paragraphs):
        raise InputError("paragraphs is not a list of texts", where=where)
    return {"paragraphs": paragraphs}


def _facts(block: Mapping[str, Any], small: SmallPrint, where: str, _folder: Path) -> dict[str, Any]:
    return {"items": [(str(name), cell(value, small, where=f"{where}, {name}")) for name, value in block["items"]]}


def _table(block: Mapping[str, Any], small: SmallPrint, where: str, _folder: Path) -> dict[str, Any]:
    columns = [(column["key"], str(column["label"])) for column in block["columns"]]
    rows = [
        [cell(row.get(key), small, where=f"{where}, row {place + 1}, {label}") for key, label in columns]
        for place, row in enumerate(block["rows"])
    ]
    numeric = [bool(rows) and all(row[place].numeric for row in rows) for place in range(len(columns))]
    return {"labels": [label for _, label in columns], "rows": rows, "numeric": numeric}


def _claims(block: Mapping[str, Any], small: SmallPrint, where: str, _folder: Path) -> dict[str, Any]:
    rows = [
        {
            "claim": str(row["claim"]),
            "kind": "negative control" if row["control"] else "claim",
            "met": bool(row["met"]),
            "found": cell(row["found"], small, where=f"{where}, {row['claim']}"),
            "needed": str(row["needed"]),
        }
        for row in block["rows"]
    ]
    return {"rows": rows}


def _thumbnails(block: Mapping[str, Any], _small: SmallPrint, where: str, folder: Path) -> dict[str, Any]:
    return {
        "images": [(picture(folder, item["png"], where=where), str(item["caption"])) for item in block["images"]],
        "large": bool(block.get("large", False)),
    }


def _series(block: Mapping[str, Any], _small: SmallPrint, where: str, folder: Path) -> dict[str, Any]:
    """Cards of image series to look through, filter and correct; flagged ones first."""
    ranks = {"leave out": 0, "review": 1, "good": 2}
    rows = [
        {
            "key": str(row["key"]),
            "picture": picture(folder, row["png"], where=where) if row["png"] else "",
            "caption": str(row["caption"]),
            "sequence": str(row["sequence"] or "unknown"),
            "verdict": str(row["verdict"]),
            "reasons": [str(reason) for reason in row["reasons"]],
            "rank": f"{ranks[row['verdict']]}-{place:06d}",
        }
        for place, row in enumerate(block["rows"])
    ]
    rows.sort(key=lambda row: row["rank"])
    found = {row["sequence"] for row in rows}
    choices = sorted({*map(str, block["choices"]), *found})
    present = [verdict for verdict in ranks if any(row["verdict"] == verdict for row in rows)]
    return {
        "rows": rows,
        "verdicts": present,
        "sequences": sorted(found),
        "choices": choices,
        "command": str(block["command"]),
    }


BODIES = {
    "text": _text,
    "facts": _facts,
    "table": _table,
    "claims": _claims,
    "thumbnails": _thumbnails,
    "series": _series,
}


def _drawn(block: Mapping[str, Any], small: SmallPrint, name: str) -> dict[str, Any]:
    drawing = figures.draw(block, name=name)
    listed: list[tuple[str, Cell]] = [(str(label), cell(item, small, where=name)) for label, item in drawing.listed]
    return {"drawing": drawing, "listed": listed, "reading": figures.reading(block)}


def picture(folder: Path, name: str, *, where: str) -> str:
    """A PNG inside the folder as a data URI. Refuses paths that leave the folder and files that are no PNG."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"the picture {name!r} lies outside the folder", where=where, finding="outside-folder")
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"no picture {name!r}", where=where, remedy="run it again", finding="missing-file") from None
    if not content.startswith(PNG_START) or len(content) > LARGEST_PNG_BYTES:
        raise InputError(f"{name!r} is not a PNG of at most 4 MB", where=where, finding="not-png")
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
