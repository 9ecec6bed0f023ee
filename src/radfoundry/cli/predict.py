"""`radfoundry predict PREDICTOR SCANS…`: words into the settings of the stage."""

from __future__ import annotations

from pathlib import Path

import click

from radfoundry import config as settings
from radfoundry import registry
from radfoundry.cli import talk
from radfoundry.cli.verbs import Verb
from radfoundry.records import InputError


@click.command("predict", cls=Verb, help="Answer about new scans with a fitted model; refuse what it does not fit.")
@click.argument("predictor", metavar="PREDICTOR")
@click.argument("words", nargs=-1, required=True, metavar="SCANS… [key.path=value …]")
@click.option("--to", type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def predict(predictor: str, words: tuple[str, ...], to: Path | None, as_json: bool) -> None:
    """PREDICTOR is a folder written by adapt; SCANS are files and folders, or a cohort."""
    stage = registry.resolve("stages", "predict")
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    scans = [word for word in words if word not in overrides]
    if not scans:
        raise InputError("no scans were given", remedy="radfoundry predict PREDICTOR SCANS… --to OUT")
    if to is not None:
        overrides.append(f"to={to}")
    given = {"predictor": predictor, "scans": scans}
    config = settings.load(stage.Config, given, overrides, where="predict settings")
    with talk.progress() as progress:
        run = stage.run(config, progress=progress)
    talk.finish(run, as_json=as_json)
