"""Volumes on disk: chunked, compressed arrays that are read in part, and that notice when they were damaged.

One file holds one volume as a Blosc2 array (`.b2nd`, readable by any Blosc2 library) in chunks of 64³
voxels and blocks of 32³, compressed losslessly with Zstandard. Affine, units and channel names are JSON in
the file's metadata, together with a checksum of every chunk, because the format itself has none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from isal import isal_zlib

from radfoundry.records import InputError
from radfoundry.runs import atomic
from radfoundry.volume import Geometry, Volume, points_to_world

FORMAT = 1
SUFFIX = ".b2nd"
METADATA = "radfoundry"
CHUNK, BLOCK = 64, 32
LEVEL = 5
KINDS = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")
DAMAGE = (RuntimeError, ValueError, TypeError, LookupError, OSError, EOFError, ArithmeticError)
REMEDY = "write it again from its source, for example with radfoundry ingest"


def write_volume(path: str | Path, volume: Volume, *, threads: int = 1) -> None:
    """Store an image, whole or not at all; voxels keep their type and every bit.

    Refuses voxel types other than booleans, integers and floats.

    >>> image = Volume.of(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
    >>> write_volume("/tmp/radfoundry-doctest.b2nd", image)
    >>> read_crop("/tmp/radfoundry-doctest.b2nd", (1, 0, 0), (1, 3, 2)).array.ravel().tolist()
    [12, 13, 16, 17, 20, 21]
    """
    kind = volume.array.dtype.newbyteorder("=").str[1:]
    if kind not in KINDS:
        raise InputError(f"voxels of type {volume.array.dtype} are not stored", where=str(path), remedy="use float32")
    array: Any = np.ascontiguousarray(volume.array, dtype=volume.array.dtype.newbyteorder("<"))
    stored: Any = blosc2.asarray(
        array,
        chunks=(1, *(min(CHUNK, n) for n in volume.shape)),
        blocks=(1, *(min(BLOCK, n) for n in volume.shape)),
        cparams={
            "codec": blosc2.Codec.ZSTD,
            "clevel": LEVEL,
            "filters": [blosc2.Filter.SHUFFLE],
            "filters_meta": [0],
            "nthreads": threads,
        },
    )
    details: dict[str, Any] = {
        "format": FORMAT,
        "affine": volume.affine.tolist(),
        "units": volume.units,
        "channels": list(volume.channels),
        "content": content_hash(replace(volume, array=array)),
        "shape": list(array.shape),
        "dtype": array.dtype.str,
    }
    # A chunk of one repeated value is written in other words to a frame than it has in memory.
    framed: Any = blosc2.ndarray_from_cframe(stored.to_cframe())
    details["checksums"] = [_checksum(framed, n) for n in range(framed.schunk.nchunks)]
    text = json.dumps(details, allow_nan=False)
    stored.schunk.vlmeta[METADATA] = f"{isal_zlib.crc32(text.encode()):08x}{text}"
    data = stored.to_cframe()
    try:
        with atomic(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError("the disk is full", where=str(path), remedy="free space and start again") from None
        raise


def _checksum(stored: Any, chunk: int) -> int:
    return int(isal_zlib.crc32(stored.schunk.get_chunk(chunk)))


def read_volume(path: str | Path, *, threads: int = 1) -> Volume:
    """A stored image, whole; refuses a damaged file and names it."""
    with_details = StoredVolume.open(path, threads=threads)
    return with_details.crop((0, 0, 0), with_details.shape[1:])


def read_crop(path: str | Path, start: Sequence[int], size: Sequence[int]) -> Volume:
    """A box of a stored image, `size` voxels from voxel `start`; only the chunks it touches are read.

    Refuses a box that leaves the image, and a damaged file.
    """
    return StoredVolume.open(path).crop(start, size)


def volume_geometry(path: str | Path) -> Geometry:
    """Where a stored image lies, without reading its voxels."""
    return StoredVolume.open(path).geometry


def stored_content(path: str | Path) -> str:
    """The content hash written with a stored image, without reading its voxels."""
    return StoredVolume.open(path).content


def content_hash(volume: Volume) -> str:
    """A fingerprint of voxels, voxel type, affine, units and channel names; equal images have equal ones.

    The affine counts to a hundred-thousandth of a mm, so that rounding on its way through a file does not matter.
    """
    array = np.ascontiguousarray(volume.array, dtype=volume.array.dtype.newbyteorder("<"))
    placed = (np.round(volume.affine, 5) + 0.0).tolist()  # + 0.0 turns -0.0 into 0.0
    details = [list(array.shape), array.dtype.str, placed, volume.units, list(volume.channels)]
    fingerprint = hashlib.sha256(json.dumps(details).encode())
    fingerprint.update(array.data)
    return fingerprint.hexdigest()[:32]


@dataclass(frozen=True, eq=False)
class StoredVolume:
    """An open stored image: header at hand, voxels read box by box; chunks are verified when first touched."""

    path: str
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    units: str
    channels: tuple[str, ...]
    content: str
    checksums: tuple[int, ...]
    stored: Any
    verified: set[int]

    @classmethod
    def open(cls, path: str | Path, *, threads: int = 1) -> StoredVolume:
        """Open a stored image; refuses a missing, foreign or damaged file."""
        where = str(path)
        if not Path(path).is_file():
            raise InputError("no such stored volume", where=where, remedy="check the path", finding="missing-file")
        try:
            options: Any = {"mode": "r", "mmap_mode": "r", "dparams": {"nthreads": threads}}
            stored: Any = blosc2.open(where, **options)
            details = _details(stored.schunk.vlmeta[METADATA])
            opened = cls(
                path=where,
                shape=tuple(int(n) for n in details["shape"]),  # ty: ignore[invalid-argument-type]
                dtype=np.dtype(details["dtype"]),
                affine=np.array(details["affine"], dtype=float),
                units=str(details["units"]),
                channels=tuple(details["channels"]),
                content=str(details["content"]),
                checksums=tuple(details["checksums"]),
                stored=stored,
                verified=set(),
            )
            fits = stored.shape == opened.shape and stored.dtype == opened.dtype and details["format"] == FORMAT
            fits = fits and stored.schunk.nchunks == len(opened.checksums)
        except DAMAGE as error:
            raise damaged(where, f"not a stored volume ({type(error).__name__})") from None
        if not fits:
            raise damaged(where, "its parts contradict each other")
        return opened

    @property
    def geometry(self) -> Geometry:
        """Where the image lies."""
        return Geometry(self.shape[1:], self.affine)

    def crop(self, start: Sequence[int], size: Sequence[int]) -> Volume:
        """The box of `size` voxels from voxel `start`, as a volume of its own."""
        low, length = np.asarray(start, dtype=int), np.asarray(size, dtype=int)
        array = self.read(low, length)
        affine = self.affine.copy()
        affine[:3, 3] = points_to_world(self.affine, low[None])[0]
        return Volume(array, affine, self.units, self.channels)

    def read(self, start: Sequence[int] | np.ndarray, size: Sequence[int] | np.ndarray) -> np.ndarray:
        """The voxels of a box, `(C, *size)`."""
        low, length = np.asarray(start, dtype=int), np.asarray(size, dtype=int)
        if (low < 0).any() or (length < 1).any() or (low + length > self.shape[1:]).any():
            raise InputError(
                f"box {low.tolist()}+{length.tolist()} leaves the grid {list(self.shape[1:])}",
                where=self.path,
                finding="crop",
            )
        window = (slice(None), *(slice(int(a), int(a + n)) for a, n in zip(low, length, strict=True)))
        try:
            self._verify(low, low + length)
            return self.stored[window]
        except DAMAGE as error:
            if isinstance(error, InputError):
                raise
            raise damaged(self.path, f"a chunk cannot be read ({type(error).__name__})") from None

    def _verify(self, low: np.ndarray, high: np.ndarray) -> None:
        sides = self.stored.chunks[1:]
        counts = [math.ceil(n / side) for n, side in zip(self.shape[1:], sides, strict=True)]
        touched = [range(a // side, -(-b // side)) for a, b, side in zip(low, high, sides, strict=True)]
        grid = np.meshgrid(range(self.shape[0]), *touched, indexing="ij")
        numbers = np.ravel_multi_index(tuple(axis.ravel() for axis in grid), (self.shape[0], *counts))
        for chunk in set(numbers.tolist()) - self.verified:
            if _checksum(self.stored, chunk) != self.checksums[chunk]:
                raise damaged(self.path, "its voxels do not have the checksum written with them")
            self.verified.add(chunk)


def _details(text: str) -> dict[str, Any]:
    if int(text[:8], 16) != isal_zlib.crc32(text[8:].encode()):
        raise ValueError("checksum of the metadata")
    return json.loads(text[8:])


def damaged(where: str, what: str) -> InputError:
    """The error for a stored volume that cannot be trusted."""
    return InputError(what, where=where, remedy=REMEDY, finding="damaged")
