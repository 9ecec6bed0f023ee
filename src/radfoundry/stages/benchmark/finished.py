"""Finished runs on the same exams, held against the first of them."""

from __future__ import annotations

from radfoundry import runs
from radfoundry.records import Run
from radfoundry.stages.benchmark.settings import Config, Progress


def run(config: Config, *, progress: Progress | None = None) -> Run:
    """Paired differences of the first run minus each other one: metrics `FIRST-minus-OTHER/MEASURE`."""
    from radfoundry.tasks import pages, paired_runs

    folders = paired_runs.named(config.runs, config.names)
    done = {name: runs.read(folder) for name, folder in folders.items()}
    first, *others = folders
    gaps = {}
    for number, other in enumerate(others, start=1):
        found = paired_runs.compared(folders[first], folders[other], seed=config.seed)
        gaps |= {f"{first}-minus-{other}/{name}": value for name, value in found.items()}
        if progress is not None:
            progress("compare runs", number, len(others))
    said = "; ".join(f"{pages.label(name)} {value}" for name, value in gaps.items())
    controls = [name for name, one in done.items() if one.config.get("permute_labels")]
    lines = [f"{said}. Positive means that {first} is better; an interval that excludes zero is a difference."]
    if controls:
        lines.append(f"The answers were dealt out to other patients on purpose in {', '.join(controls)}.")
    with runs.writing("benchmark", config.model_dump(exclude={"to"}), to=config.to, seed=config.seed) as writer:
        for name, one in done.items():
            writer.inputs[f"run {name}"] = runs.digest({key: value.to_dict() for key, value in one.metrics.items()})
        writer.metrics.update(gaps)
        blocks = [
            {"kind": "text", "title": "Summary", "paragraphs": lines},
            pages.numbers("Paired differences", gaps, note="Positive means that the first is better."),
        ]
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished
