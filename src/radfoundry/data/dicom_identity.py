"""Who and when of a written DICOM series, and UIDs that the same input always gives again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Identity:
    """Who and when, as a DICOM header states it; UIDs left empty are derived from `seed` and the other fields.

    Dates are `YYYYMMDD`, times `HHMMSS`, age like `045Y`. `description` becomes the series description.
    """

    patient_id: str
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    age: str = ""
    study_date: str = ""
    study_time: str = ""
    study_uid: str = ""
    series_uid: str = ""
    accession: str = ""
    institution: str = ""
    station: str = ""
    study_description: str = ""
    description: str = ""
    study_number: str = "1"
    series_number: int = 1
    seed: int = 0

    def with_uids(self) -> Identity:
        """The same identity with study and series UIDs filled in."""
        study = self.study_uid or uid("study", self.seed, self.patient_id, self.study_date, self.study_number)
        return replace(
            self, study_uid=study, series_uid=self.series_uid or uid("series", self.seed, study, self.series_number)
        )


def uid(*parts: object) -> str:
    """A DICOM UID under 2.25 derived from its parts: the same parts give the same UID on every machine.

    >>> uid("series", 0, 1) == uid("series", 0, 1) and uid("series", 0, 1).startswith("2.25.")
    True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
