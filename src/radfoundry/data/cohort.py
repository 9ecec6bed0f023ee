"""The cohort folder: opening it lazily, checking that it is whole, and keeping its labels and splits."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radfoundry.data.cohort_tables import acquisition_of, digest_rows, read_table
from radfoundry.data.splits import by_date, by_patient, by_site, by_table, check_split
from radfoundry.records import Case, Cohort, InputError, Series
from radfoundry.runs import digest, write_json
from radfoundry.volume import Volume

SCHEMA = 1
RECORD = "cohort.json"
SPLITS = "splits.json"
# Series labels that correct what was read: the sequence, the plane, whether to use
# the series at all, and which input of a model it is to be.
CORRECTIONS = ("sequence", "plane", "use", "use_reason", "slot")
SPLITTING = {"patient": by_patient, "site": by_site, "date": by_date, "table": by_table}


@dataclass(frozen=True)
class StoredPixels:
    """Reads the pixels of one series from the folder they are stored in; travels to worker processes."""

    folder: str

    def __call__(self, series: Series) -> Volume:
        """The whole stored volume."""
        from radfoundry.data.store import read_volume

        path = volume_path(self.folder, series.key)
        if not path.exists():
            raise InputError(
                "its stored pixels are gone", where=f"series {series.key}", remedy="ingest again", finding="damaged"
            )
        return read_volume(path)


def volume_path(cohort: str | Path, series_key: str) -> Path:
    """Where a series' pixels are stored; open it with `store.read_volume`, whole or a box of it."""
    from radfoundry.data.store import SUFFIX

    return Path(cohort) / "volumes" / f"{series_key}{SUFFIX}"


def open_cohort(path: str | Path) -> Cohort:
    """A cohort from its folder: tables, labels and splits at once, pixels only when `Series.load()` asks.

    Refuses a folder that is no cohort, one made by a newer version, one whose tables are missing, damaged
    or do not belong together, and one from which stored volumes have disappeared.
    """
    record = read_record(path)
    series_rows = read_table(Path(path) / "series.parquet", "series")
    case_rows = read_table(Path(path) / "cases.parquet", "cases")
    if images_fingerprint(series_rows, case_rows) != record["fingerprint"]:
        raise InputError(
            "the tables do not fit cohort.json",
            where=str(path),
            remedy="an ingest was cut short or a file was changed: run the same ingest again",
            finding="damaged",
        )
    _check_volumes(path, series_rows)
    labels = read_labels(path)
    splits = read_splits(path)
    reports = read_reports(path)
    set_aside = sum(not values.get("use", True) for values in _of_series(labels).values())
    return Cohort(
        cases=_with_reports(_cases(path, series_rows, case_rows, labels), reports),
        fingerprint=_whole_fingerprint(record["fingerprint"], labels, splits, reports),
        splits={name: item["parts"] for name, item in splits.items()},
        provenance={**record["provenance"], "images": record["fingerprint"], "set_aside": set_aside},
        path=str(path),
    )


def read_record(path: str | Path) -> dict[str, Any]:
    """cohort.json as plain values; refuses what is not a cohort of a version this program knows."""
    place = Path(path) / RECORD
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
        schema = int(record["schema"])
    except (FileNotFoundError, NotADirectoryError):
        begun = (Path(path) / ".ingest").is_dir()
        raise InputError(
            "the ingest into it is not finished" if begun else "not a cohort (no cohort.json)",
            where=str(path),
            remedy="run the same ingest again" if begun else "make one with radfoundry ingest",
            finding="not-a-cohort",
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        raise InputError(
            "cohort.json is damaged", where=str(place), remedy="run the same ingest again", finding="damaged"
        ) from None
    if schema > SCHEMA:
        raise InputError(
            f"the cohort has version {schema}, this program knows {SCHEMA}",
            where=str(path),
            remedy="update radfoundry",
            finding="newer-version",
        )
    return record


def images_fingerprint(series_rows: Sequence[Mapping[str, Any]], case_rows: Sequence[Mapping[str, Any]]) -> str:
    """One fingerprint of everything that was ingested, whatever the order, place and number of workers."""
    return digest([digest_rows(series_rows), digest_rows(case_rows)])


def _whole_fingerprint(
    images: str,
    labels: Sequence[Mapping[str, Any]],
    splits: Mapping[str, Any],
    reports: Sequence[Mapping[str, Any]],
) -> str:
    if not labels and not splits and not reports:
        return images
    parts = [images, digest_rows(labels), {name: item["parts"] for name, item in splits.items()}]
    return digest([*parts, digest_rows(reports)] if reports else parts)


def _check_volumes(path: str | Path, series_rows: Sequence[Mapping[str, Any]]) -> None:
    folder = Path(path) / "volumes"
    stored = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    absent = [row["key"] for row in series_rows if volume_path(path, row["key"]).name not in stored]
    if absent:
        raise InputError(
            f"the stored pixels of {len(absent)} of {len(series_rows)} series are gone, first {absent[0]}",
            where=str(path),
            remedy="run the same ingest again",
            finding="damaged",
        )


def _cases(
    path: str | Path,
    series_rows: Sequence[Mapping[str, Any]],
    case_rows: Sequence[Mapping[str, Any]],
    labels: Sequence[Mapping[str, Any]],
) -> tuple[Case, ...]:
    pixels = StoredPixels(str(path))
    members: dict[str, list[Series]] = {}
    given = _of_series(labels)
    for row in sorted(series_rows, key=lambda row: row["key"]):
        corrections = given.get(row["key"], {})
        if corrections.get("use", True):
            members.setdefault(row["case"], []).append(_corrected(_series(row, pixels), corrections))
    cases = [
        Case(
            key=row["key"],
            patient=row["patient"],
            series=tuple(members.get(row["key"], ())),
            site=row["site"],
            age_years=row["age_years"],
            sex=row["sex"],
            date=row["date"],
            year=row["year"],
        )
        for row in sorted(case_rows, key=lambda row: (row["patient"], row["date"] or "", row["key"]))
    ]
    return _with_priors(_with_labels(cases, labels))


def _series(row: Mapping[str, Any], pixels: StoredPixels) -> Series:
    return Series(
        key=row["key"],
        patient=row["patient"],
        case=row["case"],
        acquisition=acquisition_of(row),
        shape=tuple(row["shape"]),
        spacing_mm=tuple(row["spacing_mm"]),
        site=row["site"],
        sequence=row["sequence"],
        plane=row["plane"],
        content=row["content"],
        repairs=tuple(row["repairs"] or ()),
        loader=pixels,
    )


def _corrected(series: Series, corrections: Mapping[str, Any]) -> Series:
    """The series as a person corrected it: sequence and plane by label go before what the header rules said.

    A series that a person calls a mask is a segmentation from then on.
    """
    changed: dict[str, Any] = {name: str(corrections[name]) for name in ("sequence", "plane") if corrections.get(name)}
    if changed.get("sequence") == "mask":
        changed["acquisition"] = replace(series.acquisition, modality="SEG")
    return replace(series, **changed) if changed else series


def _with_labels(cases: Sequence[Case], labels: Sequence[Mapping[str, Any]]) -> list[Case]:
    """Patient labels, then case labels, then what all labelled series of a case agree on; the nearer one wins."""
    given: dict[tuple[str, str], dict[str, Any]] = {}
    for row in labels:
        given.setdefault((row["level"], row["key"]), {})[row["name"]] = json.loads(row["value"])
    labelled = []
    for case in cases:
        of_series = [
            {name: value for name, value in given.get(("series", series.key), {}).items() if name not in CORRECTIONS}
            for series in case.series
        ]
        names = {name for values in of_series for name in values}
        agreed = {name: {json.dumps(values[name]) for values in of_series if name in values} for name in names}
        shared = {name: json.loads(next(iter(values))) for name, values in agreed.items() if len(values) == 1}
        merged = given.get(("patient", case.patient), {}) | given.get(("case", case.key), {}) | shared
        labelled.append(replace(case, labels=dict(sorted(merged.items()))) if merged else case)
    return labelled


def _with_priors(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Earlier exams of the same patient by date; an exam without a date is nobody's prior and has none."""
    earlier: dict[str, list[Case]] = {}
    for case in cases:
        if case.date:
            earlier.setdefault(case.patient, []).append(case)
    return tuple(
        replace(
            case,
            priors=tuple(
                other.key
                for other in earlier.get(case.patient, ())
                if case.date and other.date and other.date < case.date
            ),
        )
        for case in cases
    )


def series_labels(path: str | Path) -> dict[str, dict[str, Any]]:
    """Labels given to single series: series key -> name -> value. Those of CORRECTIONS change the series itself."""
    return _of_series(read_labels(path))


def _of_series(labels: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in labels:
        if row["level"] == "series":
            found.setdefault(row["key"], {})[row["name"]] = json.loads(row["value"])
    return found


def read_labels(path: str | Path) -> list[dict[str, Any]]:
    """The rows of the labels table; none when nothing has been labelled yet."""
    place = Path(path) / "labels.parquet"
    return read_table(place, "labels") if place.exists() else []


def read_reports(path: str | Path) -> list[dict[str, Any]]:
    """The rows of the reports table; none when there are no reports."""
    place = Path(path) / "reports.parquet"
    return read_table(place, "reports") if place.exists() else []


def _with_reports(cases: Sequence[Case], reports: Sequence[Mapping[str, Any]]) -> tuple[Case, ...]:
    said: dict[str, list[str]] = {}
    for row in reports:
        said.setdefault(row["case"], []).append(row["text"])
    return tuple(replace(case, reports=tuple(said[case.key])) if case.key in said else case for case in cases)


def read_splits(path: str | Path) -> dict[str, dict[str, Any]]:
    """All named splits with how they were made."""
    place = Path(path) / SPLITS
    if not place.exists():
        return {}
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(
            "the splits are damaged", where=str(place), remedy="remove the file and split again", finding="damaged"
        ) from None


def split(
    path: str | Path,
    *,
    name: str = "default",
    by: str = "patient",
    near_duplicates: bool = True,
    replace_existing: bool = False,
    **options: Any,
) -> dict[str, int]:
    """Make a named split, check it, and keep it in the cohort; gives the number of cases in each part.

    `by`: `patient` (options parts, seed, stratify_by), `site` (test_sites, validation_sites), `date`
    (test_from, validation_from) or `table` (assignment). Images that are near-duplicates of each other
    are kept on one side, or a split that parts them is refused, unless `near_duplicates` is off.
    Refuses a name in use unless `replace_existing`.
    """
    require_split_options(by, options)
    cohort = open_cohort(path)
    if by == "date":
        refuse_moved_dates(cohort)
    existing = read_splits(path)
    if name in existing and not replace_existing:
        raise InputError(f"there is a split {name!r} already", remedy="choose another --name, or give --replace")
    together = case_duplicates(cohort) if near_duplicates else []
    extra: dict[str, Any] = {"together": together} if by == "patient" else {}
    parts = SPLITTING[by](cohort.cases, **options, **extra)
    counts = check_split(cohort.cases, parts, together=together)
    settings = {key: value for key, value in options.items() if key != "assignment"}
    how = {"by": by, **settings, "near_duplicate_groups": len(together)}
    write_json(Path(path) / SPLITS, {**existing, name: {"how": how, "parts": parts}})
    return counts


def require_split_options(by: str, options: Mapping[str, Any]) -> None:
    """Refuse an unknown way to split, and options that it does not know or lacks."""
    if by not in SPLITTING:
        raise InputError(f"cannot split by {by!r}", remedy=f"choose one of {', '.join(SPLITTING)}")
    try:
        inspect.signature(SPLITTING[by]).bind((), **options)
    except TypeError as error:
        raise InputError(f"{error}", where=f"split by {by}", finding="options") from None


def kept_together(path: str | Path, name: str) -> int:
    """How many groups of cases a split had to keep in one part; 0 also when it was told not to look."""
    splits = json.loads((Path(path) / SPLITS).read_text(encoding="utf-8"))
    return int(splits[name]["how"]["near_duplicate_groups"])


def refuse_moved_dates(cohort: Cohort) -> None:
    """Refuse to order patients in time by dates that pseudonymisation moved; years that were kept order them.

    Cases without any date are left to whoever orders them, and come first.
    """
    undated = any(case.year is None and not case.date for case in cohort.cases)
    if undated or not cohort.provenance.get("pseudonymised"):
        return
    if any(case.date and case.year is None for case in cohort.cases):
        raise InputError(
            "every patient's dates were moved by a number of days of their own, so they cannot order patients",
            where=str(cohort.path),
            remedy="ingest with keep_year=true and split by year",
            finding="no-date",
        )


def case_duplicates(cohort: Cohort) -> list[tuple[str, ...]]:
    """Groups of cases that share an image (equal or nearly), an accession number or a series; keys sorted."""
    from radfoundry.data.same_patient import linked_cases

    return linked_cases(cohort)
