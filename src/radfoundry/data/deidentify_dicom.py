"""A DICOM data set without a word that tells who, where or when: every element at every depth is judged anew."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from radfoundry.data import deidentify_profile as profile
from radfoundry.data.deidentify_private import private_kept
from radfoundry.data.deidentify_profile import CLEAN, DUMMY, EMPTY, KEEP, NEW_UID, REMOVE, SHIFT, Options
from radfoundry.data.deidentify_values import (
    CODE_WORD,
    PUBLIC_SCHEMES,
    Replacements,
    Secrets,
    cleaned_text,
    dummy,
    kept_text,
)
from radfoundry.data.pseudonyms import grouped_age

PATIENT_NAME, PATIENT_ID, ACCESSION, INSTITUTION, AGE = 0x00100010, 0x00100020, 0x00080050, 0x00080080, 0x00101010
CHARACTER_SET, CODE_SCHEME, CODE_MEANING = 0x00080005, 0x00080102, 0x00080104
DEPTH_LIMIT = 32
DECIMALS = re.compile(rb"[0-9eE+\-. \\\0]*")
# Text outside the names of persons that points to the patient, the exam or the place.
IDENTITY = frozenset(
    (
        *(0x00100020, 0x00100021, 0x00101000, 0x00101002, 0x00101040, 0x00102154, 0x00102155, 0x00101090, 0x00101050),
        *(0x00080050, 0x00080080, 0x00080081, 0x00081010, 0x00081040, 0x00080092, 0x00080094, 0x00181000, 0x00200010),
        *(0x00380010, 0x00380060, 0x00402016, 0x00402017, 0x00401001, 0x00400009, 0x00400253, 0x00380300, 0x00380400),
        *(0x00120040, 0x00120042, 0x00120030, 0x00120031, 0x00102299, 0x00102297, 0x00321033, 0x0040A353, 0x0040A354),
    )
)
TOLD_DATES = frozenset((0x00080020, 0x00080021, 0x00080022, 0x00080023, 0x00100030, 0x00080012, 0x00400244, 0x0008002A))


@dataclass(frozen=True)
class Cleaner:
    """What is needed to clean one file; `done` counts what was done, by attribute and action."""

    values: Replacements
    options: Options
    secrets: Secrets
    done: Counter[str] = field(default_factory=Counter, compare=False)

    def note(self, tag: int, action: str) -> None:
        """Count one attribute treated so; private ones and those unknown to the dictionary under one name each."""
        self.done[f"{name_of(tag)} {action}"] += 1


def name_of(tag: int) -> str:
    """The attribute's keyword; never anything a file can choose."""
    from pydicom.datadict import keyword_for_tag

    return "private" if tag >> 16 & 1 else keyword_for_tag(tag) or "not in the dictionary"


def secrets_of(dataset: Any) -> Secrets:
    """Everything at any depth that points to the patient: names, numbers, places and dates."""
    texts: list[str] = []
    dates: list[str] = []
    for tag, value in _told(dataset, 0):
        (dates if tag in TOLD_DATES else texts).append(value)
        if tag == 0x00100030:
            texts.append(value)
    return Secrets.of(texts, dates)


def _told(dataset: Any, depth: int) -> Iterator[tuple[int, str]]:
    for key in list(dataset.keys()):
        tag, vr = int(key), representation(dataset, key)
        if vr == "SQ" and depth < DEPTH_LIMIT and not tag >> 16 & 1:
            for item in dataset[key].value or ():
                yield from _told(item, depth + 1)
        elif vr == "PN" or tag in IDENTITY or tag in TOLD_DATES:
            yield from ((tag, text) for text in texts_of(dataset, key) if text)


def representation(dataset: Any, key: Any) -> str:
    """The value representation of an element: the dictionary's where the file leaves it open or states another family.

    `UN` where neither is to be trusted: such an element is removed.
    """
    from pydicom.datadict import dictionary_VR

    stated = getattr(dataset.get_item(key), "VR", None)
    try:
        listed = dictionary_VR(int(key))
    except KeyError:
        return "UN"
    choices = listed.split(" or ")
    if stated in choices:
        return stated
    if stated in (None, "UN") or (stated in profile.NUMBER_VRS and choices[0] in profile.NUMBER_VRS):
        return choices[0] if stated in (None, "UN") else stated
    textual = profile.TEXT_VRS | {"CS"} - {"UN"}
    return choices[0] if stated in textual and choices[0] in textual | {"UI"} else "UN"


def texts_of(dataset: Any, key: Any) -> list[str]:
    """The text values of an element, in the character set of the file."""
    value = dataset[key].value
    parts = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    return [part.decode("latin-1") if isinstance(part, bytes) else str(part) for part in parts if part is not None]


def cleaned(dataset: Any, cleaner: Cleaner, *, depth: int = 0) -> Any:
    """A new data set with what may stay; the one given is not changed.

    Refuses nothing: what is not understood is left out. Sequences are followed to 32 levels, deeper ones are removed.
    """
    from pydicom import Dataset

    made = Dataset()
    made.set_original_encoding(*dataset.original_encoding, dataset.original_character_set)
    for key in sorted(dataset.keys()):
        tag = int(key)
        group, element = tag >> 16, tag & 0xFFFF
        if group & 1 or group < 8 or element == 0 or group >= 0xFFFA:
            if group != 2 and element:
                cleaner.note(tag, "removed" if not group & 1 else "judged")
            continue
        vr = representation(dataset, key)
        action = profile.action_of(tag, vr, cleaner.options)
        done = (
            REMOVE
            if vr == "UN" and action not in (EMPTY, DUMMY)
            else _act(dataset, made, key, vr, action, cleaner, depth)
        )
        if done not in (KEEP, CLEAN):
            cleaner.note(tag, {REMOVE: "removed", EMPTY: "emptied", SHIFT: "shifted"}.get(done, "replaced"))
    for tag, item in private_kept(dataset, cleaner.options, cleaner.secrets):
        made[tag] = item
        cleaner.note(tag, "kept")
    return made


def _act(dataset: Any, made: Any, key: Any, vr: str, action: str, cleaner: Cleaner, depth: int) -> str:  # noqa: PLR0913
    """Put one element into the new data set as its action says; returns what was done."""
    tag = int(key)
    if vr == "SQ":
        return _sequence(dataset, made, key, action, cleaner, depth)
    special = _special(dataset, key, cleaner) if action in (EMPTY, DUMMY, KEEP) else None
    if special is not None:
        made.add_new(tag, vr, special)
        return DUMMY
    if action == REMOVE:
        return REMOVE
    if action == EMPTY:
        made.add_new(tag, vr, None)
        return EMPTY
    if action == DUMMY:
        made.add_new(tag, vr, dummy(vr) if texts_of(dataset, key) not in ([], [""]) else None)
        return DUMMY
    if action == KEEP:
        made[key] = dataset.get_item(key)
        return KEEP
    if action == NEW_UID or action == SHIFT:
        return _replaced(dataset, made, key, vr, action, cleaner)
    return _clean(dataset, made, key, vr, cleaner)


def _sequence(dataset: Any, made: Any, key: Any, action: str, cleaner: Cleaner, depth: int) -> str:  # noqa: PLR0913
    from pydicom import Sequence

    if action in (REMOVE, DUMMY) or depth >= DEPTH_LIMIT:
        return REMOVE
    if action == EMPTY:
        made.add_new(int(key), "SQ", Sequence())
        return EMPTY
    items = [cleaned(item, cleaner, depth=depth + 1) for item in dataset[key].value or ()]
    if items and not any(len(item) for item in items):
        return REMOVE
    made.add_new(int(key), "SQ", Sequence(items))
    return CLEAN


def _special(dataset: Any, key: Any, cleaner: Cleaner) -> str | None:
    """Values with a pseudonym instead of nothing, so that what belongs together still does."""
    tag, names = int(key), cleaner.values.names
    if tag == PATIENT_NAME or tag == PATIENT_ID:
        return names.patient(cleaner.values.patient)
    if tag == ACCESSION:
        text = "".join(texts_of(dataset, key)).strip()
        return names.name("accession", text) if text else None
    if tag == INSTITUTION and not cleaner.options.institution:
        text = "".join(texts_of(dataset, key)).strip()
        return names.site(text) if text else None
    if tag == AGE and cleaner.options.patient:
        years = re.fullmatch(r"(\d{3})Y", "".join(texts_of(dataset, key)).strip())
        return f"{int(grouped_age(float(years[1])) or 0):03d}Y" if years else None
    return None


def _replaced(dataset: Any, made: Any, key: Any, vr: str, action: str, cleaner: Cleaner) -> str:  # noqa: PLR0913
    if action == NEW_UID:
        values = [cleaner.values.uid(text.strip("\0 ")) if text.strip("\0 ") else "" for text in texts_of(dataset, key)]
    elif vr in profile.TIME_VRS or vr == "SH":
        values = [cleaner.values.spelled(vr, text) for text in texts_of(dataset, key)]
    else:
        return REMOVE
    made.add_new(int(key), vr, values if len(values) > 1 else values[0] if values else None)
    return action


def _clean(dataset: Any, made: Any, key: Any, vr: str, cleaner: Cleaner) -> str:
    """Elements that may stay when their form is what it should be and nothing of the patient is in them."""
    tag, raw = int(key), dataset.get_item(key)
    if vr in profile.BYTE_VRS:
        return REMOVE
    if tag == CHARACTER_SET:
        return _character_set(dataset, made, key)
    if vr in profile.NUMBER_VRS:
        if not _number_fits(raw, vr, cleaner.secrets):
            return REMOVE
        made[key] = raw
        return KEEP
    if vr in profile.TIME_VRS or vr == "UI":
        return REMOVE
    texts = texts_of(dataset, key)
    if vr == "CS":
        fit = [text if CODE_WORD.fullmatch(text) and not cleaner.secrets.mentioned(text) else "NONE" for text in texts]
    else:
        fit = _kept_words(dataset, tag, texts, cleaner)
    if any(text and not kept for text, kept in zip(texts, fit, strict=True)) and not any(fit):
        return REMOVE
    if fit == texts:
        made[key] = raw
        return KEEP
    made.add_new(tag, vr, fit if len(fit) > 1 else fit[0] if fit else None)
    return CLEAN if fit == texts else DUMMY


def _kept_words(dataset: Any, tag: int, texts: list[str], cleaner: Cleaner) -> list[str]:
    kind = profile.kept().get(tag)
    if kind is None:  # in the table, with an option that cleans it
        return [cleaned_text(text, cleaner.secrets) for text in texts]
    if kind == "code" and not set(texts_of(dataset, CODE_SCHEME) if CODE_SCHEME in dataset else [""]) <= PUBLIC_SCHEMES:
        return ["" for _ in texts]
    return [kept_text(text, cleaner.secrets) for text in texts]


def _character_set(dataset: Any, made: Any, key: Any) -> str:
    from pydicom.charset import python_encoding

    texts = texts_of(dataset, key)
    if not all(text in python_encoding for text in texts):
        return REMOVE
    made.add_new(int(key), "CS", texts if len(texts) > 1 else texts[0] if texts else None)
    return KEEP


def _number_fits(raw: Any, vr: str, secrets: Secrets) -> bool:
    value = raw.value
    if not isinstance(value, bytes):  # already turned into a number by the reader
        return str(value) not in secrets.numbers
    if vr in ("DS", "IS"):
        words = {word.strip(b"+ \0").lstrip(b"0").decode("latin-1") for word in value.split(b"\\")}
        return bool(DECIMALS.fullmatch(value)) and not words & secrets.numbers
    if secrets.pattern is not None and secrets.pattern.search(value):
        return False
    return len(value) not in (4, 8) or str(int.from_bytes(value, "little")) not in secrets.numbers


def for_patient(cleaner: Cleaner, secrets: Secrets) -> Cleaner:
    """The same cleaner with other secrets and empty counts."""
    return replace(cleaner, secrets=secrets, done=Counter())
