"""Looking at things: `radfoundry show cohort|run|recipe|verb|encoder NAME`, and the page server."""

from __future__ import annotations

from pathlib import Path

import click

from radfoundry import registry, runs
from radfoundry.cli import talk


@click.group("show")
def show() -> None:
    """Look at a cohort, a run, a recipe, an encoder, or the settings of a verb."""


@show.command("cohort")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--page", type=click.Path(path_type=Path), help="Where to write the page; default COHORT/cohort.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def cohort(path: Path, page: Path | None, as_json: bool) -> None:
    """Counts by modality, sequence, vendor and site, missing fields, and a page of thumbnails."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.data import summary
    from radfoundry.records import counted
    from radfoundry.web import report

    opened = cohorts.open_cohort(path)
    counts = summary.summarise(opened)
    pictures = path / "cache" / "page"
    written = report.write_page(
        summary.cohort_blocks(opened, pictures),
        title="Cohort",
        subtitle=f"{counted(len(opened.patients), 'patient')}, {counted(len(opened), 'exam')}, "
        f"{len(opened.series)} series",
        folder=pictures,
        to=page or path / "cohort.html",
    )
    if as_json:
        talk.show_json({"cohort": str(path), "fingerprint": opened.fingerprint, "counts": counts, "page": written})
        return
    for title, table in counts.items():
        click.echo(f"\n{title}")
        if isinstance(table, dict):
            talk.show_table([[name, value] for name, value in table.items()], header=(title, "count"))
        else:
            click.echo(str(table))
    click.echo(f"\nfingerprint: {opened.fingerprint}\npage: {written}")


@show.command("run")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(path: Path, as_json: bool) -> None:
    """The numbers, settings and inputs of a run folder; draws its report again."""
    talk.finish(runs.read(path), as_json=as_json)


@show.command("recipe")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def recipe(name: str, as_json: bool) -> None:
    """What a recipe does, what it claims and where it comes from."""
    import yaml

    from radfoundry.recipes import runner

    loaded = runner.load(name).model_dump(mode="json", exclude_none=True)
    if as_json:
        talk.show_json(loaded)
    else:
        click.echo(yaml.safe_dump(loaded, sort_keys=False, allow_unicode=True, width=100).rstrip())


@show.command("verb")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verb(name: str, as_json: bool) -> None:
    """The settings of a verb with types, defaults and meaning."""
    from radfoundry.cli.verbs import default_text

    fields = registry.resolve("stages", name).Config.model_fields
    rows = [[key, default_text(item), item.description or ""] for key, item in fields.items()]
    if as_json:
        talk.show_json([dict(zip(("setting", "default", "meaning"), row, strict=True)) for row in rows])
    else:
        talk.show_table(rows, header=("setting", "default", "meaning"))


@show.command("encoder")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def encoder(name: str, as_json: bool) -> None:
    """What an encoder reads, its options, where its weights come from and under which licence."""
    import dataclasses
    import inspect

    from radfoundry.nets import cards

    card = {key: value for key, value in dataclasses.asdict(cards.card(name)).items() if value}
    options = inspect.signature(registry.resolve("encoders", name)).parameters
    card["options"] = ", ".join(f"{item.name}={item.default!r}" for item in options.values()) or "none"
    if as_json:
        talk.show_json(card)
    else:
        talk.show_table([[key, value] for key, value in card.items()], header=("", ""))


@click.command("serve")
@click.argument("folder", metavar="RUNS", default="runs", type=click.Path(path_type=Path))
@click.option("--port", type=int, default=8765, show_default=True, help="Port on this machine.")
def serve(folder: Path, port: int) -> None:
    """Browse the runs in a folder at http://127.0.0.1:PORT; reachable from this machine only."""
    from radfoundry.web import serve as server

    said = f"http://127.0.0.1:{port} shows {folder}; stop with Ctrl-C"
    server.serve(folder, port=port, ready=lambda: click.echo(said, err=True))
