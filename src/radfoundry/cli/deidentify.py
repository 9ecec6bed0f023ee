"""The command `deidentify`: files of patients in, the same files without identity out."""

from __future__ import annotations

from pathlib import Path

import click

from radfoundry import config as settings
from radfoundry import registry
from radfoundry.cli import talk
from radfoundry.cli.cohorts import is_setting
from radfoundry.cli.verbs import Verb


@click.command("deidentify", cls=Verb)
@click.argument("words", nargs=-1, required=True, metavar="SOURCE… [key.path=value …]")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Key of the pseudonyms; made beside TO if absent.")
@click.option("--explain", is_flag=True, help="List on this screen which files were rejected, by their real paths.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def deidentify(words: tuple[str, ...], to: Path, key_file: Path | None, explain: bool, as_json: bool) -> None:
    """Write the files below SOURCE without anything that tells who, where or when (DICOM PS3.15 Annex E).

    What cannot be read or has no rule is rejected, never copied. Safe to interrupt: the same command goes on.
    """
    stage = registry.resolve("stages", "deidentify")
    overrides = [word for word in words if is_setting(word, stage.Config.model_fields)]
    values = {"sources": [word for word in words if word not in overrides], "to": str(to)}
    if key_file is not None:
        values["key_file"] = str(key_file)
    config = settings.load(stage.Config, values, overrides, where="deidentify settings")
    if explain:
        click.echo("These are real paths; they may name patients.", err=True)
        talk.show_table(list(stage.explain(config)), header=("file", "reason", "remedy"))
        return
    with talk.progress() as progress:
        run = stage.run(config, progress=progress)
    if as_json:
        talk.show_json({"folder": run.path, "notes": run.notes})
        return
    for note in run.notes:
        click.echo(note)
    click.echo(f"written: {run.path}")
