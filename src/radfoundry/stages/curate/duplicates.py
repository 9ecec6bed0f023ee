"""`radfoundry curate duplicates`: who and what is there twice, across a split, or in an outside test set too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from radfoundry import runs
from radfoundry.data.same_patient import Group, counts, groups
from radfoundry.records import Cohort, Estimate, InputError, counted
from radfoundry.stages.curate.settings import Block, Config, Progress
from radfoundry.stages.curate.tables import write_csv

MEANING = {
    "patient": "several exams of one patient",
    "accession": "one accession number, several exams",
    "uid": "one image identifier, several exams",
    "pixels": "equal images",
    "near": "nearly equal images",
    "embedding": "nearly equal features",
}
HEADER = ("group", "reason", "origin", "series", "case", "patient", "part")


def run(cohort: Cohort, config: Config, writer: runs.RunWriter, progress: Progress | None) -> list[Block]:
    """Find groups by patient, accession number, UID, pixels, near-duplicate and embedding: duplicates.csv and counts.

    The cohort's splits already keep such cases together (unless told not to); this says what there is, and whether a
    given split (`split`) or an outside cohort (`outside`) shares any of it. Counts are written also when they are zero.
    """
    from radfoundry.data.cohort import open_cohort

    outside = open_cohort(config.outside) if config.outside else None
    if outside is not None:
        writer.inputs["outside"] = outside.fingerprint
    split = None
    if config.split is not None:
        if config.split not in cohort.splits:
            known = ", ".join(sorted(cohort.splits)) or "none yet"
            raise InputError(f"no split named {config.split!r}", remedy=f"splits here: {known}")
        split = dict(cohort.splits[config.split])
    vectors = _features(config.features) if config.features else None
    found = groups(cohort, outside=outside, vectors=vectors, cosine=config.cosine)
    _write(found, split, writer)
    unasked = [
        name for name, asked in (("crossing the split", split), ("shared with outside", outside)) if asked is None
    ]
    table = {
        reason: {name: value for name, value in row.items() if name not in unasked}
        for reason, row in counts(found, split).items()
        if reason != "embedding" or config.features
    }
    for reason, row in table.items():
        for name, value in row.items():
            writer.metrics[f"{reason}: {name}"] = Estimate.exact(value)
    writer.notes += [f"{name}: not looked for (say split=NAME or outside=COHORT)" for name in unasked]
    return _blocks(table, compared=len(cohort.series), features=config.features is not None)


def _blocks(table: Mapping[str, Mapping[str, int]], *, compared: int, features: bool) -> list[Block]:
    """A sentence and the table, with what each reason means."""
    total = sum(row["groups"] for row in table.values())
    said = (
        f"{counted(total, 'group belongs', 'groups belong')} together"
        if total
        else "Nothing was found that belongs together"
    )
    asked = "" if features else " Features were not compared: give a run of radfoundry embed as features."
    columns = [{"key": name, "label": name} for name in ("reason", *next(iter(table.values())))]
    rows = [
        {"reason": MEANING[reason], **{k: Estimate.exact(v).to_dict() for k, v in row.items()}}
        for reason, row in table.items()
    ]
    return [
        {"kind": "text", "title": "Summary", "paragraphs": [f"{said} among {compared} series.{asked}"]},
        {"kind": "table", "title": "What belongs together", "columns": columns, "rows": rows},
    ]


def _features(folder: str) -> dict[str, np.ndarray]:
    """Series key -> features, from a run of `radfoundry embed`."""
    import pandas

    path = Path(folder) / "embeddings.parquet"
    if not path.exists():
        raise InputError("holds no embeddings", where=folder, remedy="give a run folder of radfoundry embed")
    frame = pandas.read_parquet(path)
    numbers = [name for name in frame.columns if name.startswith("f") and name[1:].isdigit()]
    values = frame[numbers].to_numpy(np.float32)
    return dict(zip(map(str, frame["series"]), values, strict=True))


def _write(found: list[Group], split: dict[str, str] | None, writer: runs.RunWriter) -> None:
    rows = [
        {
            "group": number,
            "reason": group.reason,
            "origin": member.origin,
            "series": member.series,
            "case": member.case,
            "patient": member.patient,
            "part": (split or {}).get(member.case, "") if member.origin == "here" else "outside",
        }
        for number, group in enumerate(found, start=1)
        for member in group.members
    ]
    write_csv(writer.folder / "duplicates.csv", rows, header=HEADER)
