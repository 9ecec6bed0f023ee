"""Tables on the command line: names of things, metrics of a table of predictions, shell completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from radfoundry import registry
from radfoundry.cli import talk
from radfoundry.records import Estimate, InputError, Predictions


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
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", required=True, help="Column with the truth: 0 and 1, classes, or a quantity.")
@click.option("--score", required=True, multiple=True, help="Column with the score; once per class for classes.")
@click.option("--against", help="Column with another score of the same cases: the paired difference in AUROC.")
@click.option("--patient", help="Column that says which rows are of one patient.")
@click.option("--by", help="Column of subgroups: the metrics once more in each.")
@click.option("--threshold", type=float, default=0.5, show_default=True, help="Scores at or above it count as yes.")
@click.option("--level", type=float, default=0.95, show_default=True, help="Confidence level.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def stats(file: Path, score: tuple[str, ...], against: str | None, as_json: bool, **named: Any) -> None:
    """Metrics with intervals from FILE (CSV or Parquet): AUROC, sensitivity, Brier …, or errors of a quantity."""
    from radfoundry.stats import tables

    columns = read_columns(file)
    options = {key: named.pop(key) for key in ("threshold", "level", "seed")}
    found = tables.metric_table(columns, score=score[0] if len(score) == 1 else score, options=options, **named)
    paired = None if against is None else paired_difference(columns, (score[0], against), options["level"], **named)
    if as_json:
        talk.show_json({"kind": found.kind, "rows": found.to_dicts(), "paired": paired})
        return
    click.echo(found.text())
    if paired is not None:
        click.echo(f"{score[0]} minus {against}, AUROC  {paired.text(3)}  p={paired.p_value:.3f}  ({paired.method})")


def read_columns(file: Path) -> dict[str, Any]:
    """The columns of a CSV or Parquet file as arrays; refuses other files and damaged ones in one line."""
    import pandas as pd

    if not file.is_file():
        raise InputError("no such file", where=str(file), remedy="check the path", finding="missing-file")
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else _read_text(file)
    except (ValueError, OSError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())[:100]
        raise InputError(f"not a table ({detail})", where=str(file), remedy="give CSV or Parquet") from None
    return {str(name): table[name].to_numpy() for name in table.columns}


def _read_text(file: Path) -> Any:
    """A table with commas, semicolons (then with decimal commas) or tabs between the cells, as spreadsheets do."""
    import pandas as pd

    with file.open(encoding="utf-8-sig") as lines:
        first = lines.readline()
    separator = max(",;\t", key=first.count)
    return pd.read_csv(file, sep=separator, decimal="," if separator == ";" else ".", encoding="utf-8-sig")


def paired_difference(
    columns: dict[str, Any], scores: tuple[str, str], level: float, *, target: str, patient: str | None, by: str | None
) -> Estimate:
    """The first score's AUROC minus the second's on the same cases."""
    from radfoundry.stats import auc

    for name in (target, *scores, *([patient] if patient else [])):
        if name not in columns:
            raise registry.unknown("column", name, columns)
    people = None if patient is None else columns[patient]
    one, other = (Predictions.of(columns[target], columns[name], patient=people) for name in scores)
    return auc.auroc_difference(one, other, level=level)


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
