"""Tables of `name -> module:function`; nothing is imported until it is built."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import Any

from radfoundry.records import InputError

ENCODERS = {
    "radfoundry-mri": "radfoundry.nets.bundled:build",
    "vit3d-tiny": "radfoundry.nets.vit:tiny",
    "vit3d-small": "radfoundry.nets.vit:small",
    "vit3d-base": "radfoundry.nets.vit:middle",
    "vit3d-large": "radfoundry.nets.vit:large",
    "vit2d-tiny": "radfoundry.nets.vit:tiny_2d",
    "conv3d-tiny": "radfoundry.nets.conv:tiny",
    "conv3d-small": "radfoundry.nets.conv:small",
    "conv2d-tiny": "radfoundry.nets.conv:tiny_2d",
    "sequence-set": "radfoundry.nets.sequences:build",
    "slices": "radfoundry.nets.slices:build",
    "vit2d-standard": "radfoundry.nets.wrapped_vit2d:standard",
    "vit2d-file": "radfoundry.nets.wrapped_vit2d:read",
    "medicalnet": "radfoundry.nets.wrapped_resnet3d:medicalnet",
    "fmcib": "radfoundry.nets.wrapped_resnet3d:fmcib",
    "monai-resnet": "radfoundry.nets.wrapped_resnet3d:monai_resnet",
    "monai-swin": "radfoundry.nets.wrapped_monai:swin",
    "monai-segresnet": "radfoundry.nets.wrapped_monai:segresnet",
    "resenc": "radfoundry.nets.wrapped_resenc:resenc",
    "models-genesis": "radfoundry.nets.wrapped_genesis:build",
    "hf-dinov2": "radfoundry.nets.wrapped_transformers:dinov2",
    "hf-clip": "radfoundry.nets.wrapped_transformers:clip",
    "hf-siglip": "radfoundry.nets.wrapped_transformers:siglip",
    "intensity": "radfoundry.nets.intensity:build",
}
HEADS = {
    "logistic": "radfoundry.tasks.heads:logistic",
    "ridge": "radfoundry.tasks.heads:ridge",
    "knn": "radfoundry.tasks.heads:knn",
    "svm": "radfoundry.tasks.heads:svm",
    "boosting": "radfoundry.tasks.heads:boosting",
    "ordinal": "radfoundry.tasks.heads:ordinal",
    "cox": "radfoundry.tasks.heads:cox",
}
TASKS = {
    "detect": "radfoundry.tasks.detect:build",
    "lesion-present": "radfoundry.tasks.questions:lesion_present",
    "age": "radfoundry.tasks.questions:age",
    "classify": "radfoundry.tasks.questions:classify",
    "regress": "radfoundry.tasks.questions:regress",
    "survive": "radfoundry.tasks.questions:survive",
    "progress": "radfoundry.tasks.questions:progress",
    "foresee": "radfoundry.tasks.foresee:build",
    "answer": "radfoundry.tasks.questions:answer",
    "similar": "radfoundry.tasks.questions:similar",
    "rate": "radfoundry.tasks.questions:rate",
    "retrieve": "radfoundry.tasks.retrieval:build",
    "zero-shot": "radfoundry.tasks.zero_shot:build",
    "point": "radfoundry.tasks.pointing:build",
    "draft": "radfoundry.tasks.drafts:build",
    "arbitrate": "radfoundry.tasks.arbiter:build",
    "segment": "radfoundry.tasks.segment:build",
    "align": "radfoundry.tasks.align:build",
    "annotators": "radfoundry.tasks.annotators:build",
    "localise": "radfoundry.tasks.localise:build",
}
FUSIONS = {
    "average": "radfoundry.tasks.fusion:average",
    "early": "radfoundry.tasks.fusion:early",
    "late": "radfoundry.tasks.fusion:late",
    "attention": "radfoundry.tasks.fusion:attention",
    "experts": "radfoundry.tasks.fusion:experts",
}
PRIORS = {
    "ball": "radfoundry.tasks.priors:ball",
    "mask": "radfoundry.tasks.priors:mask",
}
INTENSITY_RULES = {
    "none": "radfoundry.data.intensity:unchanged",
    "percentile": "radfoundry.data.intensity:percentile",
    "zscore": "radfoundry.data.intensity:zscore",
    "window": "radfoundry.data.intensity:window",
}
COHORTS = {
    "brain-multisequence": "radfoundry.simulate.presets:BrainMultisequence",
    "region-multisequence": "radfoundry.simulate.region_presets:RegionMultisequence",
    "knee-mri": "radfoundry.simulate.region_presets:knee_mri",
    "hip-mri": "radfoundry.simulate.region_presets:hip_mri",
    "wrist-mri": "radfoundry.simulate.region_presets:wrist_mri",
    "elbow-mri": "radfoundry.simulate.region_presets:elbow_mri",
    "cervical-spine-mri": "radfoundry.simulate.region_presets:cervical_spine_mri",
    "thoracic-spine-mri": "radfoundry.simulate.region_presets:thoracic_spine_mri",
    "lumbar-spine-mri": "radfoundry.simulate.region_presets:lumbar_spine_mri",
    "thigh-dixon": "radfoundry.simulate.region_presets:thigh_dixon",
    "breast-mri": "radfoundry.simulate.region_presets:breast_mri",
    "prostate-mri": "radfoundry.simulate.region_presets:prostate_mri",
    "rectum-mri": "radfoundry.simulate.region_presets:rectum_mri",
    "abdomen-mri": "radfoundry.simulate.region_presets:abdomen_mri",
    "chest-mri": "radfoundry.simulate.region_presets:chest_mri",
    "random-shapes-mri": "radfoundry.simulate.region_presets:random_shapes_mri",
    "multi-region": "radfoundry.simulate.region_presets:multi_region",
    "chest-radiographs": "radfoundry.simulate.modality_presets:ChestRadiographs",
    "knee-radiographs": "radfoundry.simulate.modality_presets:KneeRadiographs",
    "chest-ct": "radfoundry.simulate.modality_presets:CtScans",
    "abdomen-ct": "radfoundry.simulate.modality_presets:abdomen_ct",
    "mammograms": "radfoundry.simulate.modality_presets:Mammograms",
    "breast-ultrasound": "radfoundry.simulate.modality_presets:BreastUltrasound",
    "speckle-phantoms": "radfoundry.simulate.speckle_phantom:SpecklePhantoms",
    "child-films": "radfoundry.simulate.child_film:ChildFilms",
    "film-phantoms": "radfoundry.simulate.film_phantom:FilmPhantoms",
    "view-phantoms": "radfoundry.simulate.view_phantom:ViewPhantoms",
    "gland-phantoms": "radfoundry.simulate.gland_phantom:GlandPhantoms",
    "knee-phantoms": "radfoundry.simulate.knee_phantom:KneeFilms",
    "broad-phantoms": "radfoundry.simulate.knee_phantom:BroadFilms",
}
OBJECTIVES = {
    "contrast": "radfoundry.train.objectives.contrast:build",
    "masked": "radfoundry.train.objectives.masked:build",
    "translate": "radfoundry.train.objectives.translate:build",
    "metadata": "radfoundry.train.objectives.metadata:build",
    "position": "radfoundry.train.objectives.position:build",
    "separate": "radfoundry.train.objectives.separate:build",
    "distil": "radfoundry.train.objectives.distil:build",
    "restore": "radfoundry.train.objectives.restore:build",
    "quality": "radfoundry.train.objectives.quality:build",
    "supervised": "radfoundry.train.objectives.supervised:build",
    "relate": "radfoundry.train.objectives.supervised:build_relate",
    "align": "radfoundry.train.objectives.align:build",
    "concepts": "radfoundry.train.objectives.align:build_concepts",
    "guided": "radfoundry.train.objectives.guided:build",
    "similar": "radfoundry.train.objectives.guided:build_similar",
}
HARMONIZERS = {
    "zscore": "radfoundry.data.harmonize_grey:TissueScale",
    "nyul": "radfoundry.data.harmonize_grey:Nyul",
    "histogram": "radfoundry.data.harmonize_grey:Histogram",
    "stripe": "radfoundry.data.harmonize_grey:Stripe",
    "n4": "radfoundry.data.harmonize_bias:BiasField",
    "spectrum": "radfoundry.data.harmonize_spectrum:Spectrum",
    "restorer": "radfoundry.train.restorer:Restorer",
}
STAGES = {
    "simulate": "radfoundry.stages.simulate",
    "deidentify": "radfoundry.stages.deidentify",
    "ingest": "radfoundry.stages.ingest",
    "curate": "radfoundry.stages.curate",
    "pretrain": "radfoundry.stages.pretrain",
    "embed": "radfoundry.stages.embed",
    "search": "radfoundry.stages.search",
    "adapt": "radfoundry.stages.adapt",
    "predict": "radfoundry.stages.predict",
    "benchmark": "radfoundry.stages.benchmark",
    "register": "radfoundry.stages.register",
    "plan": "radfoundry.stages.plan",
    "rate": "radfoundry.stages.rate",
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "encoders": ENCODERS,
    "heads": HEADS,
    "fusions": FUSIONS,
    "priors": PRIORS,
    "tasks": TASKS,
    "intensity-rules": INTENSITY_RULES,
    "cohorts": COHORTS,
    "objectives": OBJECTIVES,
    "harmonizers": HARMONIZERS,
    "stages": STAGES,
}


def entries(table: str) -> dict[str, str]:
    """One table by its name, with what installed packages add through the entry points `radfoundry.TABLE`.

    >>> "logistic" in entries("heads")
    True
    """
    if table not in TABLES:
        raise unknown("table", table, TABLES)
    return {**_added(table), **TABLES[table]}


@cache
def _added(table: str) -> dict[str, str]:
    """What installed packages add; looked up once, because asking every package takes its time."""
    return {point.name: point.value for point in metadata.entry_points(group=f"radfoundry.{table}")}


def resolve(table: str, name: str) -> Any:
    """The function, or for `stages` the module, that a name stands for; an unknown name names the nearest."""
    known = entries(table)
    if name not in known:
        raise unknown(table.removesuffix("s"), name, known, remedy=f"radfoundry list {table}")
    module, _, attribute = known[name].partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def build(table: str, name: str, **options: Any) -> Any:
    """Call the builder behind a name; options it does not accept are refused with the ones it does."""
    builder = resolve(table, name)
    check_options(builder, options, where=f"{table}.{name}")
    lacking = [
        key
        for key, parameter in inspect.signature(builder).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and key not in options
    ]
    if lacking:
        setting = table.removesuffix("s")
        said = ", ".join(f"{setting}.{key}=…" for key in lacking)
        raise InputError(
            f"{name} needs {', '.join(lacking)}", where=setting, remedy=f"say {setting}.name={name} {said}"
        )
    return builder(**{key: _as_words(builder, key, value) for key, value in options.items()})


def _as_words(builder: Callable[..., Any], key: str, value: Any) -> Any:
    """One word where several may stand is a list of one, not its letters."""
    stated = str(inspect.signature(builder).parameters[key].annotation).replace(" ", "").split("|")
    several = stated[0] in ("list[str]", "Sequence[str]") and "str" not in stated
    return [value] if several and isinstance(value, str) else value


def check_options(builder: Callable[..., Any], options: Iterable[str], *, where: str) -> None:
    """Refuse option names that the builder's signature does not have, naming the nearest."""
    accepted = [
        name
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    for option in options:
        if option not in accepted:
            raise unknown("option", option, accepted, where=where)


def listed(names: Iterable[str], *, most: int = 40) -> str:
    """Names in one line, no more than a person reads.

    >>> listed(["a", "b", "c"], most=2), listed([])
    ('a, b … (3 in all)', 'none')
    """
    every = list(names)
    shown = ", ".join(every[:most]) or "none"
    return shown if len(every) <= most else f"{shown} … ({len(every)} in all)"


def unknown(kind: str, name: str, known: Iterable[str], *, where: str = "", remedy: str = "") -> InputError:
    """The error for a name that is not there: it names the nearest one, or lists what there is."""
    choices = sorted(known)
    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]!r}?" if near else f"known: {listed(choices)}"
    return InputError(
        f"unknown {kind} {name!r}",
        where=where,
        remedy=hint + (f" ({remedy})" if remedy else ""),
        finding="unknown-name",
    )
