"""One self-contained page per run or cohort: what was run, on whom, with what result, and how to run it again."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from radfoundry import runs
from radfoundry.records import InputError
from radfoundry.web.blocks import View, views
from radfoundry.web.numbers import estimate_text, estimates_in

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = "report.html"
BLOCKS = "blocks.json"
SCRIPTS = ("sort.js", "series.js")
# What a setting is called that says what a run was about, most telling first.
TELLING = ("recipe", "what", "task", "name", "encoder", "objective")


def write_report(run_folder: str | Path) -> Path:
    """Draw the page of a finished run as `report.html` in its folder, and give its path back.

    The page shows the blocks that the run left in `blocks.json`, then its provenance. It refers to no
    other file and comes out the same byte for byte on every call. Refuses a folder without a run
    record, an unknown kind of block, and a bare number without an interval.
    """
    folder = Path(run_folder)
    return _write(folder / PAGE, render_report(folder))


def render_report(run_folder: str | Path) -> str:
    """The page of a finished run as text; see `write_report`."""
    folder = Path(run_folder)
    record = runs.read_record(folder)
    blocks = _blocks_of(folder)
    shown = {estimate_text(item) for item in estimates_in(blocks)}
    metrics = record["metrics"]
    left = {
        name: item
        for name, item in metrics.items()
        if not all(estimate_text(found) in shown for found in estimates_in(item))
    }
    if left:
        blocks = [*blocks, _metrics_block(left, alone=len(left) == len(metrics))]
    return _render(
        blocks,
        folder=folder,
        title=_title(record),
        subtitle=_subtitle(record),
        provenance=_provenance(folder, record),
    )


def write_page(
    blocks: Sequence[Mapping[str, Any]], *, title: str, subtitle: str, folder: str | Path, to: str | Path
) -> Path:
    """Write the same kind of page from blocks alone, for example for a cohort; pictures are read from `folder`."""
    return _write(Path(to), _render(blocks, folder=Path(folder), title=title, subtitle=subtitle, provenance=None))


def _write(path: Path, text: str) -> Path:
    with runs.atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def _render(
    blocks: Sequence[Mapping[str, Any]],
    *,
    folder: Path,
    title: str,
    subtitle: str,
    provenance: Mapping[str, Any] | None,
) -> str:
    shown = views(blocks, folder=folder)
    lead: View | None = None
    if shown and shown[0].kind == "text" and shown[0].title.lower() == "summary":
        lead, shown = shown[0], shown[1:]
    groups = [(compact, list(group)) for compact, group in itertools.groupby(shown, key=lambda view: view.compact)]
    shared = {"title": title, "subtitle": subtitle, "lead": lead, "provenance": provenance}
    return render("page.html", sections=shown, groups=groups, **shared)


def render(template: str, **values: Any) -> str:
    """A template as a page. Its policy lets the page load nothing and run nothing but its own scripts."""
    environment = _environment()
    script = "".join(environment.get_template(name).render() for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template(template).render(**values, script=script, script_digest=digest)
    return text.rstrip() + "\n"


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("radfoundry.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _blocks_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / BLOCKS
    try:
        blocks = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not valid JSON ({error})", where=str(path), remedy="run it again") from None
    if not isinstance(blocks, list):
        raise InputError("is not a list of blocks", where=str(path), remedy="see docs/report.md")
    return blocks


def _metrics_block(metrics: Mapping[str, Any], *, alone: bool) -> dict[str, Any]:
    return {
        "kind": "table",
        "title": "Numbers" if alone else "Other numbers recorded",
        "note": "",
        "columns": [{"key": "name", "label": "Measure"}, {"key": "value", "label": "Value (interval)"}],
        "rows": [{"name": name, "value": value} for name, value in sorted(metrics.items())],
    }


def telling(record: Mapping[str, Any]) -> str:
    """What a run was about, from its settings: the recipe, the task, or the encoder."""
    for key in TELLING:
        value = record["config"].get(key)
        value = value.get("name") if isinstance(value, Mapping) else value
        if isinstance(value, str) and value:
            return value
    return ""


def _title(record: Mapping[str, Any]) -> str:
    stage, about = str(record["stage"]).capitalize(), telling(record)
    return f"{stage}: {about}" if about else stage


def when(record: Mapping[str, Any]) -> str:
    """When a run was started, in universal time; empty where it was not recorded."""
    started = record.get("started")
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d %H:%M UTC") if started is not None else ""


def _subtitle(record: Mapping[str, Any]) -> str:
    words = [f"radfoundry {record['stage']}", when(record), f"seed {record['seed']}"]
    return " · ".join(word for word in words if word)


def _provenance(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    recorded = record["outputs"].get(BLOCKS)
    changed = recorded is not None and (folder / BLOCKS).exists() and runs.digest_file(folder / BLOCKS) != recorded
    return {
        "settings": yaml.safe_dump(record["config"], sort_keys=False, allow_unicode=True, width=100).rstrip(),
        "seed": record["seed"],
        "started": when(record),
        "seconds": f"{record['seconds']:.1f} s" if "seconds" in record else "",
        "versions": sorted(record["versions"].items()),
        "inputs": sorted(record["inputs"].items()),
        "outputs": sorted(record["outputs"].items()),
        "notes": list(record["notes"]),
        "folder": folder.resolve().name,
        "changed": changed,
    }
