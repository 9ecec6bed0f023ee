"""The votes of specialists about a cohort: read from runs and tables, out of sample or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry.records import Cohort, InputError

FEWEST_COVERED = 0.5
COLUMNS = ("answer", "score", "probability", "prediction")


@dataclass(frozen=True, eq=False)
class Specialist:
    """One specialist: its name, its votes by case, and its predictor's folder where it has one."""

    name: str
    votes: Mapping[str, float]
    folder: str = ""
    how: str = ""


def gather(specialists: tuple[str, ...], cohort: Cohort) -> list[Specialist]:
    """The votes of every specialist about the cases of a cohort, out of sample.

    A specialist is a run folder of `radfoundry adapt` on a yes-or-no question, a predictor folder, or a table with a
    column case and one named answer, score or probability. What a run predicted out of sample for cases of this cohort
    is taken as it is. A predictor that learned on this cohort without such predictions is refused: its votes would
    be memories. Refuses votes that cover fewer than half of the cases.
    """
    found = []
    names = _short(specialists)
    for name, path in zip(names, specialists, strict=True):
        made = _specialist(name, path, cohort)
        known = {case.key for case in cohort.cases}
        covered = sum(key in known for key in made.votes)
        if covered < FEWEST_COVERED * len(known):
            raise InputError(
                f"votes about {covered} of {len(known)} cases", where=path, remedy="give votes about this cohort"
            )
        found.append(made)
    return found


def _short(paths: tuple[str, ...]) -> list[str]:
    """The last part of each path, made different where two are the same."""
    stems = [Path(path).stem or path for path in paths]
    return [stem if stems.count(stem) == 1 else f"{stem}-{number}" for number, stem in enumerate(stems, start=1)]


def _specialist(name: str, path: str, cohort: Cohort) -> Specialist:
    place = Path(path)
    if place.is_file():
        return Specialist(name, _from_table(place), how="a table")
    from radfoundry.tasks import predictor

    if not place.exists():
        raise InputError(
            f"specialist {name} is not there: no such file or folder",
            where=path,
            remedy="give the run folders that radfoundry adapt wrote",
            finding="missing-file",
        )
    table = place / "predictions.parquet"
    folder = predictor.folder_of(place)
    has_model = (folder / predictor.RECORD).is_file()
    if not has_model and not table.is_file():
        raise InputError(
            f"no specialist here: the folder holds neither {predictor.RECORD} nor predictions.parquet",
            where=path,
            remedy="give a run of radfoundry adapt on a yes-or-no question, or a table",
        )
    if has_model and predictor.kind_of(folder) != "binary":
        raise InputError("does not answer yes or no", where=path, remedy="give specialists of a yes-or-no question")
    known = {case.key for case in cohort.cases}
    if table.is_file():
        votes = _from_table(table)
        if sum(key in known for key in votes) >= FEWEST_COVERED * len(known):
            return Specialist(name, votes, str(folder) if has_model else "", "its predictions out of sample")
    if not has_model:
        raise InputError("predicted other cases than these", where=path, remedy="give its predictor")
    return Specialist(name, _asked(folder, path, cohort), str(folder), "asked about this cohort")


def _asked(folder: Path, path: str, cohort: Cohort) -> dict[str, float]:
    """A predictor's votes about a cohort it has not learned from."""
    from radfoundry.tasks import predictor

    model = predictor.read(folder)
    if model.about["trained"]["cohort"] == cohort.fingerprint:
        raise InputError(
            "learned from this cohort", where=path, remedy="keep its predictions.parquet, or use another cohort"
        )
    return vote(model, cohort, where=path)


def vote(model: Any, cohort: Cohort, *, where: str) -> dict[str, float]:
    """Case -> a predictor's calibrated chance of yes, for the cases it accepts."""
    from radfoundry.tasks import predictor

    said = predictor.predict(model, cohort, where=where)
    return dict(zip(said.predictions.case.tolist(), said.answers.value.astype(float).tolist(), strict=True))


def _from_table(path: Path) -> dict[str, float]:
    import pandas as pd

    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError):
        raise InputError("is no table", where=str(path), remedy="give CSV or Parquet") from None
    column = next((name for name in COLUMNS if name in table.columns), None)
    if "case" not in table.columns or column is None:
        raise InputError(
            f"needs a column case and one of {', '.join(COLUMNS)}",
            where=str(path),
            remedy=f"columns here: {', '.join(map(str, table.columns))}",
        )
    chances = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    if np.isnan(chances).any() or (chances < 0).any() or (chances > 1).any():
        raise InputError(f"{column} holds values outside 0 to 1", where=str(path), remedy="give chances of yes")
    if table["case"].duplicated().any():
        raise InputError("a case has two votes", where=str(path), remedy="give one row a case")
    return dict(zip(table["case"].astype(str), chances.tolist(), strict=True))


def matrix(specialists: list[Specialist], cases: list[str]) -> np.ndarray:
    """(cases, specialists) votes, NaN where there is none."""
    return np.array([[item.votes.get(case, np.nan) for item in specialists] for case in cases], float)
