"""Studies with their reports, seen by an encoder with a text side: unseen simulated ones, or a cohort's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from radfoundry.records import Cohort, EncoderSpec, InputError

UNSEEN_SEED = 5_915_000_000
KIND = "in-words"
SIMULATED = "simulated"  # as the cohort of a benchmark: studies made on the way, which no training shows


@dataclass(frozen=True, eq=False)
class Asked:
    """Studies in front of one aligned model, one row each.

    model: `nets.aligned.Aligned` · seen: `(N, D)` image vectors of length 1 · texts: the reports · findings: 0 or 1 of
    each study by name, NaN where unknown · region: where the study lies, if known · images `(N, 1, I, J, K)` and
    lesion `(N, I, J, K)` share of each voxel, for simulated studies.
    """

    model: Any
    seen: Any
    texts: tuple[str, ...]
    case: np.ndarray
    patient: np.ndarray
    findings: Mapping[str, np.ndarray] = field(default_factory=dict)
    region: np.ndarray | None = None
    images: Any = None
    lesion: Any = None

    def __len__(self) -> int:
        return len(self.texts)


def simulated(model: Any, *, crops: Mapping[str, Any], patients: int, seed: int) -> Asked:
    """Simulated studies of patients that no training shows, through a model.

    crops: size, spacing_mm, protocols and lesion_rate as in pretraining; the encoder's own size and spacing if left
    out. The patients depend on these and the seed alone, so that every model is asked about the same ones.
    """
    import torch

    from radfoundry.simulate.crop_reports import FINDINGS

    spec: EncoderSpec = model.encoder.spec
    made = _studies(_plan(crops, spec), seed + UNSEEN_SEED, patients)
    images = torch.from_numpy(np.stack([_scaled(image, spec) for image in made.images.numpy()]))[:, None]
    names = np.array([f"unseen-{number}" for number in range(patients)])
    return Asked(
        model=model,
        seen=model.seen(images),
        texts=tuple(report.text for report in made.reports),
        case=names,
        patient=names,
        findings={name: made.findings[:, place].astype(float) for place, name in enumerate(FINDINGS)},
        region=np.array(made.region),
        images=images,
        lesion=made.lesion,
    )


@lru_cache(maxsize=2)
def _studies(plan: Any, seed: int, patients: int) -> Any:
    from radfoundry.simulate import crop_reports

    return crop_reports.studies(plan, seed=seed, count=patients)


def _plan(crops: Mapping[str, Any], spec: EncoderSpec) -> Any:
    from radfoundry.simulate import stream

    size = crops.get("size") or (min(spec.shape) if spec.shape else 48)
    spacing = crops.get("spacing_mm") or ((spec.spacing_mm[0],) * 2 if spec.spacing_mm else (1.5, 2.5))
    return stream.CropPlan(
        size=int(size),
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        views=1,
        protocols=tuple(crops.get("protocols") or stream.DEFAULT_PROTOCOLS),
        lesion_rate=float(crops.get("lesion_rate", 0.5)),
    )


def _scaled(image: np.ndarray, spec: EncoderSpec) -> np.ndarray:
    from radfoundry import registry
    from radfoundry.volume import Volume

    rule: Callable[..., Any] = registry.resolve("intensity-rules", spec.intensity)
    return rule(Volume.of(image, np.eye(4))).array[0].astype(np.float32)


def of_cohort(model: Any, cohort: Cohort, *, wanted: Mapping[str, Sequence[str]], labels: Mapping[str, str]) -> Asked:
    """The cases of a cohort that have a report, through a model; a case's image vector is the mean over its series.

    wanted: series filters as in `probe.Design`; labels: which label of the cohort (0 or 1) says whether a finding is
    there. Refuses a cohort without reports and filters that leave no series.
    """
    import torch

    from radfoundry.nets import embedding
    from radfoundry.tasks.examples import matches

    if not any(case.reports for case in cohort.cases):
        raise InputError(
            "this cohort has no reports",
            where=cohort.path or "cohort",
            remedy="ingest with reports=FOLDER_OR_TABLE",
            finding="no-reports",
        )
    table = embedding.embed(cohort, model.encoder)
    rows: dict[str, list[np.ndarray]] = {}
    for series, vector in zip(table.series, table.vectors, strict=True):
        if matches(series, wanted):
            rows.setdefault(series.case, []).append(vector)
    cases = [case for case in cohort.cases if case.reports and case.key in rows]
    if not cases:
        raise InputError(f"no case with a report has a series that matches {dict(wanted)}", where="train_on")
    seen = [model.carried(torch.from_numpy(np.stack(rows[case.key]))).mean(dim=0) for case in cases]
    return Asked(
        model=model,
        seen=torch.nn.functional.normalize(torch.stack(seen), dim=1),
        texts=tuple("\n".join(case.reports) for case in cases),
        case=np.array([case.key for case in cases]),
        patient=np.array([case.patient for case in cases]),
        findings={
            finding: np.array([_yes(case.labels.get(label), label) for case in cases])
            for finding, label in labels.items()
        },
    )


def _yes(value: Any, label: str) -> float:
    if value is None:
        return float("nan")
    if value in (0, 1):
        return float(value)
    raise InputError(f"{value!r} is neither 0 nor 1", where=f"label {label}", remedy="give a label with 0 and 1")
