"""Image formats that are known and not read: naming one is more help than calling it no image."""

from __future__ import annotations

# First bytes, from which byte on, and what the format is called.
SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"II*\x00", 0, "TIFF"),
    (b"MM\x00*", 0, "TIFF"),
    (b"II+\x00", 0, "TIFF"),
    (b"MM\x00+", 0, "TIFF"),
    (b"GIF8", 0, "GIF"),
    (b"WEBP", 8, "WebP"),
    (b"\x00\x00\x00\x0cjP  ", 0, "JPEG 2000"),
    (b"\xff\x4f\xff\x51", 0, "JPEG 2000"),
    (b"ftyp", 4, "video or HEIF"),
    (b"\x93NUMPY", 0, "NumPy"),
    (b"MATLAB 5.0", 0, "MATLAB"),
    (b"\x89HDF\r\n\x1a\n", 0, "HDF5"),
    (b"CDF\x01", 0, "MINC"),
    (b"%PDF", 0, "PDF"),
)
ENDINGS = {
    **dict.fromkeys((".mgz", ".mgh"), "FreeSurfer"),
    **dict.fromkeys((".par", ".rec"), "Philips PAR/REC"),
    **dict.fromkeys((".npz", ".npy"), "NumPy"),
    **dict.fromkeys((".tif", ".tiff", ".svs"), "TIFF"),
    ".bmp": "BMP",
}


def foreign_format(head: bytes, *, name: str = "") -> str | None:
    """What a file that is not read seems to be, from its first bytes and then its name; None for anything else.

    >>> foreign_format(b"II*" + bytes(8)), foreign_format(b"hello", name="brain.MGZ"), foreign_format(b"hello")
    ('TIFF', 'FreeSurfer', None)
    """
    for signature, start, called in SIGNATURES:
        if head[start : start + len(signature)] == signature:
            return called
    if head[:2] == b"BM" and int.from_bytes(head[6:10], "little") == 0 and len(head) >= 26:
        return "BMP"
    return next((called for ending, called in ENDINGS.items() if name.lower().endswith(ending)), None)
