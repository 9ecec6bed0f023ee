"""Claims that can fail: what a recipe expects of a number, and whether the number's interval bears it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from radfoundry.config import Settings
from radfoundry.records import Estimate, InputError


class Expectation(Settings):
    """One claim about one metric: where its whole interval has to lie.

    `of` names an encoder; with `beats` the metric is the paired difference `of` minus `beats`.
    low_above: the interval lies above; high_below: it lies below; contains: it includes; low_below: it begins below,
    which is what is left of a claim with low_above when its cause is taken away.
    """

    metric: str
    of: str | None = None
    beats: str | None = None
    low_above: float | None = None
    high_below: float | None = None
    contains: float | None = None
    low_below: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Expectation:
        if self.beats is not None and self.of is None:
            raise ValueError("beats needs of: whose result beats it?")
        if all(limit is None for limit in (self.low_above, self.high_below, self.contains, self.low_below)):
            raise ValueError("give low_above, high_below, contains or low_below: a claim has to be able to fail")
        return self

    @property
    def key(self) -> str:
        """The metric's name in a run."""
        if self.beats is not None:
            return f"{self.of}-minus-{self.beats}/{self.metric}"
        return self.metric if self.of is None else f"{self.of}/{self.metric}"

    @property
    def needed(self) -> str:
        """What the interval has to do, in words."""
        words = {
            "low_above": "interval above",
            "high_below": "interval below",
            "contains": "interval includes",
            "low_below": "interval begins below",
        }
        said = [f"{text} {getattr(self, name)}" for name, text in words.items() if getattr(self, name) is not None]
        return " and ".join(said)


PERMUTED = {
    "labels": "permute_labels",
    "reports": "shuffle_reports",
    "partners": "shuffle_partners",
    "teacher": "shuffle_teacher",
}


class Control(Settings):
    """A negative control: break what should carry the result, and expect the result to go away.

    labels: the answers of a question · reports: everybody learns with somebody else's report · partners: the second
    sequence of a patient is somebody else's · teacher: what the teacher says is about somebody else. `low_below` or
    `contains` say what is left. With `step` only the step of that number is broken, and not all that can be.
    """

    permute: Literal["labels", "reports", "partners", "teacher"]
    step: int | None = Field(default=None, ge=1)
    expect: Expectation

    @property
    def setting(self) -> str:
        """The setting of a step that breaks it."""
        return PERMUTED[self.permute]


@dataclass(frozen=True)
class Verdict:
    """What became of one claim; of a control, `control` names what was broken."""

    expectation: Expectation
    found: Estimate
    met: bool
    control: str


def judge(expectation: Expectation, metrics: Sequence[Mapping[str, Estimate]], *, control: str = "") -> Verdict:
    """Hold a claim against the metrics of the steps, the last step that has the metric first.

    An undefined number meets no claim. Refuses a claim about a metric that no step produced.
    """
    for table in reversed(metrics):
        if expectation.key in table:
            found = table[expectation.key]
            return Verdict(expectation, found, _met(expectation, found), control)
    known = sorted({name for table in metrics for name in table})
    raise InputError(
        f"no step gave the metric {expectation.key!r}", where="expect", remedy=f"metrics: {', '.join(known)}"
    )


def _met(expectation: Expectation, found: Estimate) -> bool:
    checks = []
    if expectation.low_above is not None:
        checks.append(found.low > expectation.low_above)
    if expectation.high_below is not None:
        checks.append(found.high < expectation.high_below)
    if expectation.contains is not None:
        checks.append(found.low <= expectation.contains <= found.high)
    if expectation.low_below is not None:
        checks.append(found.low < expectation.low_below)
    return found.defined and all(checks)
