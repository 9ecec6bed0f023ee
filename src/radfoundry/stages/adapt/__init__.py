"""`radfoundry adapt`: fit a model for one question on an encoder's features."""

from __future__ import annotations

import importlib

from radfoundry import runs
from radfoundry.records import Run
from radfoundry.stages.adapt.settings import RUNGS, Config, Progress

__all__ = ["DENSE", "PATIENTS", "RUNGS", "Config", "Progress", "run"]

PATIENTS = "radfoundry.stages.adapt.patients"
# Questions whose answer is not one value per patient, by the name of the task: a module with run(config, progress=).
DENSE: dict[str, str] = {
    "segment": "radfoundry.stages.adapt.segment",
    "detect": "radfoundry.stages.adapt.detect",
    "annotators": "radfoundry.stages.adapt.annotators",
    "draft": "radfoundry.stages.adapt.draft",
    "foresee": "radfoundry.stages.adapt.foresee",
    "arbitrate": "radfoundry.stages.adapt.arbitrate",
    "align": "radfoundry.stages.adapt.align",
    "localise": "radfoundry.stages.adapt.localise",
}


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Learn inside the training patients, answer out of sample, measure; write a predictor and a report."""
    return importlib.import_module(DENSE.get(config.task.name, PATIENTS)).run(config, progress=progress)
