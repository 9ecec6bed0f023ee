"""What a person should know about images and masks before believing a number: left out, alike, folded together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from radfoundry.data.masks import Pair, is_mask
from radfoundry.records import Cohort, counted

RARE = 0.5


def orphaned(cohort: Cohort) -> list[str]:
    """Masks whose exam holds no image: left out, and said."""
    alone = sum(all(is_mask(series) for series in case.series) for case in cohort.cases if case.series)
    if not alone:
        return []
    return [f"{counted(alone, 'exam')} with a mask but no image left out (was the image refused? ingest … --explain)"]


def several_volumes(found: Sequence[Pair]) -> list[str]:
    """Images of several time points, echoes or colours, of which the mean is read."""
    several = sum(pair.image.shape[0] > 1 for pair in found)
    if not several:
        return []
    return [f"{counted(several, 'image')} of several volumes (time points, echoes or colours): their mean is read"]


def on_both_sides(train: Sequence[Pair], test: Sequence[Pair]) -> list[str]:
    """The same pixels under two patients, taught and tested: the numbers are then too good."""
    taught = {pair.image.content for pair in train}
    same = sum(pair.image.content in taught for pair in test if pair.image.content)
    if not same:
        return []
    return [
        f"{counted(same, 'tested image')} also taught under another patient: the numbers are too good "
        "(radfoundry curate duplicates; radfoundry split keeps copies on one side)"
    ]


def rare_values(images: int, images_with: Mapping[str, int], *, named: bool) -> list[str]:
    """Values of masks that are in few images and that nobody named: perhaps one structure with two numbers."""
    rare = {name: count for name, count in images_with.items() if count < RARE * images}
    if named or not rare or len(images_with) < 2:
        return []
    listed = ", ".join(f"{name} (in {count} of {images})" for name, count in list(rare.items())[:5])
    return [f"values of few masks are structures of their own: {listed}; name what belongs together with task.labels"]
