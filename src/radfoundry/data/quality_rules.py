"""When an image is too poor to use as it is: limits of the quality measures, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radfoundry.data.quality import MEASURES
from radfoundry.records import Estimate, InputError

NEEDED = "noise_share"
VERDICTS = ("good", "review", "leave out")


@dataclass(frozen=True)
class Limit:
    """From which value of a measure an image needs a look (`review`) or should not be used (`leave out`)."""

    measure: str
    review: float
    leave_out: float
    reason: str

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise InputError(f"unknown measure {self.measure!r}", remedy=f"one of {', '.join(MEASURES)}")
        if (self.leave_out - self.review) * MEASURES[self.measure] < 0:
            raise InputError(f"the limit to leave out is milder than the one to review: {self.measure}")


# Set so that hardly any of 61 published research series (six public sets, GE, Philips and Siemens, 1.5 and 3 T) is
# flagged: their 95th percentiles are 0.05 (noise), 0.04 (ghost), 0 (spike) and 0.02 (jump), and 0.03 (smear) of 18
# of them. They part diagnostic images from useless ones only roughly: give your own limits where you have ratings.
LIMITS: tuple[Limit, ...] = (
    Limit("distinct_values", 64, 32, "only a few different values: a mask or a label map, not an image"),
    Limit("noise_share", 0.12, 0.35, "noise hides small differences between tissues"),
    Limit("contrast_to_noise", 4.0, 2.0, "tissues differ by hardly more than the noise"),
    Limit("ghost_share", 0.09, 0.25, "a ghost of the body lies over the image"),
    Limit("smear_share", 0.06, 0.2, "the body moved during the scan"),
    Limit("spike_share", 0.005, 0.15, "a stripe pattern lies over the image (spike in k-space)"),
    Limit("border_share", 0.6, 0.97, "the body leaves the field of view: it is cut off or folds over"),
    Limit(
        "fold_share", 0.25, 0.6, "the body leaves at one edge of the field and comes back at the other: it folds over"
    ),
    Limit("clipped_share", 0.05, 0.5, "bright tissue is clipped to one value"),
    Limit("slice_jump_share", 0.25, 0.6, "brightness jumps from slice to slice"),
    Limit("slice_gap_share", 0.4, 0.6, "much of the body lies between the slices"),
)


@dataclass(frozen=True)
class Judgement:
    """The verdict on one series and the reasons, the worst first."""

    verdict: str
    reasons: tuple[str, ...]


def judge(measures: Mapping[str, Estimate], *, limits: Sequence[Limit] = LIMITS) -> Judgement:
    """Good, to be reviewed, or to be left out, with a reason for each limit that is passed.

    A measure that is undefined decides nothing; an image in which not even the noise can be measured is never good.

    >>> judge({"ghost_share": Estimate(0.3)}).reasons[0]
    'a ghost of the body lies over the image (ghost share 0.30, limit 0.25)'
    """
    found: list[tuple[int, str]] = []
    for limit in limits:
        estimate = measures.get(limit.measure)
        if estimate is None or not estimate.defined:
            continue
        harm = MEASURES[limit.measure]
        for severity, bound in ((2, limit.leave_out), (1, limit.review)):
            if (estimate.value - bound) * harm > 0:
                name = limit.measure.replace("_", " ")
                found.append((severity, f"{limit.reason} ({name} {estimate.value:.2f}, limit {bound:g})"))
                break
    if NEEDED in measures and not measures[NEEDED].defined:
        found.append((1, f"too little can be measured to call it good ({measures[NEEDED].note})"))
    worst = max((severity for severity, _ in found), default=0)
    return Judgement(VERDICTS[worst], tuple(text for _, text in sorted(found, key=lambda item: -item[0])))
