"""What ingest says when it is done: how much was read, what names no patient, what is called like a mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from radfoundry.data import mask_names
from radfoundry.data.inventory import IMAGES, FileSeen, person_of
from radfoundry.records import InputError, counted

Found = Sequence[tuple[FileSeen, Mapping[str, Any]]]


def remarks(
    counts: Mapping[str, Any], tasks: Collection[Found], *, masks: Sequence[str] = (), replaced: int = 0
) -> list[str]:
    """Sentences about a finished ingest; `counts` are those of the cohort, `tasks` the files of each task.

    `replaced` is how many image files took the place of others read before under the same path.
    """
    refused = sum(counts["rejected"].values())
    series, patients = counted(counts["series"], "series", "series"), counted(counts["patients"], "patient")
    first = f"{series} of {patients} from {counted(counts['files'], 'file')}"
    if refused:
        first += f"; {counted(refused, 'file was', 'files were')} not used (rejected.parquet says why; --explain lists)"
    notes = [first]
    alone = sum(not person_of(found[0][1]).stated for found in tasks)
    if alone:
        said = "1 image names" if alone == 1 else f"{alone} images name"
        notes.append(
            f"{said} no patient: each counts as a patient of its own; set pattern= where several belong to one "
            "patient, or splits may leak"
        )
    if replaced:
        said = counted(replaced, "image file has", "image files have")
        notes.append(
            f"{said} changed and took the place of what was read before under the same path; files of another folder "
            "of the same name belong into one command with both folders"
        )
    loose = [(file.relative, row) for found in tasks for file, row in found if row["kind"] in IMAGES]
    images = [path for path, row in loose if not person_of(row).mask]
    return notes + mask_names.remarks(images, len(loose) - len(images), masks)


def none_readable(where: str, files: int, refused: Sequence[Mapping[str, Any]]) -> InputError:
    """The error for sources without a readable image: how many of each reason, and the way out of the commonest.

    >>> row = {"reason": "gantry-tilt", "what": "sheared", "remedy": "set repair.tilt=resample"}
    >>> str(none_readable("ct", 2, [row, {"reason": "not-an-image", "what": "no image", "remedy": ""}]))
    'ct: none of 2 files is a readable image (1 gantry-tilt, 1 not-an-image); sheared; set repair.tilt=resample'
    """
    reasons = Counter(row["reason"] for row in refused)
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    remedy = "give a folder with DICOM, NIfTI, NRRD, MetaImage, PNG or JPEG files"
    telling = [reason for reason, _ in reasons.most_common() if reason not in ("not-an-image", "sidecar")]
    if telling:
        row = next(row for row in refused if row["reason"] == telling[0])
        remedy = f"{row['what']}; {row['remedy'] or remedy}"
    return InputError(
        f"none of {counted(files, 'file')} is a readable image ({listed})",
        where=where,
        remedy=remedy,
        finding="no-image",
    )
