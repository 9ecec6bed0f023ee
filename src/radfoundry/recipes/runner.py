"""The recipe runner: make or take a cohort, run the steps, judge the claims and the controls, write one report."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from radfoundry import config as settings
from radfoundry import registry, runs
from radfoundry.config import Component, Settings
from radfoundry.recipes.expectations import Control, Expectation, Verdict, judge
from radfoundry.records import Estimate, InputError, Run

Progress = Callable[[str, int, int], None]
SUFFIX = ".yaml"
PRETRAINED = "pretrained"  # as the name of an encoder: what the recipe's own pretraining step made
HERE = "here"  # as the cohort of a pretraining step: the recipe's own
SIMULATED = "simulated"  # as the cohort of a benchmark: unseen studies that are made on the way


class Source(Settings):
    """Where a recipe comes from: the paper and the claim it makes."""

    paper: str
    claim: str


class CohortChoice(Settings):
    """The patients: a simulated cohort (name, with its options) of so many cases, or a folder of the user's own.

    split: one to make of a simulated cohort: name and how, for example `{name: period, by: date, test_from: "2023"}`.
    """

    simulate: Component | None = None
    cases: int = Field(default=24, ge=4)
    path: str | None = None
    split: dict[str, Any] = Field(default_factory=dict)

    @field_validator("split")
    @classmethod
    def _known(cls, value: dict[str, Any]) -> dict[str, Any]:
        from radfoundry.data import cohort as cohorts

        if value:
            given = {key: item for key, item in value.items() if key not in ("name", "by", "near_duplicates")}
            cohorts.require_split_options(str(value.get("by", "patient")), given)
        return value

    @field_validator("simulate", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Recipe(Settings):
    """A published system as data: a cohort, steps, claims and their negative controls.

    `settings` holds what several steps share; a step takes from it what it knows. `cohorts` are other patients, for
    the steps that name them as their cohort. `scales` changes the number of cases (of others: `cohorts: {NAME: 80}`),
    the shared settings, or asks for the user's own cohort.
    """

    about: str
    source: Source
    cohort: CohortChoice = Field(default_factory=CohortChoice)
    cohorts: dict[str, CohortChoice] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    steps: list[dict[str, dict[str, Any]]] = Field(min_length=1)
    expect: list[Expectation] = Field(min_length=1)
    controls: list[Control] = Field(min_length=1)
    scales: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0)


def names() -> list[str]:
    """The recipes that ship with radfoundry."""
    folder = resources.files("radfoundry.recipes")
    return sorted(item.name.removesuffix(SUFFIX) for item in folder.iterdir() if item.name.endswith(SUFFIX))


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or a recipe file by path, with `key.path=value` words applied."""
    if name in names():
        with resources.as_file(resources.files("radfoundry.recipes") / f"{name}{SUFFIX}") as path:
            return settings.load(Recipe, path, overrides, where=f"recipe {name}")
    if not name.endswith((".yaml", ".yml")):
        raise registry.unknown("recipe", name, names(), remedy="or give the path of a YAML file")
    return settings.load(Recipe, name, overrides)


def scaled(recipe: Recipe, scale: str) -> Recipe:
    """The recipe at one of its scales; refuses a scale it does not have, and `full` without a cohort of one's own."""
    if scale not in recipe.scales:
        raise registry.unknown("scale", scale, recipe.scales)
    changes = dict(recipe.scales[scale])
    if changes.pop("cohort", None) == "user":
        named = {"cohort": recipe.cohort, **{f"cohorts.{name}": other for name, other in recipe.cohorts.items()}}
        lacking = " ".join(f"{key}.path=COHORT" for key, choice in named.items() if choice.path is None)
        if lacking:
            raise InputError(f"scale {scale} runs on your own scans", remedy=f"add {lacking}", finding="no-cohort")
    cohort = recipe.cohort.model_copy(update={"cases": changes.pop("cases", recipe.cohort.cases)})
    cases = changes.pop("cohorts", {})
    for name in cases:
        if name not in recipe.cohorts:
            raise registry.unknown("cohort", name, recipe.cohorts, where=f"scales.{scale}.cohorts")
    others = {
        name: other.model_copy(update={"cases": cases.get(name, other.cases)}) for name, other in recipe.cohorts.items()
    }
    shared = {**recipe.settings, **changes}
    return recipe.model_copy(update={"cohort": cohort, "cohorts": others, "settings": shared})


def step_config(verb: str, given: Mapping[str, Any], recipe: Recipe, **fixed: Any) -> Any:
    """The stage's own Config for one step: the shared settings it knows, then the step's, then what the runner sets."""
    stage = registry.resolve("stages", verb)
    known = stage.Config.model_fields
    where, named = given.get("cohort"), (HERE, SIMULATED, *recipe.cohorts)
    if where is not None and where not in named and not (verb == "pretrain" and Path(where).exists()):
        raise registry.unknown("cohort", str(where), named, where=f"step {verb}")
    if (verb == "pretrain" and where not in (HERE, *recipe.cohorts)) or where == SIMULATED:
        fixed.pop("cohort", None)  # simulated patients that nobody else sees
    shared = {key: value for key, value in recipe.settings.items() if key in known}
    fixed = {"seed": recipe.seed, **fixed}
    values = {**shared, **given, **{key: value for key, value in fixed.items() if key in known}}
    return settings.check(stage.Config, values, where=f"step {verb}")


def plan(recipe: Recipe) -> list[str]:
    """What running a recipe would do, step by step, without doing it; wrong settings are refused here already."""
    lines = []
    if not needs_cohort(recipe):
        lines.append("learn from simulated patients that are made on the way; there is no cohort")
    elif recipe.cohort.path is None:
        lines.append(f"simulate {recipe.cohort.cases} patients of {_described(recipe.cohort)} (seed {recipe.seed})")
        lines.append("ingest the simulated DICOM and label the patients")
    else:
        lines.append(f"use the cohort in {recipe.cohort.path}")
    for name, other in recipe.cohorts.items():
        made = f"simulate {other.cases} patients of {_described(other)}" if other.path is None else f"use {other.path}"
        lines.append(f"{name}: {made}")
    for index, step in enumerate(recipe.steps):
        for verb, given in step.items():
            asked = with_pretrained(given, recipe, Path("steps"), before=index)
            config = step_config(verb, asked, recipe, cohort="cohort")
            chosen = json.dumps(config.model_dump(exclude_defaults=True, exclude={"cohort"}), default=str)
            lines.append(f"{verb} {chosen}")
    lines += [f"expect {claim.key}: {claim.needed}" for claim in recipe.expect]
    lines += [f"control, {item.permute} permuted: {item.expect.key}: {item.expect.needed}" for item in recipe.controls]
    return lines


def needs_cohort(recipe: Recipe) -> bool:
    """Whether any step asks patients of a cohort; pretraining and unseen simulated studies make their own."""
    given = recipe.cohort.simulate is not None or recipe.cohort.path is not None
    steps = [(verb, asked) for step in recipe.steps for verb, asked in step.items()]
    known = [(verb, asked.get("cohort")) for verb, asked in steps]
    elsewhere = (SIMULATED, *recipe.cohorts)
    return given or any(where == HERE or (verb != "pretrain" and where not in elsewhere) for verb, where in known)


def _described(choice: CohortChoice) -> str:
    """A simulated cohort's name with its options; unknown ones are refused here, before anything runs."""
    if choice.simulate is None:
        raise InputError("neither simulate nor path is given", where="recipe.cohort", remedy="name one")
    registry.build("cohorts", choice.simulate.name, **choice.simulate.options)
    options = ", ".join(f"{key}={value}" for key, value in choice.simulate.options.items())
    return f"{choice.simulate.name} ({options})" if options else choice.simulate.name


def run(recipe: Recipe, *, name: str, scale: str, to: str | Path, progress: Progress | None = None) -> Run:
    """Run a recipe at one of its scales into the folder `to`; see `run_scaled`."""
    return run_scaled(scaled(recipe, scale), name=name, scale=scale, to=to, progress=progress)


def run_scaled(recipe: Recipe, *, name: str, scale: str, to: str | Path, progress: Progress | None = None) -> Run:
    """Run a recipe that is already at its scale; steps that are finished in the folder `to` are kept.

    Refuses a folder that holds another recipe's or other settings' work.
    """
    plan(recipe)
    folder = Path(to)
    asked = {"recipe": name, "scale": scale, "settings": recipe.model_dump(mode="json")}
    _claim(folder, asked)
    cohorts = _cohorts(recipe, folder, progress)
    steps = _run_steps(recipe, cohorts, folder / "steps", progress=progress)
    verdicts = [judge(claim, [step.metrics for step in steps]) for claim in recipe.expect]
    for control in recipe.controls:
        place = folder / f"control-{control.permute}{'' if control.step is None else f'-{control.step}'}"
        broken = _run_steps(recipe, cohorts, place, progress=progress, broken=control)
        verdicts.append(judge(control.expect, [step.metrics for step in broken], control=control.permute))
    writer = runs.RunWriter(folder=folder, final=folder)
    for step in steps:
        writer.metrics.update({f"{step.stage}: {key}": value for key, value in step.metrics.items()})
        writer.inputs.update(step.inputs)
        writer.notes += step.notes
    writer.metrics.update({f"claim {index + 1}": verdict.found for index, verdict in enumerate(verdicts)})
    writer.notes.append(f"claims met: {sum(v.met for v in verdicts)} of {len(verdicts)}")
    runs.write_json(folder / "blocks.json", _blocks(recipe, steps, verdicts, folder))
    writer.files = [folder / "blocks.json"]
    return runs.finish(writer, "recipe", asked, seed=recipe.seed)


def all_met(run_folder: str | Path) -> bool:
    """Whether every claim and control of a finished recipe run was met."""
    blocks = json.loads((Path(run_folder) / "blocks.json").read_text(encoding="utf-8"))
    rows = [row for block in blocks if block["kind"] == "claims" for row in block["rows"]]
    return bool(rows) and all(row["met"] for row in rows)


def _claim(folder: Path, asked: Mapping[str, Any]) -> None:
    """Mark a folder as this recipe's workplace, or refuse it."""
    mark = folder / "recipe.json"
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8")) != runs.plain(asked):
            raise InputError(
                "holds a run with other settings", where=str(folder), remedy="choose another --to", finding="exists"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError("is not empty", where=str(folder), remedy="choose another --to", finding="exists")
    runs.write_json(mark, asked)


def _cohorts(recipe: Recipe, folder: Path, progress: Progress | None) -> dict[str, str]:
    """The folders of all cohorts by name, made where they are simulated; `here` is the recipe's own."""
    made = {HERE: recipe.cohort.path or ""}
    if needs_cohort(recipe) and recipe.cohort.path is None:
        made[HERE] = _simulated(recipe.cohort, recipe.seed, folder, progress)
    for name, other in recipe.cohorts.items():
        seed = int(hashlib.sha256(f"{name} {recipe.seed}".encode()).hexdigest()[:8], 16)  # other people than the first
        made[name] = other.path or _simulated(other, seed, folder / "cohorts" / name, progress)
    return made


def _simulated(choice: CohortChoice, seed: int, folder: Path, progress: Progress | None) -> str:
    """A cohort made from simulated DICOM files: the flow really starts at ingest."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.data import labels

    scans, cohort, key = folder / "scans", folder / "cohort", folder / "key"
    # Nobody is behind a simulated name: a key from the seed makes pseudonyms, and so folds, repeatable.
    with runs.atomic(key) as partial:
        partial.write_text(hashlib.sha256(f"simulated {seed}".encode()).hexdigest(), encoding="ascii")
    if not scans.exists():
        chosen = choice.model_dump()
        config = {"cohort": chosen["simulate"], "cases": chosen["cases"], "to": str(scans), "seed": seed}
        _stage("simulate", config, progress)
    if not _labelled(cohort):
        asked: dict[str, Any] = {"sources": [str(scans / "dicom")], "to": str(cohort), "key_file": str(key)}
        asked |= {"keep_year": True} if choice.split.get("by") == "date" else {}
        said = scans / "reports"
        _stage("ingest", {**asked, **({"reports": str(said)} if said.is_dir() else {})}, progress)
        labels.label(cohort, scans / "labels.csv", on="patient", key_file=key)
    if choice.split and choice.split.get("name", "default") not in cohorts.read_splits(cohort):
        wanted: dict[str, Any] = {"near_duplicates": False, **choice.split}  # nobody is simulated twice
        cohorts.split(cohort, **wanted)
    return str(cohort)


def _labelled(cohort: Path) -> bool:
    """Whether a cohort has its labels; an ingest that was interrupted leaves an empty table."""
    from radfoundry.data.cohort_tables import read_table

    table = cohort / "labels.parquet"
    return table.exists() and bool(read_table(table, "labels"))


def _stage(verb: str, values: Mapping[str, Any], progress: Progress | None) -> Any:
    stage = registry.resolve("stages", verb)
    return stage.run(settings.check(stage.Config, values, where=verb), progress=progress)


def _run_steps(
    recipe: Recipe,
    cohorts: Mapping[str, str],
    folder: Path,
    *,
    progress: Progress | None,
    broken: Control | None = None,
) -> list[Run]:
    """Run every step into its own folder; a finished one is read back.

    A control (`broken`) runs the steps that know its setting, and those that take what such a step made.
    """
    done: list[Run] = []
    whole = folder.parent / "steps"
    for index, step in enumerate(recipe.steps):
        for verb, given in step.items():
            stage = registry.resolve("stages", verb)
            asked = with_pretrained(given, recipe, folder, whole, before=index)
            breakable = broken is not None and _breaks(broken, stage, given, index + 1)
            taken = asked != with_pretrained(given, recipe, whole, before=index)
            if broken and not breakable and not taken:
                continue
            place = folder / f"{index + 1}-{verb}"
            fixed = {broken.setting: True} if broken and breakable else {}
            where = cohorts.get(str(given.get("cohort")), cohorts[HERE])
            config = step_config(verb, asked, recipe, cohort=where, to=str(place), **fixed)
            done.append(runs.read(place) if place.exists() else stage.run(config, progress=progress))
    return done


def _breaks(control: Control, stage: Any, given: Mapping[str, Any], number: int) -> bool:
    """Whether a control breaks a step: one that knows its setting, and is the one it names if it names one."""
    known = control.setting in stage.Config.model_fields and control.step in (None, number)
    return known and (control.setting != "shuffle_reports" or bool(given.get("reports")))


def with_pretrained(
    given: Mapping[str, Any], recipe: Recipe, *folders: Path, before: int | None = None
) -> dict[str, Any]:
    """A step's settings with `pretrained` replaced by the file that the last pretraining step before it wrote.

    `pretrained-2` is the second pretraining step's; `step-2` is the run folder of the second step, whatever it does.
    They may stand wherever an encoder or a run may: as encoder, among encoders, beside, as an objective's teacher, as
    a specialist. The file is in the first of the folders that has it, else in the last. Refuses the names where
    nothing, or not so often, was made before.
    """
    earlier = recipe.steps[:before]
    ran = [f"{index}-{verb}" for index, step in enumerate(earlier, start=1) for verb in step]
    made = [f"{place}/encoder.safetensors" for place in ran if place.endswith("-pretrain")]
    by_name = {PRETRAINED: made[-1]} if made else {}
    by_name |= {f"{PRETRAINED}-{number}": place for number, place in enumerate(made, start=1)}
    by_name |= {f"step-{place.partition('-')[0]}": place for place in ran}

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(item) for item in value]
        if isinstance(value, Mapping):
            return {key: named(item) for key, item in value.items()}
        if not isinstance(value, str) or not re.fullmatch(rf"{PRETRAINED}(-\d+)?|step-\d+", value):
            return value
        if value not in by_name:
            lacks = f"no step makes the encoder {value!r}" if value.startswith(PRETRAINED) else f"no {value} before"
            raise InputError(lacks, where="recipe", remedy="add the step before the one that names it")
        place = next((folder for folder in folders if (folder / Path(by_name[value]).parts[0]).exists()), folders[-1])
        return str(place / by_name[value])

    return named(given)


def _blocks(recipe: Recipe, steps: Sequence[Run], verdicts: Sequence[Verdict], folder: Path) -> list[dict[str, Any]]:
    met = sum(verdict.met for verdict in verdicts)
    simulated = recipe.cohort.path is None
    closing = (
        "The patients are simulated: the figures show that the method works as described, not how it does in a clinic."
        if simulated
        else "The patients are the user's own."
    )
    blocks: list[dict[str, Any]] = [
        {
            "kind": "text",
            "title": "Summary",
            "paragraphs": [
                recipe.about,
                f"{met} of {len(verdicts)} claims and controls held. {closing}",
                f"Source: {recipe.source.paper}. It claims: {recipe.source.claim}.",
            ],
        },
        {"kind": "claims", "title": "Claims and controls", "rows": [_claim_row(verdict) for verdict in verdicts]},
    ]
    for step in steps[-1:]:
        inner = json.loads((Path(step.path) / "blocks.json").read_text(encoding="utf-8"))
        for block in inner:
            for image in block.get("images", ()):
                image["png"] = str((Path(step.path) / image["png"]).relative_to(folder))
        blocks += inner[1:] if inner and inner[0]["kind"] == "text" else inner
    return blocks


def _claim_row(verdict: Verdict) -> dict[str, Any]:
    from radfoundry.tasks.pages import label

    what = f"with {verdict.control} permuted, " if verdict.control else ""
    found: Estimate = verdict.found
    return {
        "claim": f"{what}{label(verdict.expectation.key)}",
        "control": bool(verdict.control),
        "met": verdict.met,
        "found": found.to_dict(),
        "needed": verdict.expectation.needed,
    }
