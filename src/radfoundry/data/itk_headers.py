"""The text headers of NRRD and MetaImage files, brought to one form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from radfoundry.data.reading import Repair
from radfoundry.data.voxels import picture_affine, refused
from radfoundry.records import InputError
from radfoundry.volume import check_affine

NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
TO_RAS = {  # the sign of each axis of an NRRD space on its way to RAS
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
SHORT_SPACES = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}
ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
LARGEST_AXIS = 1 << 31
LARGEST_MM = 1e7


@dataclass(frozen=True)
class ItkHeader:
    """What the header states: axis lengths in file order, voxel type, where voxels lie, and where the image lies.

    `directions` has one RAS step in mm per spatial axis, or is None where the file states no place.
    """

    sizes: tuple[int, ...]
    dtype: np.dtype
    channel_axis: int | None
    directions: np.ndarray | None
    origin: np.ndarray | None
    steps: tuple[float, ...]
    encoding: str
    begins: int
    offset: int
    data_file: str
    where: str

    @property
    def payload_bytes(self) -> int:
        """How many bytes the voxels take."""
        return math.prod(self.sizes) * self.dtype.itemsize

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape as a volume has it, (C, I, J, K)."""
        space = [n for axis, n in enumerate(self.sizes) if axis != self.channel_axis]
        i, j, k = [*space, 1, 1, 1][:3]
        return (1 if self.channel_axis is None else self.sizes[self.channel_axis], i, j, k)

    def placement(self, repair: Repair) -> tuple[np.ndarray, tuple[str, ...]]:
        """The affine to RAS mm and what was mended; a file that states no place is refused unless told otherwise."""
        if self.directions is None or self.origin is None:
            if repair.geometry != "image":
                raise refused("states no place in the patient", self.where, "no-geometry")
            steps = [*self.steps, 1.0, 1.0, 1.0][:3]
            scale = [step if math.isfinite(step) and step > 0 else 1.0 for step in steps]
            return picture_affine() @ np.diag([*scale, 1.0]), ("no-geometry",)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = self.directions.T, self.origin
        if np.abs(affine).max() > LARGEST_MM:
            raise refused("the affine places voxels kilometres away", self.where, "affine")
        try:
            check_affine(affine)
        except InputError as error:
            raise refused(error.what, self.where, "affine") from None
        return affine, ()


def parse_itk_header(data: bytes, *, where: str = "") -> ItkHeader:
    """The header at the start of `data`, NRRD or MetaImage; refuses everything else."""
    try:
        if data.startswith(b"NRRD000"):
            return _nrrd(data, where)
        if re.match(rb"\s*(ObjectType|NDims|Comment)\s*=", data):
            return _meta_image(data, where)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise refused("its header cannot be understood", where, "unreadable") from None
    raise refused("not an NRRD or MetaImage file", where, "not-an-image")


def _nrrd(data: bytes, where: str) -> ItkHeader:
    fields, end = _nrrd_fields(data)
    names = {word: kind for kind, words in NRRD_TYPES.items() for word in words}
    kind = names.get(fields["type"].lower())
    encoding = ENCODINGS.get(fields["encoding"].lower())
    if kind is None or encoding is None or "lineskip" in fields:
        raise refused(f"NRRD of type {fields['type']}, encoding {fields['encoding']}", where, "unsupported")
    sizes = _sizes(fields["sizes"], int(fields["dimension"]), where)
    vectors = _vectors(fields.get("spacedirections", ""))
    origin = _vectors(fields.get("spaceorigin", ""))
    space = fields.get("space", "").lower()
    space = SHORT_SPACES.get(space, space).removesuffix("-time")
    directions, channel_axis = _nrrd_directions(vectors, TO_RAS.get(space), len(sizes), _in_mm(fields))
    data_file = fields.get("datafile", "")
    skip = int(fields.get("byteskip", "0"))
    begins, offset = (0 if data_file else end), max(0, skip)
    if skip == -1 and encoding == "raw":
        raise refused("voxels at the end of their file (byte skip -1)", where, "unsupported")
    if channel_axis is None and len(sizes) == 4:
        kinds = fields.get("kinds", "").lower().split()
        channel_axis = 3 if not kinds or kinds[0] in ("domain", "space", "???") else 0
    first = None if not origin or origin[0] is None else origin[0]
    placed = directions is not None and first is not None and len(first) >= 3
    return ItkHeader(
        sizes=sizes,
        dtype=np.dtype(kind).newbyteorder(">" if fields.get("endian", "little").lower() == "big" else "<"),
        channel_axis=channel_axis,
        directions=directions if placed else None,
        origin=np.array(first[:3]) * TO_RAS[space] if placed and first is not None else None,
        steps=tuple(float(word) for word in fields.get("spacings", "").split()),
        encoding=encoding,
        begins=begins,
        offset=offset,
        data_file=data_file,
        where=where,
    )


def _nrrd_fields(data: bytes) -> tuple[dict[str, str], int]:
    end = min((i + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (i := data.find(mark)) >= 0), default=len(data))
    fields = {}
    for line in data[:end].decode("utf-8", errors="replace").splitlines()[1:]:
        name, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            fields[name.strip().lower().replace(" ", "")] = value.strip()
    return fields, end


def _in_mm(fields: Mapping[str, str]) -> bool:
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))
    return all(unit.strip().lower() in ("mm", "millimeter", "millimetre", "") for unit in units[:3])


def _vectors(text: str) -> list[tuple[float, ...] | None]:
    found = re.findall(r"none|\(([^)]*)\)", text)
    return [tuple(float(number) for number in inside.split(",")) if inside else None for inside in found]


def _nrrd_directions(
    vectors: list[tuple[float, ...] | None], signs: tuple[int, int, int] | None, axes: int, in_mm: bool
) -> tuple[np.ndarray | None, int | None]:
    if len(vectors) != axes:
        return None, None
    # In a space with time the fourth axis is the one whose step has no part in the three of space.
    spatial = [n for n, step in enumerate(vectors) if step is not None and any(step[:3])]
    others = [n for n in range(axes) if n not in spatial]
    channel_axis = others[0] if len(others) == 1 and axes == 4 else None
    if signs is None or not in_mm or len(spatial) != 3 or len(others) > 1:
        return None, channel_axis
    steps = [step[:3] for step in vectors if step is not None and any(step[:3])]
    return np.array(steps) * signs, channel_axis


def _sizes(text: str, axes: int, where: str) -> tuple[int, ...]:
    sizes = tuple(int(word) for word in text.split())
    if len(sizes) != axes or any(not 0 <= n < LARGEST_AXIS for n in sizes):
        raise refused(f"{axes} axes of lengths {text[:60]!r}", where, "shape")
    if 0 in sizes:
        raise refused(f"an axis has no voxels: {list(sizes)}", where, "empty-axis")
    if not 2 <= axes <= 4:
        raise refused(f"an image of {axes} axes", where, "unsupported")
    return sizes


def _meta_image(data: bytes, where: str) -> ItkHeader:
    fields, end = _meta_fields(data)
    if "ElementDataFile" not in fields:
        raise refused("its header does not end", where, "truncated")
    kind = META_TYPES.get(fields["ElementType"])
    if kind is None or fields.get("BinaryData", "True").lower() == "false":
        raise refused(f"voxels of type {fields['ElementType']} or written as text", where, "unsupported")
    space_axes, components = int(fields["NDims"]), int(fields.get("ElementNumberOfChannels", "1"))
    sizes = _sizes(fields["DimSize"], space_axes, where)
    if components > 1:
        if space_axes > 3 or components >= LARGEST_AXIS:
            raise refused("components in an image with time", where, "unsupported")
        sizes = (components, *sizes)
    swapped = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    local = fields["ElementDataFile"].upper() == "LOCAL"
    header_size = int(fields.get("HeaderSize", "0"))
    if header_size < 0:
        raise refused("voxels at the end of their file (HeaderSize -1)", where, "unsupported")
    directions, origin = _meta_placement(fields, space_axes)
    return ItkHeader(
        sizes=sizes,
        dtype=np.dtype(kind).newbyteorder(">" if swapped else "<"),
        channel_axis=0 if components > 1 else 3 if space_axes == 4 else None,
        directions=directions,
        origin=origin,
        steps=tuple(_numbers(fields, "ElementSpacing", "ElementSize")[:3]),
        encoding="zlib" if fields.get("CompressedData", "False").lower() == "true" else "raw",
        begins=(end if local else 0) + header_size,
        offset=0,
        data_file="" if local else fields["ElementDataFile"],
        where=where,
    )


def _meta_fields(data: bytes) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    position = 0
    while position < len(data) and "ElementDataFile" not in fields:
        stop = data.find(b"\n", position)
        stop = len(data) if stop < 0 else stop
        name, equals, value = data[position:stop].decode("utf-8", errors="replace").partition("=")
        if equals:
            fields[name.strip()] = value.strip()
        position = stop + 1
    return fields, position


def _numbers(fields: Mapping[str, str], *names: str) -> list[float]:
    for name in names:
        if name in fields:
            return [float(word) for word in fields[name].split()]
    return []


def _meta_placement(fields: Mapping[str, str], axes: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    steps = _numbers(fields, "ElementSpacing", "ElementSize")
    matrix = _numbers(fields, "TransformMatrix", "Orientation", "Rotation")
    origin = _numbers(fields, "Offset", "Position", "Origin")
    if axes < 3 or len(steps) != axes or len(matrix) != axes * axes or len(origin) != axes:
        return None, None
    rows = np.array(matrix).reshape(axes, axes)[:3, :3]  # one row per image axis, in left-posterior-superior
    signs = TO_RAS["left-posterior-superior"]
    with np.errstate(invalid="ignore", over="ignore"):  # an infinite step is refused where the affine is checked
        return rows * np.array(steps[:3])[:, None] * signs, np.array(origin[:3]) * signs
