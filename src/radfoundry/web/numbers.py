"""Table cells and numbers with their doubt as a page prints them: interval beside, method and n in small print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from radfoundry.records import Estimate, InputError

ABSENT = "–"


@dataclass(frozen=True)
class Cell:
    """What a table cell shows: its text, a tooltip, small print, a footnote mark, and what to sort it by."""

    text: str
    tip: str = ""
    small: str = ""
    mark: str = ""
    order: str = ""
    numeric: bool = False


def is_estimate(value: Any) -> bool:
    """Whether a plain value is an Estimate's dictionary.

    >>> is_estimate(Estimate(0.8, 0.7, 0.9).to_dict()), is_estimate({"name": "x"})
    (True, False)
    """
    # A curve has the same keys, with one number per point.
    return (
        isinstance(value, Mapping) and {"value", "low", "high"} <= set(value) and not isinstance(value["value"], list)
    )


def estimates_in(value: Any) -> list[Estimate]:
    """Every Estimate inside plain nested values, in order."""
    if is_estimate(value):
        return [Estimate.from_dict(value)]
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (list, tuple)):
        inner = value
    return [found for item in inner for found in estimates_in(item)]


def estimate_text(estimate: Estimate) -> str:
    """Value and interval with as many digits as the interval bears: two, fewer where it is wide, more where narrow.

    >>> estimate_text(Estimate(0.832, 0.711, 0.921)), estimate_text(Estimate(0.0012, 0.0008, 0.0017))
    ('0.83 (0.71-0.92)', '0.0012 (0.0008-0.0017)')
    >>> estimate_text(Estimate(378.2, 258.1, 3000.4))
    '378 (258-3000)'
    """
    width = estimate.high - estimate.low
    if math.isnan(width) or width == 0:
        return estimate.text(0 if estimate.method == "counted" else 2)
    if width >= 10:
        return estimate.text(0 if width >= 100 else 1)
    # Both ends of an interval never print alike, which would look like certainty.
    enough = [digits for digits in (2, 3, 4, 5) if width * 10**digits >= 1.5]
    return estimate.text(enough[0] if enough else 6)


def describe(estimate: Estimate, *, with_n: bool = True) -> str:
    """How a number was made, in one line: the interval's level, the method, from how many, and any remark."""
    if estimate.counted:
        return "counted"
    words = [f"{estimate.level * 100:g} % interval" if math.isfinite(estimate.low) else "", estimate.method]
    words += [f"n = {estimate.n}" if with_n and estimate.n else ""]
    words += [estimate.note if estimate.defined and math.isfinite(estimate.low) else ""]
    return ", ".join(word for word in words if word)


def p_text(p_value: float) -> str:
    """A p-value as papers print it.

    >>> p_text(0.0312), p_text(0.00002)
    ('p = 0.031', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


@dataclass
class SmallPrint:
    """The footnotes of one block: how its numbers were made, each way said once."""

    estimates: list[Estimate]
    letters: dict[str, str] = field(default_factory=dict)
    n_stands_beside: bool = False

    def __post_init__(self) -> None:
        self.n_differs = len({item.n for item in self.estimates}) > 1
        for item in self.estimates:
            line = self.line(item)
            if line and line not in self.letters:
                self.letters[line] = _letter(len(self.letters))

    def line(self, estimate: Estimate) -> str:
        """The footnote that belongs to a number; n is left to the cell where it differs between cells."""
        return describe(estimate, with_n=not self.n_differs)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Marks and footnotes; a single footnote holds for everything and needs no mark."""
        alone = len(self.letters) == 1
        return [("" if alone else letter, line) for line, letter in self.letters.items()]

    def _n_in_cell(self, estimate: Estimate) -> bool:
        return self.n_differs and not self.n_stands_beside and estimate.n > 0 and not estimate.counted

    def cell(self, estimate: Estimate) -> Cell:
        """An Estimate as a cell of this block."""
        words = [f"n = {estimate.n}" if self._n_in_cell(estimate) else ""]
        words += [p_text(estimate.p_value) if estimate.p_value is not None else ""]
        letter = self.letters.get(self.line(estimate), "") if len(self.letters) > 1 else ""
        return Cell(
            estimate_text(estimate),
            tip=describe(estimate),
            small=", ".join(word for word in words if word),
            mark=letter,
            order=f"{estimate.value:.9g}" if estimate.defined else "",
            numeric=True,
        )


def _letter(index: int) -> str:
    """The footnote marks in order: a to z, then aa, ab and so on."""
    first, last = divmod(index, 26)
    return (chr(96 + first) if first else "") + chr(97 + last)


def cell(value: Any, small_print: SmallPrint, *, where: str) -> Cell:
    """Any allowed value as a cell. A bare float is refused: a measured number needs its interval."""
    if is_estimate(value):
        return small_print.cell(Estimate.from_dict(value))
    if value is None:
        return Cell(ABSENT, tip="not recorded")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(str(value), order=str(value), numeric=True)
    if isinstance(value, str):
        return Cell(value)
    if isinstance(value, float):
        raise InputError(
            f"the bare number {value!r}", where=where, remedy="give an Estimate, or text", finding="bare-number"
        )
    raise InputError(
        f"a {type(value).__name__} cannot be shown", where=where, remedy="give text, an int or an Estimate"
    )
