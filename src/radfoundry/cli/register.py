"""`radfoundry register MOVING FIXED`: words into the settings of the stage."""

from __future__ import annotations

from pathlib import Path

import click

from radfoundry import config as settings
from radfoundry import registry
from radfoundry.cli import talk
from radfoundry.cli.verbs import Verb


@click.command("register", cls=Verb, help="Bring one volume onto another; say how well it holds and what changed.")
@click.argument("moving", metavar="MOVING")
@click.argument("fixed", metavar="FIXED")
@click.argument("words", nargs=-1, metavar="[key.path=value …]")
@click.option("--to", type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def register(moving: str, fixed: str, words: tuple[str, ...], to: Path | None, as_json: bool) -> None:
    """MOVING and FIXED are files, folders of one DICOM series, or with cohort=FOLDER two series keys."""
    stage = registry.resolve("stages", "register")
    overrides = [*words, *([] if to is None else [f"to={to}"])]
    config = settings.load(stage.Config, {"moving": moving, "fixed": fixed}, overrides, where="register settings")
    with talk.progress() as progress:
        run = stage.run(config, progress=progress)
    talk.finish(run, as_json=as_json)
