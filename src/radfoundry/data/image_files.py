"""One door for every image file that is not DICOM: the content decides which reader answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from radfoundry.data import bids
from radfoundry.data.foreign_formats import foreign_format
from radfoundry.data.itk_files import read_itk, read_itk_header
from radfoundry.data.nifti import read_nifti, read_nifti_header
from radfoundry.data.nifti_header import placement
from radfoundry.data.pictures import read_picture, read_picture_header
from radfoundry.data.reading import ReadSeries, Repair
from radfoundry.data.sniffing import HEAD_BYTES, kind_of_bytes
from radfoundry.data.streams import Readable, name_of, opened, shown
from radfoundry.data.voxels import picture_affine, refused
from radfoundry.volume import Geometry


def kind_of_image(source: Readable) -> str:
    """`nifti`, `itk` or `picture`, judged by content; refuses every other file by name."""
    with opened(source) as stream:
        head = stream.read(HEAD_BYTES)
    kind = kind_of_bytes(head, name=name_of(source))
    foreign = foreign_format(head, name=name_of(source)) if kind == "other" else None
    if foreign is not None:
        raise refused(f"a format that is not read: {foreign}", shown(source), "not-read")
    if kind not in ("nifti", "itk", "picture"):
        raise refused("not a NIfTI, NRRD, MetaImage, PNG or JPEG file", shown(source), "not-an-image")
    return kind


def read_image(source: Readable, *, repair: Repair | None = None) -> ReadSeries:
    """An image file of any kind but DICOM: pixels with their geometry, and the header of its JSON sidecar.

    `source` is a path, a place in an archive, or bytes. NIfTI, NRRD, MetaImage, PNG and JPEG are told
    apart by content. A BIDS sidecar (the `.json` of the same name) fills the acquisition fields. Refuses
    what the single readers refuse, and every other kind of file.
    """
    kind = kind_of_image(source)
    if kind == "picture":
        series = read_picture(source)
    else:
        series = (read_nifti if kind == "nifti" else read_itk)(source, repair=repair)
    acquisition, mended = bids.acquisition_beside(source)
    return replace(series, acquisition=acquisition, repairs=(*series.repairs, *mended))


def inspect_image(source: Readable, *, repair: Repair | None = None) -> dict[str, Any]:
    """What an image file states about itself, without reading its voxels.

    Keys: `kind`, `shape` (C, I, J, K), `dtype`, `spacing_mm`, `affine` (4x4 list, RAS mm), `repairs`.
    Refuses what the header alone shows to be unusable.
    """
    kind, repair = kind_of_image(source), repair or Repair()
    if kind == "picture":
        stated = read_picture_header(source)
        shape, dtype, affine, repairs = stated["shape"], stated["dtype"], picture_affine(), ("no-geometry",)
    elif kind == "nifti":
        header = read_nifti_header(source)
        affine, repairs = placement(header, repair)
        shape, dtype = header.shape, header.dtype.str[1:]
    else:
        itk = read_itk_header(source)
        affine, repairs = itk.placement(repair)
        shape, dtype = itk.shape, itk.dtype.str[1:]
    return {
        "kind": kind,
        "shape": tuple(shape),
        "dtype": dtype,
        "spacing_mm": Geometry(tuple(shape[1:]), affine).spacing_mm,
        "affine": affine.tolist(),
        "repairs": repairs,
    }
