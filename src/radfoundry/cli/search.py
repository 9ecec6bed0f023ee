"""`radfoundry search INDEX SCANS…`: words into the settings of the stage."""

from __future__ import annotations

from pathlib import Path

import click

from radfoundry import config as settings
from radfoundry import registry
from radfoundry.cli import talk
from radfoundry.cli.verbs import Verb
from radfoundry.records import InputError


@click.command("search", cls=Verb, help="Find the most similar images of other patients for new scans.")
@click.argument("index", metavar="INDEX")
@click.argument("words", nargs=-1, required=True, metavar="SCANS… [key.path=value …]")
@click.option("--to", type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def search(index: str, words: tuple[str, ...], to: Path | None, as_json: bool) -> None:
    """INDEX is a folder written by embed; SCANS are files and folders, or a cohort."""
    stage = registry.resolve("stages", "search")
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    scans = [word for word in words if word not in overrides]
    if not scans:
        raise InputError("no scans were given", remedy="radfoundry search INDEX SCANS… --to OUT")
    if to is not None:
        overrides.append(f"to={to}")
    config = settings.load(stage.Config, {"index": index, "scans": scans}, overrides, where="search settings")
    with talk.progress() as progress:
        run = stage.run(config, progress=progress)
    talk.finish(run, as_json=as_json)
