"""`radfoundry embed`: a table of features, one row per series, from a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from radfoundry import runs
from radfoundry.config import Component, Settings
from radfoundry.records import Estimate, Run, counted

if TYPE_CHECKING:
    from radfoundry.nets.embedding import Spread


class Config(Settings):
    """What to embed and with which encoder."""

    cohort: str = Field(description="cohort folder made by radfoundry ingest")
    encoder: Component = Field(default=Component(name="vit3d-tiny"), description="encoder name or checkpoint path")
    index: bool = Field(default=True, description="also write an index that radfoundry search asks")
    seed: int = Field(default=0, description="seed of the feature map's subsample")
    workers: int = Field(default=1, ge=0, description="processes; 0 is one per core")
    engine: Literal["local", "ray"] = Field(
        default="local", description="processes of this machine, or a ray cluster (extra scale)"
    )
    to: str | None = Field(default=None, description="run folder to write")


@runs.working
def run(config: Config, *, progress: Callable[[str, int, int], None] | None = None) -> Run:
    """Embed every series that fits the encoder and write `embeddings.parquet` with keys and features, and an index."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding, untrained
    from radfoundry.tasks import pages, similar_index

    cohort = cohorts.open_cohort(config.cohort)
    encoder = embedding.open_encoder(config.encoder)
    table = embedding.embed(cohort, encoder, spread=_spread(config), progress=progress)
    settings = config.model_dump(exclude={"to", "workers", "engine"})
    with runs.writing("embed", settings, to=config.to, seed=config.seed) as writer:
        writer.inputs.update(cohort=cohort.fingerprint, encoder=table.fingerprint, preparation=table.plan)
        with runs.atomic(writer.folder / "embeddings.parquet") as partial:
            table.frame().to_parquet(partial, index=False)
        if config.index:
            similar_index.write(
                similar_index.build(cohort, table, config.encoder), writer.folder / similar_index.FOLDER
            )
        writer.metrics["series-embedded"] = Estimate.exact(len(table.series))
        writer.metrics["series-refused"] = Estimate.exact(len(table.refused))
        writer.notes += [*embedding.left_out(table.refused), *untrained.remarks(config.encoder)]
        blocks = [
            {
                "kind": "text",
                "title": "Summary",
                "paragraphs": [
                    f"{len(table.series)} series of {counted(len(cohort.patients), 'patient')} turned into "
                    f"{table.vectors.shape[1]} features each by the encoder {table.encoder}."
                ],
            },
            pages.people(cohort),
            pages.feature_map(table, {}, title=f"Features of {table.encoder}", seed=config.seed),
            pages.thumbnails(cohort, writer.folder),
        ]
        runs.write_json(writer.folder / "blocks.json", blocks)
    return writer.finished


def _spread(config: Config) -> Spread | None:
    """How the work is spread over processes, or None for this process alone."""
    from radfoundry.data.pool import LOCAL, worker_count
    from radfoundry.nets.embedding import Spread

    workers = worker_count(config.workers, engine=config.engine)
    return None if config.engine == LOCAL and workers == 1 else Spread(config.encoder, workers, config.engine)
