"""`radfoundry predict`: a fitted model answers about new scans, and refuses what it was not fitted for."""

from __future__ import annotations

import importlib

from radfoundry import runs
from radfoundry.records import Run
from radfoundry.stages.predict.settings import Config, Progress

__all__ = ["DENSE", "PATIENTS", "Config", "Progress", "run"]

PATIENTS = "radfoundry.stages.predict.patients"
# Predictors whose answer is not one value per patient, by the kind of their task: a module with run(config, progress=).
DENSE: dict[str, str] = {
    "segmentation": "radfoundry.stages.predict.segment",
    "detection": "radfoundry.stages.predict.detect",
    "draft": "radfoundry.stages.predict.draft",
    "foresight": "radfoundry.stages.predict.foresee",
    "arbitration": "radfoundry.stages.predict.arbitrate",
    "place": "radfoundry.stages.predict.localise",
}


@runs.working
def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Answer about every case, or refuse a folder that is no predictor and scans that cannot be read."""
    from radfoundry.tasks import predictor

    kind = predictor.kind_of(config.predictor)
    return importlib.import_module(DENSE.get(kind, PATIENTS)).run(config, progress=progress)
