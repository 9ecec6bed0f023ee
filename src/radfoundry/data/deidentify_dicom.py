"""A DICOM data set without a word that tells who, where or when: every element at every depth is judged anew."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from radfoundry.data import deidentify_profile as profile
from radfoundry.data.deidentify_overlays import OVERLAY_DATA, OVERLAYS, overlay_without_text, without_bare_overlays
from radfoundry.data.deidentify_private import private_kept
from radfoundry.data.deidentify_profile import CLEAN, DUMMY, EMPTY, KEEP, NEW_UID, REMOVE, SHIFT, Options
from radfoundry.data.deidentify_values import (
    CODE_WORD,
    NAME_LIKE,
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
BIRTH_DATE = 0x00100030
UID = re.compile(r"[0-9.]{0,64}")
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


def secrets_of(dataset: Any, options: Options) -> Secrets:
    """Everything at any depth that points to the patient: names, numbers, dates, and places unless they may stay."""
    texts: list[str] = []
    dates: list[str] = []
    for tag, value in _told(dataset, options, 0):
        (dates if tag in TOLD_DATES else texts).append(value)
        if tag == BIRTH_DATE:
            texts.append(value)
    return Secrets.of(texts, dates)


def _told(dataset: Any, options: Options, depth: int) -> Iterator[tuple[int, str]]:
    for key in list(dataset.keys()):
        tag, vr = int(key), representation(dataset, key)
        if vr == "SQ" and depth < DEPTH_LIMIT and not tag >> 16 & 1:
            for item in dataset[key].value or ():
                yield from _told(item, options, depth + 1)
        elif tag in TOLD_DATES and options.dates == "full" and tag != BIRTH_DATE:
            continue
        elif vr == "PN" or tag in TOLD_DATES or (tag in IDENTITY and profile.action_of(tag, vr, options) != KEEP):
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


@dataclass(frozen=True)
class Found:
    """One element of a data set, with the representation it is judged by."""

    dataset: Any
    key: Any
    vr: str

    @property
    def tag(self) -> int:
        """The tag as a number."""
        return int(self.key)

    @property
    def raw(self) -> Any:
        """The element as it lies in the file."""
        return self.dataset.get_item(self.key)

    @property
    def texts(self) -> list[str]:
        """Its values as text."""
        return texts_of(self.dataset, self.key)


def cleaned(dataset: Any, cleaner: Cleaner, *, depth: int = 0) -> Any:
    """A new data set with what may stay; the one given is not changed.

    Refuses nothing: what is not understood is left out. Sequences are followed to 32 levels, deeper ones are removed.
    """
    from pydicom import Dataset

    made = Dataset()
    made.set_original_encoding(*dataset.original_encoding, dataset.original_character_set)
    for key in sorted(dataset.keys()):
        group, element = key.group, key.element
        if element == 0 or group == 2:
            continue
        if group & 1 or group < 8 or group >= 0xFFFA:
            cleaner.note(int(key), "judged" if group & 1 else "removed")
            continue
        found = Found(dataset, key, representation(dataset, key))
        done = _act(found, made, cleaner, depth)
        if done not in (KEEP, CLEAN):
            cleaner.note(int(key), {REMOVE: "removed", EMPTY: "emptied", SHIFT: "shifted"}.get(done, "replaced"))
    without_bare_overlays(made)
    for key, item in private_kept(dataset, cleaner.options, cleaner.secrets):
        made[key] = item
        cleaner.note(int(key), "kept")
    return made


def _act(found: Found, made: Any, cleaner: Cleaner, depth: int) -> str:
    """Put one element into the new data set as its action says; returns what was done."""
    tag, vr = found.tag, found.vr
    action = profile.action_of(tag, vr, cleaner.options)
    if vr == "SQ":
        return _sequence(found, made, action, cleaner, depth)
    special = _special(found, cleaner) if action in (EMPTY, DUMMY, KEEP) else None
    if special is not None:
        made.add_new(tag, vr, special)
        return DUMMY
    if action == REMOVE or vr == "UN":
        return REMOVE
    if action in (EMPTY, DUMMY):
        is_said = action == DUMMY and any(text.strip() for text in found.texts)
        made.add_new(tag, vr, dummy(vr) if is_said else None)
        return action
    if action == KEEP:
        if not _may_stay(found, cleaner.secrets):
            return REMOVE
        made[found.key] = found.raw
        return KEEP
    return _replaced(found, made, action, cleaner) if action in (NEW_UID, SHIFT) else _clean(found, made, cleaner)


def _may_stay(found: Found, secrets: Secrets) -> bool:
    """Whether an element that an option keeps tells the patient all the same."""
    if found.tag in profile.PIXELS or found.vr in profile.TIME_VRS:
        return True
    if found.vr == "UI":
        return all(UID.fullmatch(text) for text in found.texts)
    if found.vr in profile.BYTE_VRS:
        return not secrets.in_bytes(found.raw.value)
    if found.vr in profile.NUMBER_VRS:
        return _number_fits(found.raw, found.vr, secrets)
    return not any(NAME_LIKE.search(text) or secrets.mentioned(text) for text in found.texts)


def _sequence(found: Found, made: Any, action: str, cleaner: Cleaner, depth: int) -> str:
    from pydicom import Sequence

    if action in (REMOVE, DUMMY) or depth >= DEPTH_LIMIT:
        return REMOVE
    if action == EMPTY:
        made.add_new(found.tag, "SQ", Sequence())
        return EMPTY
    items = [cleaned(item, cleaner, depth=depth + 1) for item in found.dataset[found.key].value or ()]
    if items and not any(len(item) for item in items):
        return REMOVE
    made.add_new(found.tag, "SQ", Sequence(items))
    return CLEAN


def _special(found: Found, cleaner: Cleaner) -> str | None:
    """Values with a pseudonym instead of nothing, so that what belongs together still does."""
    tag, names = found.tag, cleaner.values.names
    if tag in (PATIENT_NAME, PATIENT_ID):
        return names.patient(cleaner.values.patient)
    if tag not in (ACCESSION, INSTITUTION, AGE):
        return None
    text = "".join(found.texts).strip()
    if tag == ACCESSION:
        return names.name("accession", text) if text else None
    if tag == INSTITUTION:
        return names.site(text) if text and not cleaner.options.institution else None
    years = re.fullmatch(r"(\d{3})Y", text) if cleaner.options.patient else None
    return f"{int(grouped_age(float(years[1])) or 0):03d}Y" if years else None


def _replaced(found: Found, made: Any, action: str, cleaner: Cleaner) -> str:
    texts = [text.strip("\0 ") for text in found.texts]
    if action == NEW_UID:
        values = [cleaner.values.uid(text) if text else "" for text in texts]
    elif found.vr in profile.TIME_VRS or found.vr == "SH":
        values = [cleaner.values.spelled(found.vr, text) for text in texts]
    else:
        return REMOVE
    made.add_new(found.tag, found.vr, values if len(values) > 1 else values[0] if values else None)
    return action


def _clean(found: Found, made: Any, cleaner: Cleaner) -> str:
    """Elements that may stay when their form is what it should be and nothing of the patient is in them."""
    vr, raw = found.vr, found.raw
    if found.key.group in OVERLAYS and found.key.element == OVERLAY_DATA:
        return REMOVE if cleaner.secrets.in_bytes(raw.value) else overlay_without_text(found.dataset, found.key, made)
    if vr in profile.BYTE_VRS or vr in profile.TIME_VRS or vr == "UI":
        return REMOVE
    if vr in profile.NUMBER_VRS:
        if not _number_fits(raw, vr, cleaner.secrets):
            return REMOVE
        made[found.key] = raw
        return KEEP
    texts = found.texts
    fit = _fitting(found, texts, cleaner)
    if any(text and not kept for text, kept in zip(texts, fit, strict=True)) and not any(fit):
        return REMOVE
    made.add_new(found.tag, vr, fit if len(fit) > 1 else fit[0] if fit else None)
    return KEEP if fit == texts else DUMMY


def _fitting(found: Found, texts: list[str], cleaner: Cleaner) -> list[str]:
    """What of texts may stay; an empty word stands for one that may not."""
    secrets = cleaner.secrets
    if found.tag == CHARACTER_SET:
        from pydicom.charset import python_encoding

        return texts if all(text in python_encoding for text in texts) else ["" for _ in texts]
    if found.vr == "CS":
        return [text if CODE_WORD.fullmatch(text) and not secrets.mentioned(text) else "NONE" for text in texts]
    kind = profile.kept().get(found.tag)
    if kind is None:  # in the table, with an option that cleans it
        return [cleaned_text(text, secrets) for text in texts]
    schemes = texts_of(found.dataset, CODE_SCHEME) if CODE_SCHEME in found.dataset else [""]
    if kind == "code" and not set(schemes) <= PUBLIC_SCHEMES:
        return ["" for _ in texts]
    return [kept_text(text, secrets) for text in texts]


def _number_fits(raw: Any, vr: str, secrets: Secrets) -> bool:
    value = raw.value
    if not isinstance(value, bytes):  # already turned into a number by the reader
        return str(value) not in secrets.numbers
    if vr in ("DS", "IS"):
        words = {word.strip(b"+ \0").lstrip(b"0").decode("latin-1") for word in value.split(b"\\")}
        return bool(DECIMALS.fullmatch(value)) and not words & secrets.numbers
    if secrets.in_bytes(value):
        return False
    return len(value) not in (4, 8) or str(int.from_bytes(value, "little")) not in secrets.numbers
