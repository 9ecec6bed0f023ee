"""Does the header alone answer the question? Then an image model may be reading the header through the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError, Task
from radfoundry.tasks import baselines, heads, measure
from radfoundry.tasks.probe import Design, probe

# Beyond these the header says so much that a number from the images cannot be believed unexamined.
SUSPICIOUS = {"auroc": 0.8, "auroc-one-against-rest": 0.8, "macro-auroc": 0.8, "concordance": 0.75, "r2": 0.5}

# A clinical covariate may rightly say much; beyond these it is likely the answer under another name.
TELLING = {"auroc": 0.95, "auroc-one-against-rest": 0.95, "macro-auroc": 0.95, "concordance": 0.9, "r2": 0.9}


def suspicion(
    cohort: Cohort,
    embeddings: Embeddings,
    *,
    task: Task,
    truth: Mapping[str, Any],
    design: Design,
    covariates: Sequence[str] = (),
) -> list[str]:
    """A remark when age, sex, site and acquisition together answer the question, out of sample; else nothing.

    Another when the clinical covariates do. The whole interval has to lie beyond the limit, so that few patients raise
    no false alarm.
    """
    if task.kind not in heads.USUAL and task.kind not in ("binary", "multiclass", "multilabel"):
        return []

    def reached(features: Any, limits: Mapping[str, float]) -> str:
        learner = baselines.Measured("header", heads.named(None, task.kind), features)
        try:
            found = probe(cohort, embeddings, task=task, truth=truth, head=learner, design=design)
        except InputError:
            return ""
        metrics = measure.measure(found.predictions, task)
        beyond = (name for name, limit in limits.items() if name in metrics and metrics[name].low > limit)
        return next((f"{name} {metrics[name]}" for name in beyond), "")

    said = []
    header = reached(baselines.header_features(cohort, without=(task.target, *task.target.split(","))), SUSPICIOUS)
    if header:
        said.append(
            f"the header alone (age, sex, site, acquisition, image size) reaches {header}: the label may "
            "leak through it; compare with the ladder's header rung, or test at another site"
        )
    clinical = reached(baselines.label_features(cohort, covariates), TELLING) if covariates else ""
    if clinical:
        said.append(
            f"the covariates alone ({', '.join(covariates)}) reach {clinical}: one may be the answer under another name"
        )
    return said
