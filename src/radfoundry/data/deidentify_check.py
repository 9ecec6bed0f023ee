"""The second pass: a written file is read again, by other code than wrote it, and must not tell anything."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterable

from radfoundry.data import deidentify_profile as profile
from radfoundry.data.deidentify_values import DATE_LIKE, NAME_LIKE, Secrets
from radfoundry.data.dicom_pydicom import silence
from radfoundry.data.dicom_scan import ScanError, scan

NAME_BYTES = re.compile(rb"[A-Za-z]{2,}\^[A-Za-z]{2,}")
TOKENS = re.compile(rb"[0-9A-Za-z\xc0-\xff]{5,}")
PIXEL_WORD = 7  # shorter words turn up in pixels by chance
SILENT_VRS = frozenset(("UI", "DA", "DT", "TM", "DS", "IS"))
FILTER_BITS = 1 << 25
FILTER_HASHES = 6


def residues(data: bytes, name: str, secrets: Secrets) -> list[str]:
    """What a written file still tells: kinds of finding, never the words themselves; empty when it tells nothing.

    Looked for: the patient's words, numbers and dates in the raw bytes of everything but pixels, long ones in the
    pixels too; texts like a person's name (`A^B`) or a date in any element that is no date; a filled preamble.

    >>> residues(bytes(128) + b"DICM" + b"Mueller", "x.dcm", Secrets.of(["Mueller^Anna"]))
    ['a word of the patient']
    """
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    header, pixels = _parts(data, name)
    found = []
    if secrets.pattern is not None:
        if secrets.in_bytes(header):
            found.append("a word of the patient")
        if any(len(hit) >= PIXEL_WORD for hit in secrets.pattern.findall(pixels)):
            found.append("a word of the patient in the pixels")
    if name.endswith(".dcm"):
        if any(data[:128]):
            found.append("a filled preamble")
        found += sorted(set(_told_by_elements(data, secrets)))
    else:
        found += sorted(
            set(_told_by_texts([run.decode("latin-1") for run in re.findall(rb"[ -~\xa0-\xff]{6,}", header)], secrets))
        )
    return found


def _parts(data: bytes, name: str) -> tuple[bytes, bytes]:
    """The bytes that hold words, and those that hold pixels."""
    if name.endswith(".dcm"):
        try:
            offset = scan(data, frozenset()).pixel_offset
        except ScanError:
            offset = -1
        return (data[:offset], data[offset:]) if offset >= 0 else (data, b"")
    if name.endswith((".nii", ".nii.gz")):
        return data[:544], data[544:]
    return (b"", data) if name.endswith((".png", ".jpg")) else (data, b"")


def _told_by_elements(data: bytes, secrets: Secrets) -> Iterable[str]:
    import pydicom

    with silence():
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
        texts = []
        for element in dataset.iterall():
            if element.VR in SILENT_VRS or element.VR == "SQ" or element.value is None:
                continue
            parts = element.value if element.VM > 1 else [element.value]
            texts += [str(part) for part in parts if isinstance(part, (str, bytes)) or element.VR == "PN"]
    return _told_by_texts(texts, secrets)


def _told_by_texts(texts: Iterable[str], secrets: Secrets) -> Iterable[str]:
    for text in texts:
        if NAME_LIKE.search(text):
            yield "a text like a person's name"
        if DATE_LIKE.search(text):
            yield "a text like a date"
        if secrets.mentioned(text):
            yield "a word, number or date of the patient"


class ToldWords:
    """The telling words of a whole cohort as a filter of fixed size (Bloom 1970): none is stored, all are recognised.

    Keyed, so that the filter says nothing without the key. Of 100,000 words about one strange word in ten million is
    taken for one of them.
    """

    def __init__(self, secret: bytes, bits: bytearray | None = None) -> None:
        self.secret = secret[:32]
        self.bits = bytearray(FILTER_BITS // 8) if bits is None else bits

    def places(self, word: str) -> list[int]:
        """The places of one word in the filter."""
        digest = hashlib.blake2b(word.encode(), digest_size=4 * FILTER_HASHES, key=self.secret).digest()
        return [int.from_bytes(digest[at : at + 4], "little") % FILTER_BITS for at in range(0, len(digest), 4)]

    def add(self, places: Iterable[int]) -> None:
        """Remember the places of a word."""
        for place in places:
            self.bits[place >> 3] |= 1 << (place & 7)

    def knows(self, word: str) -> bool:
        """Whether a word was (almost certainly) added."""
        return all(self.bits[place >> 3] & 1 << (place & 7) for place in self.places(word))

    def told_in(self, data: bytes, name: str) -> bool:
        """Whether any word of five signs or more in the header of a file is one of anybody's telling words."""
        try:
            data = gzip.decompress(data) if name.endswith(".gz") else data
        except (OSError, zlib.error, EOFError):
            return True
        tokens = {token.decode("latin-1").casefold() for token in TOKENS.findall(_parts(data, name)[0])}
        return any(self.knows(token) for token in tokens - profile.words())


def longer_words(secrets: Secrets) -> list[str]:
    """Words worth remembering across patients: of five signs or more, with a letter in them or long numbers."""
    return sorted(word for word in secrets.words if len(word) >= 6 or (len(word) == 5 and word.isalpha()))
