"""`radfoundry curate`: what each series is, whether it is good enough, and which input of a model it fills."""

from __future__ import annotations

import importlib

from radfoundry import runs
from radfoundry.records import InputError, Run
from radfoundry.stages.curate.settings import Config, Progress

# An action is a module here with run(cohort, config, writer, progress) -> blocks; adding one adds its settings too.
ACTIONS = {
    "quality": "radfoundry.stages.curate.quality",
    "slots": "radfoundry.stages.curate.slots",
    "harmonize": "radfoundry.stages.curate.harmonize",
    "duplicates": "radfoundry.stages.curate.duplicates",
    "types": "radfoundry.stages.curate.types",
    "findings": "radfoundry.stages.curate.findings",
    "types-trial": "radfoundry.stages.curate.types_trial",
}
KINDS = tuple(ACTIONS)
SIMULATED = "simulated"  # as the cohort of a trial: series that are made on the way


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Run one action on every series of a cohort; writes a table, corrections to confirm, and a page.

    Nothing in the cohort changes. `corrections.csv` (quality) and `choices.csv` (slots) are for a person to read,
    edit and add with `radfoundry label COHORT FILE --on series`.
    """
    from radfoundry.data import cohort as cohorts

    if config.cohort == SIMULATED and config.what != "types-trial":
        raise InputError("a trial alone needs no cohort", where="cohort", remedy="give a cohort folder")
    cohort = None if config.cohort == SIMULATED else cohorts.open_cohort(config.cohort)
    action = importlib.import_module(ACTIONS[config.what])
    settings = config.model_dump(exclude={"to", "workers", "engine"})
    with runs.writing("curate", settings, to=config.to) as writer:
        if cohort is not None:
            writer.inputs["cohort"] = cohort.fingerprint
        runs.write_json(writer.folder / "blocks.json", action.run(cohort, config, writer, progress))
    return writer.finished
