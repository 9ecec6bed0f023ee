"""Private DICOM elements that may stay: those of the allow-list, when their bytes have the form it states."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from radfoundry.data import deidentify_profile as profile
from radfoundry.data.deidentify_values import Secrets

DECIMALS = re.compile(rb"[0-9eE+\-. \\\0]{1,256}")
WORD = re.compile(rb"[A-Z_]{1,16}[ \0]?")
DEVICE_WORD = re.compile(rb"[0-9A-Za-z_*./\\-]{1,32}[ \0]?")
WIDTHS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}


def private_kept(dataset: Any, options: profile.Options, secrets: Secrets) -> Iterator[tuple[Any, Any]]:
    """Elements of the allow-list with the creators they need; nothing unless the option `private` is set."""
    if not options.private:
        return
    creators, keys = {}, tuple(dataset.keys())  # iterating over the data set itself would decode every element
    for key in keys:
        if key.group & 1 and 0x10 <= key.element <= 0xFF:
            creators[key.group, key.element] = _creator(dataset, key)
    told = set()
    for key in sorted(keys):
        if not key.group & 1 or key.element < 0x1000:
            continue
        owner = (key.group, key.element >> 8)
        vr = profile.safe_private().get((creators.get(owner, ""), key.group, key.element & 0xFF))
        item = dataset.get_item(key)
        if vr is None or not _has_form(getattr(item, "value", None), vr, secrets):
            continue
        if owner not in told:
            told.add(owner)
            place = next(key for key in keys if (key.group, key.element) == owner)
            yield place, dataset.get_item(place)
        yield key, item


def _creator(dataset: Any, key: Any) -> str:
    value = getattr(dataset.get_item(key), "value", None)
    return value.decode("latin-1").strip("\0 ") if isinstance(value, bytes) else str(value or "").strip()


def _has_form(value: object, vr: str, secrets: Secrets) -> bool:
    if not isinstance(value, bytes) or not value or secrets.in_bytes(value):
        return False
    if vr in WIDTHS:
        return len(value) % WIDTHS[vr] == 0 and len(value) <= 4096
    if vr in ("DS", "IS"):
        words = {word.strip(b"+ \0").lstrip(b"0").decode("latin-1") for word in value.split(b"\\")}
        return bool(DECIMALS.fullmatch(value)) and not words & secrets.numbers
    if vr == "CS":
        return bool(WORD.fullmatch(value)) and not secrets.mentioned(value.decode("latin-1"))
    return bool(DEVICE_WORD.fullmatch(value)) and not secrets.mentioned(value.decode("latin-1"))
