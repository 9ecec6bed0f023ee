"""Which series goes into which input of a model: declared rules, every choice with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radfoundry.records import Case, InputError, Series

PREFERENCES = ("resolution", "thin-slices", "many-slices", "first")


@dataclass(frozen=True)
class Slot:
    """One input of a model and what may fill it.

    `sequence` names the sequences that fit (any of them), `contrast` whether a contrast agent must (`with`) or must
    not (`without`) have been given, `plane` the plane of the slices, `largest_spacing_mm` the coarsest voxel side.
    Of several that fit, `prefer` decides: finest voxels, thinnest slices, most slices, or order by key.
    """

    name: str
    sequence: tuple[str, ...]
    contrast: str = "any"
    plane: str = "any"
    largest_spacing_mm: float | None = None
    prefer: str = "resolution"
    required: bool = True

    def __post_init__(self) -> None:
        if not self.name or not self.sequence:
            raise InputError("a slot needs a name and the sequences that may fill it")
        if self.contrast not in ("any", "with", "without"):
            raise InputError(f"contrast {self.contrast!r} of slot {self.name}", remedy="any, with or without")
        if self.plane not in ("any", "axial", "coronal", "sagittal", "oblique"):
            raise InputError(f"plane {self.plane!r} of slot {self.name}", remedy="any, axial, coronal or sagittal")
        if self.prefer not in PREFERENCES:
            raise InputError(f"cannot prefer {self.prefer!r}", remedy=f"one of {', '.join(PREFERENCES)}")


@dataclass(frozen=True)
class Filled:
    """What one slot of one exam holds: the series (None: nothing fits), why, and what else was there.

    `alternatives` fit as well and came second; `refused` did not fit; both are (series key, reason).
    """

    case: str
    slot: str
    series: str | None
    reason: str
    alternatives: tuple[tuple[str, str], ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def fill(case: Case, slots: Sequence[Slot], *, chosen: Mapping[str, str] | None = None) -> tuple[Filled, ...]:
    """Fill every slot of one exam, in order; a series is used once.

    `chosen` (slot name -> series key) is a person's choice and goes before the rules. Series of other exams of the
    patient are never used. Refuses two slots of one name and a choice that is not in the exam.
    """
    names = [slot.name for slot in slots]
    if len(set(names)) != len(names):
        raise InputError("two slots have the same name", remedy="give each a name of its own")
    taken: dict[str, str] = {}
    given = _choices(case, names, chosen or {})
    filled = []
    for slot in slots:
        if slot.name in given:
            key = given[slot.name]
            taken[key] = slot.name
            others = tuple(
                (item.key, "not chosen") for item in case.series if not why_not(item, slot) and item.key != key
            )
            filled.append(Filled(case.key, slot.name, key, "chosen by a person", alternatives=others))
            continue
        filled.append(_by_rules(case, slot, taken, reserved=set(given.values())))
    return tuple(filled)


def _choices(case: Case, names: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    keys = {series.key for series in case.series}
    for slot, key in chosen.items():
        if slot in names and key not in keys:
            raise InputError(f"series {key} is not in exam {case.key}", where=f"slot {slot}", remedy="choose another")
    return {slot: key for slot, key in chosen.items() if slot in names}


def _by_rules(case: Case, slot: Slot, taken: dict[str, str], *, reserved: set[str]) -> Filled:
    fitting, refused = [], []
    for series in case.series:
        reason = why_not(series, slot)
        if series.key in taken or series.key in reserved:
            reason = f"already used as {taken.get(series.key, 'a chosen input')}"
        if reason:
            refused.append((series.key, reason))
        else:
            fitting.append(series)
    if not fitting:
        return Filled(case.key, slot.name, None, "nothing fits" if refused else "no series", refused=tuple(refused))
    ranked = sorted(fitting, key=lambda series: (_rank(series, slot.prefer), series.key))
    best, rest = ranked[0], ranked[1:]
    taken[best.key] = slot.name
    reason = describe(best) if not rest else f"{describe(best)}; {_why_first(slot.prefer)} of {len(ranked)} that fit"
    return Filled(
        case.key,
        slot.name,
        best.key,
        reason,
        alternatives=tuple((series.key, describe(series)) for series in rest),
        refused=tuple(refused),
    )


def why_not(series: Series, slot: Slot) -> str:
    """Why a series cannot fill a slot; empty when it can. What the header does not say counts against it."""
    if series.sequence is None:
        return "sequence unknown"
    if series.sequence not in slot.sequence:
        return f"is {series.sequence}"
    agent = bool(series.acquisition.contrast_agent)
    if slot.contrast == "with" and not agent:
        return "no contrast agent stated"
    if slot.contrast == "without" and agent:
        return "contrast agent given"
    if slot.plane != "any" and series.plane != slot.plane:
        return f"plane {series.plane or 'unknown'}"
    if slot.largest_spacing_mm is not None and max(series.spacing_mm) > slot.largest_spacing_mm:
        return f"voxels up to {max(series.spacing_mm):.1f} mm"
    return ""


def _rank(series: Series, prefer: str) -> float:
    if prefer == "thin-slices":
        return max(series.spacing_mm)
    if prefer == "many-slices":
        return -float(min(series.shape[1:]))
    if prefer == "first":
        return 0.0
    x, y, z = series.spacing_mm
    return x * y * z


def _why_first(prefer: str) -> str:
    return {"resolution": "finest voxels", "thin-slices": "thinnest slices", "many-slices": "most slices"}.get(
        prefer, "first by key"
    )


def describe(series: Series) -> str:
    """A series in one line: sequence, plane, voxel size, contrast agent."""
    size = " x ".join(f"{value:.1f}" for value in series.spacing_mm)
    agent = ", contrast agent" if series.acquisition.contrast_agent else ""
    return f"{series.sequence or 'unknown sequence'}, {series.plane or 'plane unknown'}, {size} mm{agent}"
