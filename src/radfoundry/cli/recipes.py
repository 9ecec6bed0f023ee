"""Recipes and runs: run, rerun, compare, check."""

from __future__ import annotations

from pathlib import Path

import click

from radfoundry import config as settings
from radfoundry import registry, runs
from radfoundry.cli import talk
from radfoundry.cli.verbs import read_words
from radfoundry.records import Estimate, InputError, Run


@click.command("run")
@click.argument("recipe")
@click.argument("words", nargs=-1, metavar="[key.path=value …]")
@click.option("--scale", default="tiny", show_default=True, help="tiny, small or full.")
@click.option("--to", type=click.Path(path_type=Path), help="Folder to work in; finished steps there are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def run(recipe: str, words: tuple[str, ...], scale: str, to: Path | None, as_json: bool) -> int:
    """Run a RECIPE with its claims and controls; exit 1 when one of them does not hold."""
    from radfoundry.recipes import runner

    loaded = runner.load(recipe, words)
    name = Path(recipe).stem
    folder = to or Path("runs") / f"{name}-{scale}-{runs.digest(runner.scaled(loaded, scale).model_dump())[:8]}"
    with talk.progress() as progress:
        finished = runner.run(loaded, name=name, scale=scale, to=folder, progress=progress)
    talk.finish(finished, as_json=as_json)
    return 0 if runner.all_met(folder) else 1


@click.command("rerun")
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="Folder of the new run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def rerun(path: Path, to: Path | None, as_json: bool) -> int:
    """Repeat a RUN with its own settings and compare the numbers bit for bit; exit 1 when they differ."""
    old = runs.read(path)
    with talk.progress() as progress:
        new = _repeat(old, to, progress)
    apart = runs.differences(old.path, new.path)
    if as_json:
        talk.show_json({"run": new.path, "identical": not apart, "differences": apart})
    else:
        for line in apart:
            click.echo(line)
        click.echo(f"written: {new.path}")
        same = len(runs.read_record(new.path)["metrics"])
        click.echo(f"{len(apart)} differences" if apart else f"identical: {same} numbers and all output files")
    return 1 if apart else 0


def _repeat(old: Run, to: Path | None, progress: talk.Progress) -> Run:
    folder = to or runs.free_folder(f"{Path(old.path).resolve().name}-rerun")
    if old.stage == "recipe":
        from radfoundry.recipes import runner

        asked = old.config
        recipe = settings.check(runner.Recipe, asked["settings"], where=f"{old.path}/run.json")
        return runner.run_scaled(recipe, name=asked["recipe"], scale=asked["scale"], to=folder, progress=progress)
    stage = registry.resolve("stages", old.stage)
    config = settings.check(stage.Config, {**old.config, "to": str(folder)}, where=f"{old.path}/run.json")
    return stage.run(config, progress=progress)


@click.command("compare")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Put the numbers and settings of two runs side by side; paired where both answered the same patients."""
    one, other = runs.read(first), runs.read(second)
    paired = _paired(first, second)
    changed = {
        key: [one.config.get(key), other.config.get(key)]
        for key in sorted(set(one.config) | set(other.config))
        if one.config.get(key) != other.config.get(key)
    }
    names = [name for name in one.metrics if name in other.metrics]
    if as_json:
        both = {name: [one.metrics[name], other.metrics[name]] for name in names}
        talk.show_json({"metrics": both, "paired": paired, "settings": changed})
        return
    rows = [[name, one.metrics[name].text(3), other.metrics[name].text(3)] for name in names]
    if rows:
        talk.show_table(rows, header=("measure", str(first), str(second)))
    else:
        click.echo("no measure stands in both runs")
    if paired is not None:
        click.echo(f"\npaired difference, first minus second: {paired.text(3)} ({paired.method}, n={paired.n})")
    for key, (left, right) in changed.items():
        click.echo(f"setting {key}: {left} against {right}")


def _paired(first: Path, second: Path) -> Estimate | None:
    """The paired difference in AUROC, when both runs kept yes-or-no predictions of the same cases."""
    tables = [path / "predictions.parquet" for path in (first, second)]
    if not all(table.is_file() for table in tables):
        return None
    from radfoundry.stats import auc
    from radfoundry.tasks import probe

    one, other = (probe.read_predictions(table) for table in tables)
    same = len(one) == len(other) and (one.case == other.case).all() and (one.target == other.target).all()
    if not same or one.score.ndim > 1 or set(one.target.tolist()) != {0, 1}:
        return None
    return auc.auroc_difference(one, other)


@click.command("check")
@click.argument("what", metavar="RECIPE|VERB")
@click.argument("words", nargs=-1, metavar="[CONFIG.yaml] [key.path=value …]")
@click.option("--scale", default="tiny", show_default=True, help="Scale of a recipe: tiny, small or full.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(what: str, words: tuple[str, ...], scale: str, as_json: bool) -> None:
    """Validate a RECIPE, or the settings of a VERB, and print the plan and its forecast; costs nothing."""
    if what in registry.entries("stages"):
        stage = registry.resolve("stages", what)
        source, overrides = read_words(words)
        config = settings.load(stage.Config, source, overrides, where=f"{what} settings")
        lines = [f"{key}: {value}" for key, value in config.model_dump(mode="json").items()]
        forecast_of = getattr(stage, "forecast", None)
        lines += forecast_of(config) if forecast_of is not None else []
    else:
        from radfoundry.recipes import forecast, runner

        recipe = runner.scaled(runner.load(what, words), scale)
        lines = [*runner.plan(recipe), *forecast.forecast(recipe)]
    if as_json:
        talk.show_json({"valid": True, "plan": lines})
        return
    for line in lines:
        click.echo(line)
    click.echo("valid")


def require_folder(path: Path) -> Path:
    """A folder that is there; anything else is refused."""
    if not path.is_dir():
        raise InputError("no such folder", where=str(path), remedy="check the path", finding="missing-file")
    return path
