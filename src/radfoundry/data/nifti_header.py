"""The NIfTI header: 348 or 540 bytes that say what the voxels are and where they lie.

Source: R. W. Cox et al., "A (sort of) new image data format standard: NIfTI-1", 2004, and the field
tables nifti1.h and nifti2.h of the NIfTI working group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from radfoundry.data.reading import Repair
from radfoundry.data.voxels import refused
from radfoundry.records import InputError
from radfoundry.volume import Geometry, check_affine

FIELDS = (  # name, format and offset in NIfTI-1, format and offset in NIfTI-2
    ("sizeof_hdr", "i4", 0, "i4", 0),
    ("dim", "(8,)i2", 40, "(8,)i8", 16),
    ("datatype", "i2", 70, "i2", 12),
    ("bitpix", "i2", 72, "i2", 14),
    ("pixdim", "(8,)f4", 76, "(8,)f8", 104),
    ("vox_offset", "f4", 108, "i8", 168),
    ("slope", "f4", 112, "f8", 176),
    ("intercept", "f4", 116, "f8", 184),
    ("xyzt_units", "u1", 123, "i4", 500),
    ("descrip", "S80", 148, "S80", 240),
    ("qform_code", "i2", 252, "i4", 344),
    ("sform_code", "i2", 254, "i4", 348),
    ("quaternion", "(3,)f4", 256, "(3,)f8", 352),
    ("qoffset", "(3,)f4", 268, "(3,)f8", 376),
    ("srow", "(3,4)f4", 280, "(3,4)f8", 400),
    ("magic", "S4", 344, "S8", 4),
)
SIZES = {1: 348, 2: 540}
DTYPES = {
    version: np.dtype(
        {
            "names": [field[0] for field in FIELDS],
            "formats": [field[2 * version - 1] for field in FIELDS],
            "offsets": [field[2 * version] for field in FIELDS],
            "itemsize": size,
        }
    )
    for version, size in SIZES.items()
}
VOXELS = {  # datatype code -> numpy type, values per voxel
    2: ("u1", 1),
    4: ("i2", 1),
    8: ("i4", 1),
    16: ("f4", 1),
    64: ("f8", 1),
    128: ("u1", 3),
    256: ("i1", 1),
    512: ("u2", 1),
    768: ("u4", 1),
    1024: ("i8", 1),
    1280: ("u8", 1),
    2304: ("u1", 4),
}
REFUSED = {0: "no", 1: "1-bit", 32: "complex", 1536: "128-bit", 1792: "complex", 2048: "complex"}
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
LARGEST_MM = 1e7
UNITS_NOTE = "radfoundry units="


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header states: shape (C, I, J, K), voxel type, scaling, and both ways to place the image."""

    version: int
    shape: tuple[int, int, int, int]
    dtype: np.dtype
    colours: int
    offset: int
    slope: float
    intercept: float
    units: str
    two_files: bool
    mm_per_unit: float
    pixdim: tuple[float, ...]
    qform_code: int
    sform_code: int
    quaternion: tuple[float, float, float]
    qoffset: tuple[float, float, float]
    srow: np.ndarray
    where: str = ""

    @property
    def payload_bytes(self) -> int:
        """How many bytes the voxels take."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(data: bytes, *, where: str = "") -> NiftiHeader:
    """The header at the start of `data`; refuses what is not NIfTI, and sizes and types that cannot be."""
    record, version = _record(data, where)
    code = int(record["datatype"])
    if code not in VOXELS:
        kind = REFUSED.get(code, f"unknown (code {code})")
        raise refused(f"voxels of {kind} type are not read", where, "unsupported")
    kind, colours = VOXELS[code]
    magic = bytes(record["magic"])
    return NiftiHeader(
        version=version,
        shape=_shape([int(n) for n in record["dim"]], colours, where),
        dtype=np.dtype(kind).newbyteorder(record.dtype["dim"].base.byteorder),
        colours=colours if colours > 1 else 0,
        offset=_offset(float(record["vox_offset"]), magic.startswith(b"n+"), version, where),
        slope=_scale(float(record["slope"]), float(record["intercept"]), where)[0],
        intercept=_scale(float(record["slope"]), float(record["intercept"]), where)[1],
        units=_units(bytes(record["descrip"])),
        two_files=magic.startswith(b"ni"),
        mm_per_unit=MM_PER_UNIT.get(int(record["xyzt_units"]) & 7, 1.0),
        pixdim=tuple(float(x) for x in record["pixdim"]),
        qform_code=int(record["qform_code"]),
        sform_code=int(record["sform_code"]),
        quaternion=_three(record["quaternion"]),
        qoffset=_three(record["qoffset"]),
        srow=np.asarray(record["srow"], dtype=float),
        where=where,
    )


def _record(data: bytes, where: str) -> tuple[np.void, int]:
    for version, size in SIZES.items():
        for order in "<>":
            if len(data) >= 4 and int.from_bytes(data[:4], "little" if order == "<" else "big") == size:
                if len(data) < size:
                    raise refused(f"the header ends after {len(data)} of {size} bytes", where, "truncated")
                record = np.frombuffer(data[:size], DTYPES[version].newbyteorder(order))[0]
                if bytes(record["magic"])[:3] not in ((b"n+1", b"ni1"), (b"n+2", b"ni2"))[version - 1]:
                    raise refused("an Analyze or unknown header without the NIfTI magic word", where, "unsupported")
                return record, version
    raise refused("not a NIfTI file", where, "not-an-image")


def _shape(dim: list[int], colours: int, where: str) -> tuple[int, int, int, int]:
    if not 1 <= dim[0] <= 7:
        raise refused(f"the header states {dim[0]} axes", where, "shape")
    sizes = [*dim[1 : dim[0] + 1], 1, 1, 1, 1, 1, 1][:7]
    if 0 in sizes:
        raise refused(f"an axis has no voxels: {dim[1 : dim[0] + 1]}", where, "empty-axis")
    if min(sizes) < 0:
        raise refused(f"an axis has a negative length: {dim[1 : dim[0] + 1]}", where, "shape")
    i, j, k, *further = sizes
    if sum(n > 1 for n in further) + (colours > 1) > 1:
        raise refused(f"{dim[1 : dim[0] + 1]} has more than one axis beside the three of space", where, "unsupported")
    return math.prod(further) * colours, i, j, k


def _offset(stated: float, single: bool, version: int, where: str) -> int:
    least = (352 if version == 1 else 544) if single else 0
    if stated == 0:
        return least
    # 348 (no extension flag) is outside the standard but read by every tool.
    if not math.isfinite(stated) or stated < max(0, least - 4) or stated != int(stated):
        raise refused(f"the voxels cannot begin at byte {stated:g}", where, "unreadable")
    return int(stated)


def _scale(slope: float, intercept: float, where: str) -> tuple[float, float]:
    if slope == 0 or math.isnan(slope):  # the standard's way to say: no scaling
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise refused(f"the intensity scaling is {slope:g} and {intercept:g}", where, "unreadable")
    return slope, intercept


def _units(description: bytes) -> str:
    text = description.decode("ascii", errors="replace")
    return text.removeprefix(UNITS_NOTE) if text.startswith(UNITS_NOTE) else "arbitrary"


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def placement(header: NiftiHeader, repair: Repair) -> tuple[np.ndarray, tuple[str, ...]]:
    """The affine to RAS mm and what was mended to get it.

    The sform is used when its code is above 0, otherwise the qform; neither is a refusal
    (`no-geometry`), because an image without either may lie left-right reversed. When both name the
    same space (equal codes) and put a corner more than half a voxel apart, that is a refusal too
    (`affine-conflict`). `repair.affine` chooses one, `repair.geometry="image"` reads without either.
    """
    wanted = repair.affine if repair.affine in ("sform", "qform") else ""
    has_sform, has_qform = header.sform_code > 0, header.qform_code > 0
    if not has_sform and not has_qform:
        return _unplaced(header, repair)
    if wanted == "qform" and has_qform:
        return _checked(_qform(header), header), (("affine-conflict",) if has_sform else ())
    if not has_sform:
        return _checked(_qform(header), header), ()
    affine = _checked(_sform(header), header)
    if not has_qform or header.qform_code != header.sform_code:
        return affine, ()
    if wanted == "sform":
        return affine, () if _agree(header, affine) else ("affine-conflict",)
    if not _agree(header, affine):
        raise refused("sform and qform name the same space and disagree", header.where, "affine-conflict")
    return affine, ()


def _unplaced(header: NiftiHeader, repair: Repair) -> tuple[np.ndarray, tuple[str, ...]]:
    if repair.geometry != "image":
        raise refused("neither sform nor qform is set: left and right are not known", header.where, "no-geometry")
    steps = [abs(step) if math.isfinite(step) and step else 1.0 for step in header.pixdim[1:4]]
    scale = np.array([*steps, 1.0])
    return np.diag([*(scale[:3] * header.mm_per_unit), 1.0]), ("no-geometry",)


def _checked(affine: np.ndarray, header: NiftiHeader) -> np.ndarray:
    if np.abs(affine).max() > LARGEST_MM:  # also keeps later arithmetic from overflowing
        raise refused("the affine places voxels kilometres away", header.where, "affine")
    try:
        check_affine(affine)
    except InputError as error:
        raise refused(error.what, header.where, "affine") from None
    return affine


def _agree(header: NiftiHeader, affine: np.ndarray) -> bool:
    other = _qform(header)
    here, there = Geometry(header.shape[1:], affine), Geometry(header.shape[1:], other)
    if not np.isfinite(other).all():
        return False
    return here.matches(there, tolerance_mm=0.5 * max(min(here.spacing_mm), 1e-3))


def _sform(header: NiftiHeader) -> np.ndarray:
    affine = np.eye(4)
    affine[:3] = header.srow * header.mm_per_unit
    return affine


def _qform(header: NiftiHeader) -> np.ndarray:
    b, c, d = header.quaternion
    squared = b * b + c * c + d * d
    if not squared <= 1.0 + 1e-4:  # also catches NaN
        raise refused("the qform quaternion is longer than 1", header.where, "affine")
    # Half turns have a = 0; what float32 leaves of it there would turn the image by up to a thirtieth of a degree.
    a = math.sqrt(1.0 - squared) if 1.0 - squared > 3 * float(np.finfo(np.float32).eps) else 0.0
    if a == 0.0:
        b, c, d = (x / math.sqrt(squared) for x in (b, c, d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    steps = np.array(header.pixdim[1:4])
    if not (steps > 0).all():
        raise refused(f"the voxel sizes are {steps.tolist()}", header.where, "affine")
    if header.pixdim[0] < 0:
        steps = steps * [1, 1, -1]
    affine = np.eye(4)
    affine[:3, :3] = rotation * steps * header.mm_per_unit
    affine[:3, 3] = np.array(header.qoffset) * header.mm_per_unit
    return affine


def quaternion_of(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """The unit quaternion (a, b, c, d), a >= 0, of a proper rotation matrix.

    Source: I. Y. Bar-Itzhack, "New method for extracting the quaternion from a rotation matrix",
    J. Guidance 23(6), 2000: the eigenvector of the largest eigenvalue of a symmetric 4x4 matrix.
    """
    r = rotation
    upper = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()],
        ]
    )
    b, c, d, a = np.linalg.eigh(upper, UPLO="L").eigenvectors[:, -1]
    sign = 1.0 if a >= 0 else -1.0
    return float(a * sign), float(b * sign), float(c * sign), float(d * sign)
