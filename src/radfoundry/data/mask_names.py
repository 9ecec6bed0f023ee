"""Whether files taken for images are called like masks, and whether the patterns for masks found any."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

CALLED_SO = re.compile(
    r"(?:^|[/_.\s-])([a-z]*masks?|labels?|labelmaps?|segs?|segmentations?|gt|groundtruth|ground_truth|rois?|annotations?|contours?)"
    r"(?=[/_.\s\d-]|$)",
    re.IGNORECASE,
)


def called_so(images: Iterable[str]) -> Counter[str]:
    """What among the paths of images is called like a mask: word -> number; the folder that was given does not count.

    >>> called_so(["set/t1.nii.gz", "set/t1_seg.nii.gz"])
    Counter({'seg': 1})
    """
    inside = [path.partition("/")[2] or path for path in images]
    return Counter(found.group(1).lower() for path in inside if (found := CALLED_SO.search(path)))


def remarks(images: Iterable[str], masks: int, patterns: Sequence[str]) -> list[str]:
    """What to say about masks after a cohort was read: `images` are the paths of files taken for images.

    The name of the folder that was given, with which every path begins, does not count.

    >>> remarks(["set/t1.nii.gz", "set/t1_seg.nii.gz"], 0, [])[0][:34]
    '1 image is called like masks (seg)'
    >>> remarks(["labels/a.png", "labels/b.png"], 0, [])
    []
    """
    called = called_so(images)
    lines = []
    if patterns and not masks:
        lines.append(f"masks={list(patterns)} fits no file; a pattern fits a whole path or its end, as in labels/*")
    if called:
        said = "1 image is" if called.total() == 1 else f"{called.total()} images are"
        lines.append(
            f"{said} called like masks ({', '.join(sorted(called))}) but read as images; if they are masks, ingest "
            "into a new cohort with masks=[PATTERN]"
        )
    return lines
