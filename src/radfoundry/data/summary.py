"""What is in a cohort, in counts: the plain data behind `radfoundry show cohort` and its page."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radfoundry.data.cohort_tables import read_table
from radfoundry.data.thumbnails import sides_of, write_thumbnail
from radfoundry.records import Cohort, InputError, Series

MISSING = "not stated"
# Header fields that later steps lean on, by modality.
NEEDED = {
    "MR": (
        *("manufacturer", "field_strength_t", "scanning_sequence", "repetition_time_ms", "echo_time_ms"),
        *("flip_angle_deg", "slice_thickness_mm", "body_part"),
    ),
    "CT": ("manufacturer", "tube_voltage_kv", "convolution_kernel", "slice_thickness_mm", "body_part"),
}
VENDORS = {
    "siemens": "Siemens",
    "ge ": "GE",
    "ge med": "GE",
    "general electric": "GE",
    "philips": "Philips",
    "canon": "Canon / Toshiba",
    "toshiba": "Canon / Toshiba",
    "uih": "United Imaging",
    "united imaging": "United Imaging",
    "hitachi": "Hitachi / Fujifilm",
    "fuji": "Hitachi / Fujifilm",
}
AGE_BANDS = ((0, 18), (18, 40), (40, 60), (60, 80), (80, 200))
MOST_THUMBNAILS = 24
MOST_VALUES = 12

Counts = dict[str, dict[str, int | str]]


def summarise(cohort: Cohort) -> Counts:
    """Counts of everything that matters before a cohort is used: title -> name -> count, plain values throughout.

    Patients, exams and series; series by modality, sequence, plane, vendor and site; header fields that are
    missing; repairs made on reading; sex and ages of patients; values of every label; files not used.
    """
    series, exams = cohort.series, cohort.cases
    first_exams = {case.patient: case for case in reversed(exams)}
    ages = [case.age_years for case in first_exams.values()]
    tables: Counts = {
        "cohort": {"patients": len(cohort.patients), "exams": len(exams), "series": len(series)},
        "modality": _counted(item.acquisition.modality for item in series),
        "sequence": _counted(item.sequence for item in series),
        "plane": _counted(item.plane for item in series),
        "vendor": _counted(vendor_of(item.acquisition.manufacturer) for item in series),
        "site": _counted(case.site for case in exams),
        "series per exam": _counted(str(len(case.series)) for case in exams),
        "missing fields": missing_fields(series),
        "repairs": dict(Counter(name for item in series for name in item.repairs).most_common()),
        "sex": _counted(case.sex for case in first_exams.values()),
        "age": _age_bands(ages),
    }
    tables |= {f"label {name}": values for name, values in label_values(cohort).items()}
    tables |= {f"split {name}": _counted(parts.values()) for name, parts in cohort.splits.items()}
    tables["not used"] = dict(Counter(row["reason"] for row in _rejected(cohort)).most_common())
    return {title: table for title, table in tables.items() if table}


def vendor_of(manufacturer: str | None) -> str | None:
    """One name for all spellings of a large vendor; others as they are stated.

    >>> vendor_of("GE MEDICAL SYSTEMS"), vendor_of("Acme"), vendor_of(None)
    ('GE', 'Acme', None)
    """
    lowered = f"{manufacturer or ''} ".lower()
    return next((name for start, name in VENDORS.items() if lowered.startswith(start)), manufacturer)


def missing_fields(series: Sequence[Series]) -> dict[str, int | str]:
    """For each needed header field how many series of its modality lack it; fields that none lacks are left out."""
    found: dict[str, int | str] = {}
    for modality, names in NEEDED.items():
        of_modality = [item.acquisition for item in series if item.acquisition.modality == modality]
        for name in names:
            lacking = sum(getattr(header, name) is None for header in of_modality)
            if lacking:
                found[f"{modality} {name}"] = f"{lacking} of {len(of_modality)}"
    stated = sum(item.acquisition.modality is not None for item in series)
    if stated < len(series):
        found["modality"] = f"{len(series) - stated} of {len(series)}"
    return found


def label_values(cohort: Cohort) -> Counts:
    """Every label's values with the number of cases; numbers of many values as range and median."""
    names = sorted({name for case in cohort.cases for name in case.labels})
    return {name: _values([case.labels.get(name) for case in cohort.cases]) for name in names}


def _values(values: Sequence[Any]) -> dict[str, int | str]:
    present = [value for value in values if value is not None]
    counts = Counter(str(value) for value in present)
    table: dict[str, int | str] = {}
    if len(counts) <= MOST_VALUES:
        table.update(sorted(counts.items()))
    elif all(isinstance(value, (int, float)) for value in present):
        middle = statistics.median(present)
        table.update({"cases": len(present), "range": f"{min(present):g} to {max(present):g}", "median": f"{middle:g}"})
    else:
        table.update({"cases": len(present), "different texts": len(counts)})
    if len(present) < len(values):
        table[MISSING] = len(values) - len(present)
    return table


def _age_bands(ages: Sequence[float | None]) -> dict[str, int | str]:
    stated = [age for age in ages if age is not None]
    bands: dict[str, int | str] = {
        (f"{low} to {high - 1}" if high < 200 else f"{low} and more"): sum(low <= age < high for age in stated)
        for low, high in AGE_BANDS
    }
    lacking = len(ages) - len(stated)
    return {name: count for name, count in bands.items() if count} | ({MISSING: lacking} if lacking else {})


def _counted(values: Iterable[str | None]) -> dict[str, int | str]:
    return dict(Counter(value or MISSING for value in values).most_common())


def _rejected(cohort: Cohort) -> list[dict[str, Any]]:
    path = Path(cohort.path or "", "rejected.parquet")
    return read_table(path, "rejected") if cohort.path and path.exists() else []


def cohort_blocks(cohort: Cohort, folder: str | Path) -> list[dict[str, Any]]:
    """The page of a cohort as plain blocks (facts, tables, thumbnails); the pictures are written into `folder`."""
    counts = summarise(cohort)
    facts = [[name.capitalize(), str(value)] for name, value in counts.pop("cohort").items()]
    facts.append(["Fingerprint", cohort.fingerprint])
    hidden = "keyed pseudonyms, dates moved" if cohort.provenance.get("pseudonymised") else "as in the headers"
    facts.append(["Identities", hidden])
    blocks: list[dict[str, Any]] = [{"kind": "facts", "title": "Cohort", "items": facts}]
    blocks.append(thumbnail_block(cohort.series, folder))
    crossed = _crossed(cohort)
    if crossed["rows"]:
        blocks.append(crossed)
    for title, table in counts.items():
        blocks.append(_table_block(title, table))
    return blocks


def sides(series: Sequence[Series]) -> str:
    """Which side of a picture is the patient's right, as far as the images themselves say."""
    return sides_of(sum("no-geometry" not in item.repairs for item in series), len(series))


def thumbnail_block(series: Sequence[Series], folder: str | Path, *, most: int = 24) -> dict[str, Any]:
    """One thumbnail for each kind of image (modality, sequence, plane, site), at most `most`, written as PNG."""
    images = []
    chosen = _one_of_each(series)[:most]
    for item in chosen:
        name = f"thumbnails/{item.key}.png"
        try:
            write_thumbnail(Path(folder) / name, item.load())
        except InputError as error:  # the page shows what it can and says what it cannot
            images.append({"png": "", "caption": f"{item.key}: {error.what}"})
            continue
        images.append({"png": name, "caption": caption(item)})
    among = "every kind among them" if len({_kind(item) for item in series}) <= len(chosen) else "of different kinds"
    note = f"{len(images)} of {len(series)} series, {among}. {sides(chosen)}"
    return {"kind": "thumbnails", "title": "Images", "note": note, "images": images}


def caption(item: Series) -> str:
    """What a thumbnail shows, in a few words."""
    i, j, k = item.shape[1:]
    size = f"{i} × {j}" if k == 1 else f"{i} × {j} × {k}"
    spacing = "" if "no-geometry" in item.repairs else f", {' × '.join(f'{s:.2g}' for s in item.spacing_mm)} mm"
    words = [item.acquisition.modality, item.sequence, item.plane, item.site]
    known = [word for word in words if word]
    return f"{', '.join(known) or 'image'} ({size}{spacing})"


def _kind(item: Series) -> tuple[Any, ...]:
    return (item.acquisition.modality, item.sequence, item.plane, item.site)


def _one_of_each(series: Sequence[Series]) -> list[Series]:
    """Kinds in turn, so that a common kind does not crowd out a rare one."""
    kinds: dict[tuple[Any, ...], list[Series]] = {}
    for item in sorted(series, key=lambda item: item.key):
        kinds.setdefault(_kind(item), []).append(item)
    rounds = max((len(items) for items in kinds.values()), default=0)
    ordered = (items[turn] for turn in range(rounds) for items in kinds.values() if turn < len(items))
    chosen = [item for item, _ in zip(ordered, range(max(MOST_THUMBNAILS // 2, len(kinds))), strict=False)]
    return chosen[:MOST_THUMBNAILS]


def _crossed(cohort: Cohort) -> dict[str, Any]:
    """Series by site and sequence: the table that shows whether one stands for the other."""
    sites = sorted({item.site or MISSING for item in cohort.series})
    names = sorted({item.sequence or MISSING for item in cohort.series})
    counts = Counter((item.site or MISSING, item.sequence or MISSING) for item in cohort.series)
    useful = len(sites) > 1 and len(names) > 1
    return {
        "kind": "table",
        "title": "Site and sequence",
        "note": "A sequence seen at one site only cannot be told apart from that site.",
        "columns": [{"key": "site", "label": "Site"}, *({"key": name, "label": name} for name in names)],
        "rows": [{"site": site, **{name: counts[site, name] for name in names}} for site in sites] if useful else [],
    }


def _table_block(title: str, table: Mapping[str, int | str]) -> dict[str, Any]:
    notes = {
        "not used": "Every file that is not in the cohort; rejected.parquet has reason and remedy for each.",
        "missing fields": "Series whose header does not state the field.",
        "repairs": "What was mended on reading, as asked for.",
    }
    return {
        "kind": "table",
        "title": title[:1].upper() + title[1:],
        "note": notes.get(title, ""),
        "columns": [{"key": "name", "label": title[:1].upper() + title[1:]}, {"key": "count", "label": "Count"}],
        "rows": [{"name": name, "count": count} for name, count in table.items()],
    }
