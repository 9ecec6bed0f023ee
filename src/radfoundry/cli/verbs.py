"""Verbs as commands: `radfoundry VERB [CONFIG.yaml] [key.path=value …]` is `stages.VERB.run(Config)`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from radfoundry import config as settings
from radfoundry import registry
from radfoundry.cli import talk
from radfoundry.records import InputError


class Verb(click.Command):
    """A command whose help lists the settings of its stage."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every setting with its default and meaning, taken from the stage's Config."""
        fields = registry.resolve("stages", str(self.name)).Config.model_fields
        rows = [(f"{name}={default_text(item)}", item.description or "") for name, item in fields.items()]
        with formatter.section("Settings (key=value)"):
            formatter.write_dl(rows)


def default_text(item: Any) -> str:
    """A setting's default as it would be typed; `…` where one has to be given."""
    if item.is_required():
        return "…"
    value = item.get_default(call_default_factory=True)
    if isinstance(value, list):
        return "[" + ", ".join(default_of(part) for part in value) + "]"
    return default_of(value)


def default_of(value: Any) -> str:
    """One default value: a component shows its name."""
    return str(getattr(value, "name", value)) if value is not None else ""


def read_words(words: tuple[str, ...], kinds: tuple[str, ...] = ()) -> tuple[str | None, list[str]]:
    """A settings file, if the first word is one, and the `key=value` words; `plan labels` says what=labels."""
    if words and words[0] in kinds:
        source, overrides = read_words(words[1:])
        return source, [f"what={words[0]}", *overrides]
    if words and kinds and "=" not in words[0] and not Path(words[0]).suffix and not Path(words[0]).exists():
        raise registry.unknown("action", words[0], kinds)
    if words and "=" not in words[0]:
        if Path(words[0]).is_dir():
            raise InputError(
                "is a folder, where a settings file may stand", where=words[0], remedy=f"a cohort is cohort={words[0]}"
            )
        return words[0], list(words[1:])
    return None, list(words)


def verb(name: str, about: str) -> click.Command:
    """The command of one verb."""

    @click.command(name, cls=Verb, help=about)
    @click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [key.path=value …]")
    @click.option("--to", type=click.Path(path_type=Path), help="Folder to write.")
    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    def command(words: tuple[str, ...], to: Path | None, as_json: bool) -> None:
        stage = registry.resolve("stages", name)
        source, overrides = read_words(words, getattr(stage, "KINDS", ()))
        if to is not None:
            overrides.append(f"to={to}")
        config = settings.load(stage.Config, source, overrides, where=f"{name} settings")
        with talk.progress() as progress:
            run = stage.run(config, progress=progress)
        if os.environ.get("RANK", "0") == "0":  # of processes started by torchrun, one talks
            talk.finish(run, as_json=as_json)

    return command


pretrain = verb("pretrain", "Teach an encoder from images alone, on simulated patients or on a cohort.")
curate = verb(
    "curate",
    "Say what every series is (types), whether it is good enough (quality), or which input it is to be (slots).",
)
embed = verb("embed", "Turn every series of a cohort into features with a frozen encoder.")
adapt = verb("adapt", "Fit a head on frozen features and say how well it answers.")
benchmark = verb("benchmark", "Compare encoders on one question, patient by patient.")
rate = verb("rate", "Teach a small network to score image quality as people do, from few scored scans.")
plan = verb("plan", "How many labels are needed to reach a target, with the doubt.")


@click.command("simulate", cls=Verb, help="Make a cohort of simulated patients with known truth.")
@click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [key.path=value …]")
@click.option("--cohort", help="Which simulated cohort (radfoundry list cohorts).")
@click.option("--cases", type=int, help="How many patients.")
@click.option("--seed", type=int, help="The seed everything is drawn from.")
@click.option("--to", type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def simulate(words: tuple[str, ...], as_json: bool, **named: Any) -> None:
    """Options are short for the settings of the same name."""
    stage = registry.resolve("stages", "simulate")
    source, overrides = read_words(words)
    # The short options come first: a later cohort=NAME would drop the options given as cohort.OPTION=VALUE.
    given = {"cohort.name" if key == "cohort" else key: value for key, value in named.items() if value is not None}
    overrides = [*(f"{key}={value}" for key, value in given.items()), *overrides]
    config = settings.load(stage.Config, source, overrides, where="simulate settings")
    with talk.progress() as progress:
        made = stage.run(config, progress=progress)
    summary = made if isinstance(made, dict) else {"cohort": str(made)}
    if as_json:
        talk.show_json(summary)
    else:
        for key, value in summary.items():
            click.echo(f"{key}: {value}")
