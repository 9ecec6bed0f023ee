"""Does the header alone answer the question? Then an image model may be reading the header through the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError, Task
from radfoundry.tasks import baselines, heads, measure
from radfoundry.tasks.probe import Design, probe

# Beyond these the header says so much that a number from the images cannot be believed unexamined.
SUSPICIOUS = {"auroc": 0.8, "auroc-one-against-rest": 0.8, "macro-auroc": 0.8, "concordance": 0.75, "r2": 0.5}


def suspicion(
    cohort: Cohort, embeddings: Embeddings, *, task: Task, truth: Mapping[str, Any], design: Design
) -> list[str]:
    """A remark when age, sex, site and acquisition together answer the question, out of sample; else nothing.

    The whole interval has to lie beyond the limit, so that few patients raise no false alarm.
    """
    if task.kind not in heads.USUAL and task.kind not in ("binary", "multiclass", "multilabel"):
        return []
    features = baselines.header_features(cohort, without=(task.target, *task.target.split(",")))
    learner = baselines.Measured("header", heads.named(None, task.kind), features)
    try:
        found = probe(cohort, embeddings, task=task, truth=truth, head=learner, design=design)
    except InputError:
        return []
    metrics = measure.measure(found.predictions, task)
    for name, limit in SUSPICIOUS.items():
        value = metrics.get(name)
        if value is not None and value.low > limit:
            return [
                f"the header alone (age, sex, site, acquisition, image size) reaches {name} {value}: the label may "
                "leak through it; compare with the ladder's header rung, or test at another site"
            ]
    return []
