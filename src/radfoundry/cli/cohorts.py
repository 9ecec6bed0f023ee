"""Making cohorts: ingest, label, split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from radfoundry import config as settings
from radfoundry import registry
from radfoundry.cli import talk
from radfoundry.cli.verbs import Verb
from radfoundry.records import InputError, counted

LISTED = {"explain": ("file", "reason", "remedy"), "trace": ("series", "patient", "case", "file")}


@click.command("ingest", cls=Verb)
@click.argument("words", nargs=-1, required=True, metavar="SOURCE… [key.path=value …]")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Cohort folder to make or to add to.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="Key of the pseudonyms; made beside the cohort if absent."
)
@click.option("--explain", is_flag=True, help="List on this screen which files were not used, by their real paths.")
@click.option("--trace", is_flag=True, help="List on this screen which series of the cohort is which of your files.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def ingest(words: tuple[str, ...], to: Path, key_file: Path | None, as_json: bool, **asked: bool) -> None:
    """Read folders, files and archives of scans into a cohort.

    Names, dates and identifiers are replaced by keyed pseudonyms. Safe to interrupt: the same command goes on.
    """
    stage = registry.resolve("stages", "ingest")
    overrides = [word for word in words if is_setting(word, stage.Config.model_fields)]
    values = {"sources": [word for word in words if word not in overrides], "to": str(to)}
    if key_file is not None:
        values["key_file"] = str(key_file)
    config = settings.load(stage.Config, values, overrides, where="ingest settings")
    for name, header in LISTED.items():
        if asked[name]:
            _list_files(name, list(getattr(stage, name)(config)), header, as_json=as_json)
    if any(asked.values()):
        return
    with talk.progress() as progress:
        run = stage.run(config, progress=progress)
    if as_json:
        talk.show_json({"cohort": run.path, "fingerprint": run.outputs["cohort"], "notes": run.notes})
        return
    for note in run.notes:
        click.echo(note)
    click.echo(f"fingerprint: {run.outputs['cohort']}")
    click.echo(f"written: {run.path} (look at it: radfoundry show cohort {run.path})")


def _list_files(name: str, rows: list[Any], header: tuple[str, ...], *, as_json: bool) -> None:
    """Show the user's own files on this screen; as a table the files of one folder and reason in one line."""
    from radfoundry.data.traced import by_folder

    said = "These are real paths; they may name patients." if rows else "No file there is listed as not used."
    click.echo(said, err=True)
    if as_json:
        talk.show_json({name: [dict(zip(header, row, strict=True)) for row in rows]})
    else:
        talk.show_table(by_folder(rows) if name == "explain" else rows, header=header)


def is_setting(word: str, fields: Any) -> bool:
    """Whether a word is `key=value` for a setting there is, rather than the path of a source."""
    key, sign, _ = word.partition("=")
    return bool(sign) and (key.split(".")[0] in fields or not Path(word).exists())


@click.command("label")
@click.argument("cohort", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--on",
    type=click.Choice(["patient", "case", "series"]),
    default="patient",
    show_default=True,
    help="What one row of the table stands for.",
)
@click.option("--key-column", help="Column that names the patient, case or series; default: the first.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Key of the pseudonyms, if not beside the cohort.")
@click.option("--allow-missing", is_flag=True, help="Leave out rows about patients who are not in the cohort.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def label(cohort: Path, table: Path, as_json: bool, **named: Any) -> None:
    """Add the columns of TABLE (CSV or Parquet) to COHORT; patient IDs of your hospital are turned into pseudonyms."""
    from radfoundry.data import labels

    result = labels.label(cohort, table, **named)
    if as_json:
        talk.show_json(result)
        return
    columns = [f"{name} ({kind})" for name, kind in result["columns"].items()]
    click.echo(f"taken: {', '.join(columns)}")
    click.echo(f"labelled: {result['labelled']} ({'series' if named['on'] == 'series' else named['on'] + 's'})")
    for name in ("unknown", "left out"):
        if result[name]:
            click.echo(f"{name} ({len(result[name])}): {registry.listed(map(str, result[name]), most=12)}")
    for note in result["notes"]:
        click.echo(f"note: {note}")


@click.command("split")
@click.argument("cohort", type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=click.Choice(["patient", "site", "date", "table"]),
    default="patient",
    show_default=True,
    help="What must not be in two parts at once.",
)
@click.option("--name", default="default", show_default=True, help="Name of the split.")
@click.option("--test", type=float, help="Share of patients in the test part (by patient).")
@click.option("--validation", type=float, help="Share of patients in the validation part (by patient).")
@click.option("--stratify-by", help="Label whose shares are kept alike in all parts (by patient).")
@click.option("--seed", type=int, help="Seed of the draw (by patient).")
@click.option("--test-sites", help="Sites of the test part, comma-separated (by site).")
@click.option("--validation-sites", help="Sites of the validation part, comma-separated (by site).")
@click.option("--test-from", help="First day of the test part, YYYY-MM-DD (by date).")
@click.option("--validation-from", help="First day of the validation part, YYYY-MM-DD (by date).")
@click.option("--table", type=click.Path(path_type=Path), help="CSV with columns case or patient, and part (by table).")
@click.option("--key-file", type=click.Path(path_type=Path), help="Key of the pseudonyms, if not beside the cohort.")
@click.option("--ignore-near-duplicates", is_flag=True, help="Do not keep near-duplicate images on one side.")
@click.option("--replace", is_flag=True, help="Replace a split of the same name.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def split(cohort: Path, by: str, name: str, as_json: bool, **named: Any) -> None:
    """Divide COHORT into parts; a patient, or a near-duplicate image, in two parts is an error."""
    from radfoundry.data import cohort as cohorts

    counts = cohorts.split(
        cohort,
        name=name,
        by=by,
        near_duplicates=not named.pop("ignore_near_duplicates"),
        replace_existing=named.pop("replace"),
        **split_options(cohort, by, named),
    )
    together = cohorts.kept_together(cohort, name)
    if as_json:
        talk.show_json({"split": name, "cases": counts, "kept_together": together})
        return
    for part, count in counts.items():
        click.echo(f"{part}: {counted(count, 'case')}")
    outside = len(cohorts.open_cohort(cohort)) - sum(counts.values())
    if outside:
        click.echo(f"in no part: {counted(outside, 'case')}")
    click.echo(f"kept together because they share an image, accession number or series: {counted(together, 'group')}")


def split_options(cohort: Path, by: str, named: dict[str, Any]) -> dict[str, Any]:
    """The options of one way to split; an option of another way is refused by name."""
    known = {
        "patient": ("test", "validation", "stratify_by", "seed"),
        "site": ("test_sites", "validation_sites"),
        "date": ("test_from", "validation_from"),
        "table": ("table", "key_file"),
    }[by]
    given = {key: value for key, value in named.items() if value is not None}
    foreign = sorted(set(given) - set(known))
    if foreign:
        listed = ", ".join(f"--{key.replace('_', '-')}" for key in foreign)
        raise InputError(f"{listed} does not go with --by {by}", remedy="see radfoundry split --help")
    needed = {"site": "test_sites", "date": "test_from"}.get(by)
    if needed and needed not in given:
        said = "the sites" if by == "site" else "the first day"
        raise InputError(
            f"--{needed.replace('_', '-')} is missing", where=f"--by {by}", remedy=f"name {said} of the test part"
        )
    if by == "patient":
        shares = {key: given.pop(key) for key in ("test", "validation") if key in given}
        if shares:
            test, validation = shares.get("test", 0.2), shares.get("validation", 0.0)
            parts = {"train": 1 - test - validation, "validation": validation, "test": test}
            given["parts"] = {name: share for name, share in parts.items() if share}
        return given
    if by == "site":
        return {key: tuple(str(value).split(",")) for key, value in given.items()}
    if by == "table":
        from radfoundry.data.split_tables import read_assignment

        return {"assignment": read_assignment(cohort, given.get("table"), key_file=given.get("key_file"))}
    return given
