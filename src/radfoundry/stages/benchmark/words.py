"""Questions that sentences ask of encoders with a text side."""

from __future__ import annotations

from radfoundry import runs
from radfoundry.records import Run
from radfoundry.stages.benchmark.settings import Config, Progress, asked
from radfoundry.stages.benchmark.titles import titles


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Questions that sentences ask of encoders with a text side: metrics `ENCODER/METRIC`, paired differences."""
    from radfoundry.tasks import in_words_pages, questions, worded

    task = questions.named(asked(config))
    against = config.against if "against" in config.model_fields_set else []
    components = {"encoders": config.encoders, "against": against}
    names = titles([*config.encoders, *against])
    found = worded.ask(config, task, names=names, progress=progress)
    pairs = [(one, other) for one in names[: len(config.encoders)] for other in names[len(config.encoders) :]]
    gaps = worded.differences(found, task, pairs, seed=config.seed)
    metrics = {f"{name}/{key}": value for name, one in found.items() for key, value in one.metrics.items()}
    with runs.writing("benchmark", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        writer.inputs.update(worded.inputs(config, components))
        writer.metrics.update({**metrics, **gaps})
        blocks = in_words_pages.blocks(config, task, metrics=metrics, gaps=gaps)
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished
