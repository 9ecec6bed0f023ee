"""`radfoundry curate`: what each series is, whether it is good enough, and which input of a model it fills."""

from __future__ import annotations

import importlib

from radfoundry import runs
from radfoundry.records import Run
from radfoundry.stages.curate.settings import Config, Progress

# An action is a module here with run(cohort, config, writer, progress) -> blocks; adding one adds its settings too.
ACTIONS = {
    "quality": "radfoundry.stages.curate.quality",
    "slots": "radfoundry.stages.curate.slots",
}
KINDS = tuple(ACTIONS)


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Run one action on every series of a cohort; writes a table, corrections to confirm, and a page.

    Nothing in the cohort changes. `corrections.csv` (quality) and `choices.csv` (slots) are for a person to read,
    edit and add with `radfoundry label COHORT FILE --on series`.
    """
    from radfoundry.data import cohort as cohorts

    cohort = cohorts.open_cohort(config.cohort)
    action = importlib.import_module(ACTIONS[config.what])
    settings = config.model_dump(exclude={"to", "workers"})
    with runs.writing("curate", settings, to=config.to) as writer:
        writer.inputs["cohort"] = cohort.fingerprint
        runs.write_json(writer.folder / "blocks.json", action.run(cohort, config, writer, progress))
    return writer.finished
