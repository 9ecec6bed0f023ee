"""Whether files taken for images are called like masks, and whether the patterns for masks found any."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

CALLED_SO = re.compile(
    r"(?:^|[/_.\s-])(masks?|labels?|labelmaps?|segs?|segmentations?|gt|groundtruth|ground_truth|rois?|annotations?|contours?)"
    r"(?=[/_.\s\d-]|$)",
    re.IGNORECASE,
)


def remarks(images: Iterable[str], masks: int, patterns: Sequence[str]) -> list[str]:
    """What to say about masks after a cohort was read: `images` are the paths of files taken for images.

    Says nothing when every path is called so: then it is the name of the folder.

    >>> remarks(["set/t1.nii.gz", "set/t1_seg.nii.gz"], 0, [])[0][:43]
    '1 images are called like masks (seg) but re'
    >>> remarks(["labels/a.png", "labels/b.png"], 0, [])
    []
    """
    paths = list(images)
    called = Counter(found.group(1).lower() for path in paths if (found := CALLED_SO.search(path)))
    lines = []
    if patterns and not masks:
        lines.append(f"masks={list(patterns)} fits no file; a pattern fits a whole path or its end, as in labels/*")
    if called and called.total() < len(paths):
        listed = ", ".join(sorted(called))
        lines.append(
            f"{called.total()} images are called like masks ({listed}) but read as images; if they are masks, ingest "
            "into a new cohort with masks=[PATTERN]"
        )
    return lines
