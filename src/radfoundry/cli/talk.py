"""How the command line talks: progress to stderr, results to stdout, as text or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from radfoundry import runs
from radfoundry.records import Estimate, Run

SECONDS_BETWEEN_LINES = 5.0
Progress = Callable[..., None]


@contextmanager
def progress() -> Generator[Progress]:
    """A callback `(what, done, total, detail="")`: bars on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        with _bars() as callback:
            yield callback
    else:
        yield _lines()


@contextmanager
def _bars() -> Generator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    known: dict[str, Any] = {}
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:

        def callback(what: str, done: int, total: int, detail: str = "") -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done, total=total, description=f"{what} {detail}".strip())

        yield callback


def _lines() -> Progress:
    last: dict[str, float] = {}
    finished: set[str] = set()

    def callback(what: str, done: int, total: int, detail: str = "") -> None:
        now, whole = time.monotonic(), done >= total > 0
        if (whole and what not in finished) or now - last.get(what, now) >= SECONDS_BETWEEN_LINES:
            line = f"{what}: {done} of {total}" if total else f"{what}: {done}"
            click.echo(f"{line}, {detail}" if detail else line, err=True)
            last[what] = now
        last.setdefault(what, now)
        if whole:
            finished.add(what)

    return callback


def show_table(rows: Sequence[Sequence[Any]], *, header: Sequence[str]) -> None:
    """Columns of text on stdout, wide enough for what they hold."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(len(row[index]) for row in [list(header), *cells]) for index in range(len(header))]
    for row in [list(header), ["-" * width for width in widths], *cells]:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def show_json(value: Any) -> None:
    """Any result as JSON on stdout; what is not a number is null."""
    click.echo(json.dumps(runs.plain(value), indent=1, sort_keys=True))


def show_estimates(estimates: Mapping[str, Estimate]) -> None:
    """Numbers with their doubt, one per line."""
    rows = [[name, value.text(3), value.method, value.n] for name, value in estimates.items()]
    show_table(rows, header=("measure", "value (95 % interval)", "method", "n"))


def finish(run: Run, *, as_json: bool) -> Run:
    """Draw the report of a run, print its numbers, and say where everything is."""
    from radfoundry.web import report

    page = report.write_report(Path(run.path)) if (Path(run.path) / "blocks.json").exists() else None
    if as_json:
        show_json({"run": run.path, "report": page, "stage": run.stage, "metrics": run.metrics, "notes": run.notes})
        return run
    show_estimates(run.metrics)
    for note in run.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"written: {run.path}")
    if page is not None:
        click.echo(f"report:  {page}")
    return run
