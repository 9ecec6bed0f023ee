"""What kind of file a few first bytes belong to."""

from __future__ import annotations

import zlib
from collections.abc import Callable

HEAD_BYTES = 1024
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
COMPRESSED_TAR_NAMES = (".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.gz", ".tgz")
TABLES = (".csv", ".tsv", ".xlsx", ".parquet")
COMPANIONS = {".img": (".hdr",), ".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",)}
GZIPPED_COMPANIONS = {".img.gz": (".hdr", ".hdr.gz"), ".raw.gz": (".nhdr",)}
EXPLICIT_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


def kind_of_bytes(head: bytes, *, name: str = "") -> str:
    """The kind of a file from its first `HEAD_BYTES` bytes; the name decides only what the content cannot.

    >>> kind_of_bytes(bytes(128) + b"DICM"), kind_of_bytes(b"NRRD0004"), kind_of_bytes(b"hello")
    ('dicom', 'itk', 'other')
    """
    lower = name.lower()
    if head[:2] == b"\x1f\x8b":
        return _kind_of_gzip(head, lower)
    if head[:4] in ZIP:
        return "table" if lower.endswith(".xlsx") else "other" if lower.endswith((".npz", ".docx")) else "archive"
    if is_dicom(head):
        return "dicom"
    if _is_image_header(head, lower):
        return _image_kind(head)
    if head.startswith(PICTURES):
        return "picture"
    if _is_tar(head) or ((head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\x00") and lower.endswith(COMPRESSED_TAR_NAMES)):
        return "archive"
    return _kind_of_text(head, lower)


def is_dicom(head: bytes) -> bool:
    """Whether bytes begin a DICOM file, with the 128-byte preamble and `DICM` or, in old files, without."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    group, element = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    if (group == 0x0002 and element == 0) or (group == 0x0008 and element in (0, 1, 5, 8, 0x16, 0x18)):
        length = int.from_bytes(head[4:8], "little")
        return head[4:6] in EXPLICIT_VRS or length < 256
    return False


def _is_image_header(head: bytes, lower: str) -> bool:
    return _is_nifti(head) or head.startswith(b"NRRD000") or _is_metaimage(head, lower)


def _image_kind(head: bytes) -> str:
    return "nifti" if _is_nifti(head) else "itk"


def _is_nifti(head: bytes) -> bool:
    size = head[:4]
    if size in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"):  # 348: NIfTI-1, or Analyze without a magic word
        return len(head) >= 348
    return size in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") and head[4:7] in (b"n+2", b"ni2")


def _is_metaimage(head: bytes, lower: str) -> bool:
    start = head.lstrip()[:10]
    return (start.startswith((b"ObjectType", b"NDims")) and b"=" in head) or lower.endswith((".mha", ".mhd"))


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _kind_of_gzip(head: bytes, lower: str) -> str:
    try:
        inner = zlib.decompressobj(31).decompress(head, HEAD_BYTES)
    except zlib.error:
        inner = b""
    if _is_tar(inner) or lower.endswith((".tar.gz", ".tgz")):
        return "archive"
    if _is_nifti(inner) or lower.endswith(".nii.gz"):
        return "nifti"
    return "other"


def _kind_of_text(head: bytes, lower: str) -> str:
    if lower.endswith(".json"):
        return "json"
    if lower.endswith(TABLES) or head[:4] == b"PAR1":
        return "table"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return "json"
    if lower.endswith((".nii", ".hdr")):
        return "nifti"
    if lower.endswith((".nrrd", ".nhdr")):
        return "itk"
    if lower.endswith((".dcm", ".ima", ".dicom")):
        return "dicom"  # named so by its owner: reading it says what is wrong with it
    return "picture" if lower.endswith((".png", ".jpg", ".jpeg")) else "other"


def is_companion(name: str, exists: Callable[[str], bool]) -> bool:
    """Whether a file is the pixel half of a header file that `exists` beside it.

    >>> is_companion("brain.img", {"brain.hdr"}.__contains__)
    True
    """
    lower = name.lower()
    for suffix, headers in (GZIPPED_COMPANIONS | COMPANIONS).items():
        if lower.endswith(suffix):
            stem = name[: -len(suffix)]
            return any(exists(stem + header) for header in headers)
    return False
