"""The `radfoundry` command: which words there are, and what an error becomes."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

# name -> where the command lives, one line of help; a command is imported only when it is used.
COMMANDS = {
    "simulate": ("radfoundry.cli.verbs:simulate", "Make a cohort of simulated patients with known truth."),
    "deidentify": ("radfoundry.cli.deidentify:deidentify", "Write scans that no longer tell who, where or when."),
    "ingest": ("radfoundry.cli.cohorts:ingest", "Read a folder of scans into a cohort."),
    "label": ("radfoundry.cli.cohorts:label", "Add a table of labels to a cohort."),
    "curate": (
        "radfoundry.cli.verbs:curate",
        "What is each series, is it good enough, and which input of a model is it?",
    ),
    "split": ("radfoundry.cli.cohorts:split", "Divide a cohort into parts without leaks."),
    "pretrain": ("radfoundry.cli.verbs:pretrain", "Teach an encoder from images alone."),
    "embed": ("radfoundry.cli.verbs:embed", "Turn every series into features with a frozen encoder."),
    "search": ("radfoundry.cli.search:search", "Find the most similar images of other patients."),
    "adapt": ("radfoundry.cli.verbs:adapt", "Fit a head on frozen features and measure it."),
    "predict": ("radfoundry.cli.predict:predict", "Answer about new scans with a fitted model."),
    "rate": ("radfoundry.cli.verbs:rate", "Learn to score image quality from few scored scans."),
    "register": ("radfoundry.cli.register:register", "Bring one volume onto another; what changed between visits."),
    "benchmark": ("radfoundry.cli.verbs:benchmark", "Compare encoders, questions and pipelines, patient by patient."),
    "plan": ("radfoundry.cli.verbs:plan", "How many labels are needed, with the doubt."),
    "stats": ("radfoundry.cli.tables:stats", "Metrics with intervals from a table of predictions."),
    "run": ("radfoundry.cli.recipes:run", "Run a recipe: a published system with its claims and controls."),
    "rerun": ("radfoundry.cli.recipes:rerun", "Repeat a run and compare it bit for bit."),
    "compare": ("radfoundry.cli.recipes:compare", "Put two runs side by side."),
    "check": ("radfoundry.cli.recipes:check", "Validate settings and print the plan; costs nothing."),
    "list": ("radfoundry.cli.tables:list_", "Names of encoders, heads, tasks, recipes and more."),
    "show": ("radfoundry.cli.show:show", "Look at a cohort, a run, a recipe or a verb's settings."),
    "serve": ("radfoundry.cli.show:serve", "Browse run folders in a web page on this machine."),
    "doctor": ("radfoundry.cli.doctor:doctor", "Check this installation."),
    "completion": ("radfoundry.cli.tables:completion", "Print the shell completion script."),
}


class Commands(click.Group):
    """A group whose commands are imported when they are called, so that help answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; an unknown one names the nearest."""
        if cmd_name not in COMMANDS:
            from radfoundry.registry import unknown

            raise unknown("command", cmd_name, COMMANDS, remedy="radfoundry --help")
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line per command, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="radfoundry", message="radfoundry %(version)s")
@click.option("--debug", is_flag=True, help="Print the full trace of an internal error.")
def group(debug: bool) -> None:
    """Radiology foundation models, from a folder of scans to a measured model.

    Every number comes with its uncertainty. Research software, not a medical device.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit 0 good, 1 an expectation failed, 2 your input, 3 our bug, 130 interrupted."""
    sys.exit(exit_code(list(sys.argv[1:] if arguments is None else arguments)))


def exit_code(arguments: list[str]) -> int:
    """Run the words given and say how it went as an exit code; errors become one line on stderr."""
    try:
        result = group.main(args=arguments, prog_name="radfoundry", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "radfoundry"
        return _say(f"{error.format_message()} (see {where} --help)", 2)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted; the same command again goes on from what is finished", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the one place where an error becomes an exit code
        return _problem(error, debug="--debug" in arguments)
    return result if isinstance(result, int) else 0


def _problem(error: Exception, *, debug: bool) -> int:
    from radfoundry.records import InputError  # here, so that help does not wait for numpy

    if isinstance(error, InputError):
        return _say(str(error), 2)
    if isinstance(error, OSError):
        return _say(system_problem(error), 2)
    if debug:
        traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return _say(f"internal error at {where} ({type(error).__name__}); please report it (radfoundry --debug …)", 3)


def system_problem(error: OSError) -> str:
    """What the operating system refused, in a line a user can act on."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{where}no space left to write; free some and give the same command again"
    return f"{where}{(error.strerror or str(error)).lower()}; check the path and its permissions"


def _say(text: str, code: int) -> int:
    click.echo(f"radfoundry: {text}", err=True)
    return code
