"""Tables on the command line: names of things, metrics of a table of predictions, shell completion."""

from __future__ import annotations

from typing import Any

import click

from radfoundry import registry
from radfoundry.cli import talk


@click.command("list")
@click.argument("table", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def list_(table: str | None, as_json: bool) -> None:
    """Names in a TABLE: encoders, heads, tasks, cohorts, recipes and more; without TABLE, all of them."""
    known = {name: sorted(registry.entries(name)) for name in registry.TABLES}
    from radfoundry.recipes import runner

    known["recipes"] = runner.names()
    if table is not None and table not in known:
        raise registry.unknown("table", table, known)
    chosen = known if table is None else {table: known[table]}
    if as_json:
        talk.show_json(chosen)
        return
    for name, entries in chosen.items():
        click.echo(f"{name}: {', '.join(entries)}" if table is None else "\n".join(entries))


@click.command("stats")
@click.argument("file", type=click.Path())
@click.option("--target", required=True, help="Column with the truth: 0 and 1, classes, or a quantity.")
@click.option(
    "--score", "scores", required=True, multiple=True, help="Column with the score; give it twice to compare."
)
@click.option("--patient", help="Column that says which rows are of one patient.")
@click.option("--by", help="Column of subgroups: the metrics once more in each.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def stats(file: str, as_json: bool, **columns: Any) -> None:
    """Metrics with intervals from FILE (CSV or Parquet): AUROC, sensitivity, Brier …, or errors of a quantity."""
    from radfoundry.cli import prediction_tables

    found = prediction_tables.metrics(file, **columns)
    if as_json:
        talk.show_json(found)
        return
    for title, estimates in found.items():
        if title:
            click.echo(f"\n{title}")
        talk.show_estimates(estimates)


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL; for bash: `eval "$(radfoundry completion bash)"`."""
    from click.shell_completion import get_completion_class

    from radfoundry.cli.main import group

    maker = get_completion_class(shell)
    if maker is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(maker(group, {}, "radfoundry", "_RADFOUNDRY_COMPLETE").source())
