"""Reports into a cohort: text files or a table, matched to exams, with what tells a person taken out."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radfoundry.data.cohort import open_cohort, read_record, read_reports
from radfoundry.data.cohort_tables import write_table
from radfoundry.data.identity import telling_words
from radfoundry.data.labels import read_rows
from radfoundry.data.pseudonyms import Pseudonyms
from radfoundry.data.row_keys import finder, names_of
from radfoundry.records import Cohort, InputError

TABLES = (".csv", ".tsv", ".parquet")
KEYS = ("case", "accession", "accession_number", "accessionnumber", "study", "study_uid", "studyinstanceuid", "exam")
FILES = ("path", "file", "filename", "file_name", "image")
PATIENTS = ("patient", "patient_id", "patientid", "subject", "participant_id")
TEXTS = ("report", "text", "report_text", "findings", "content")
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mai|mär|okt|dez"
# What is replaced in every report, in this order: a pattern and what stands in its place.
PATTERNS = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "[contact]"),
    (
        re.compile(r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b|\b(19|20)\d{2}[01]\d[0-3]\d\b"),
        "[date]",
    ),
    (re.compile(rf"\b\d{{1,2}}\.? ?(?:{MONTHS})\w*\.?,? ?\d{{4}}\b", re.IGNORECASE), "[date]"),
    (re.compile(rf"\b(?:{MONTHS})\w*\.? ?\d{{1,2}},? ?\d{{4}}\b", re.IGNORECASE), "[date]"),
    (re.compile(r"\b(Dr|Prof|Mr|Mrs|Ms|Herr|Frau)\b\.?(?:\s+(?:(?:med|Dr)\.|[A-ZÄÖÜ][\w'-]*))+"), "[name]"),
    (
        re.compile(
            r"(?im)^([ \t]*(?:patient(?: name)?|name|referr\w+|reported by|signed(?: by)?|radiologist|address|mrn|"
            r"patient id|accession(?: number)?|date of birth|dob)[ \t]*:)[^\n]*$"
        ),
        r"\1 [name]",
    ),
    (re.compile(r"(?<!\w)\+?\d(?:[/-]?\d){6,}(?!\w)"), "[number]"),
)


@dataclass(frozen=True)
class Given:
    """One report as it was given: whose it is in the user's own words, at which level, and its text."""

    key: str
    level: str
    text: str
    telling: tuple[str, ...] = ()


def add(cohort: str | Path, source: str | Path, *, key_file: str | Path | None = None) -> dict[str, int]:
    """Put reports into a cohort; gives how many were read, how many exams have one now, and what could not be placed.

    source: a folder of `.txt` files, each named by the patient, accession number or study UID it belongs to, or a
    table (CSV, TSV, Parquet) with such a column and one named report, text or findings. What a patient's number
    names is the report of the patient's last exam. In a pseudonymised cohort dates, long numbers, addresses, names
    after a title and header lines that tell a person are replaced (see `scrubbed`); names in running text stay.
    Given again, a report replaces what the same source of text said before. Refuses a source without a report.
    """
    record = read_record(cohort)
    keyed = bool(record["provenance"].get("pseudonymised"))
    names = names_of(cohort, record, key_file) if keyed else Pseudonyms(None)
    opened = open_cohort(cohort)
    place = _placer(cohort, opened, names)
    rows: dict[str, list[tuple[str, int]]] = defaultdict(list)
    given = unplaced = 0
    for report in read(source):
        given += 1
        case = place(report)
        if case is None:
            unplaced += 1
            continue
        rows[case].append(scrubbed(report.text, report.telling) if keyed else (report.text.strip(), 0))
    if not given:
        raise _without_report(source)
    kept = [row for row in read_reports(cohort) if row["case"] not in rows]
    kept += [
        {"case": case, "text": text, "removed": removed} for case, found in rows.items() for text, removed in found
    ]
    if rows:
        kept.sort(key=lambda row: (row["case"], row["text"]))
        write_table(Path(cohort) / "reports.parquet", "reports", kept)
    removed = sum(row["removed"] for row in kept)
    return {"given": given, "exams": len({row["case"] for row in kept}), "unplaced": unplaced, "removed": removed}


def check(source: str | Path) -> None:
    """Refuse a source that cannot be read or holds no report, before hours are spent on images."""
    if next(read(source), None) is None:
        raise _without_report(source)


def _without_report(source: str | Path) -> InputError:
    return InputError("holds no report", where=str(source), remedy="give .txt files or a table with a column report")


def read(source: str | Path) -> Iterator[Given]:
    """The reports of a folder of text files or of a table, in order."""
    path = Path(source)
    if not path.exists():
        raise InputError("no such file or folder", where=str(source), remedy="check the path", finding="missing-file")
    if path.is_dir():
        for file in sorted(path.rglob("*.txt")):
            text = _text(file)
            if text.strip():
                yield Given(file.stem, "any", text, telling_words([file.stem]))
        return
    if path.suffix.lower() not in TABLES:
        raise InputError("is neither a folder nor a table", where=str(source), remedy="give .txt files, CSV or Parquet")
    yield from _of_table(read_rows(path), str(source))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError):
        raise InputError("is not UTF-8 text", where=str(file), remedy="save it as UTF-8") from None


def _of_table(rows: Sequence[Mapping[str, str]], where: str) -> Iterator[Given]:
    columns = {name.casefold().replace(" ", "_"): name for name in rows[0]} if rows else {}
    text = next((columns[name] for name in TEXTS if name in columns), None)
    case = next((columns[name] for name in (*KEYS, *FILES) if name in columns), None)
    patient = next((columns[name] for name in PATIENTS if name in columns), None)
    key = case or patient
    if text is None or key is None:
        wanted = "a column report" if text is None else "a column accession, study_uid, patient_id or path"
        raise InputError(
            f"has no {wanted[2:]}", where=where, remedy=f"name {wanted}; here: {', '.join(columns.values())}"
        )
    others = [name for name in rows[0] if name != text]
    for row in rows:
        if row[text].strip() and row[key].strip():
            telling = telling_words(row[name] for name in others if len(row[name]) <= 80)
            yield Given(row[key].strip(), "case" if case else "patient", row[text], telling)


def scrubbed(text: str, telling: Sequence[str] = ()) -> tuple[str, int]:
    """The text without what tells a person, and how many places were replaced.

    telling: words that are known to name the patient (file name, other columns of the table).

    >>> scrubbed("Seen on 12.03.2019 by Dr. Anna Meier. Mass of 23 mm, MUELLER.", ["Mueller"])
    ('Seen on [date] by [name]. Mass of 23 mm, [name].', 3)
    """
    count = 0
    for pattern, instead in PATTERNS:
        text, found = pattern.subn(instead, text)
        count += found
    for word in sorted(set(telling), key=len, reverse=True):
        pattern = re.compile(rf"(?<![0-9A-Za-z\[]){re.escape(word)}(?![0-9A-Za-z\]])", re.IGNORECASE)
        text, found = pattern.subn("[name]", text)
        count += found
    return text.strip(), count


def _placer(cohort: str | Path, opened: Cohort, names: Pseudonyms | None) -> Callable[[Given], str | None]:
    """From a report to the exam it belongs to; None when nothing or nothing certain fits."""
    by_case, by_patient = finder(cohort, "case", names), finder(cohort, "patient", names)
    exams: dict[str, list[Any]] = defaultdict(list)
    for case in opened.cases:
        exams[case.patient].append(case)

    def last(patient: str | None) -> str | None:
        cases = exams.get(patient or "", [])
        if len(cases) > 1 and any(case.date is None for case in cases):
            return None
        return max(cases, key=lambda case: case.date or "").key if cases else None

    def place(report: Given) -> str | None:
        found = by_case(report.key) if report.level != "patient" else None
        return found or (last(by_patient(report.key)) if report.level != "case" else None)

    return place
