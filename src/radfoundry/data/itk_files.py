"""Reading NRRD (`.nrrd`, `.nhdr`) and MetaImage (`.mha`, `.mhd`), the file formats of ITK and 3D Slicer.

Sources: G. Kindlmann, "Definition of NRRD File Format", version 5; Kitware, "MetaIO documentation".
"""

from __future__ import annotations

import numpy as np

from radfoundry.data.itk_headers import ItkHeader, parse_itk_header
from radfoundry.data.reading import ReadSeries, Repair
from radfoundry.data.streams import Readable, beside, opened, read_payload, shown
from radfoundry.data.voxels import finite_voxels, refused
from radfoundry.records import Acquisition
from radfoundry.volume import Volume

HEADER_LIMIT_BYTES = 1 << 20


def read_itk_header(source: Readable) -> ItkHeader:
    """What an NRRD or MetaImage header states, without reading voxels; refuses other files."""
    with opened(source) as stream:
        return parse_itk_header(stream.read(HEADER_LIMIT_BYTES), where=shown(source))


def read_itk(source: Readable, *, repair: Repair | None = None) -> ReadSeries:
    """An NRRD or MetaImage file with its place in the patient: voxels `(C, I, J, K)`, affine to RAS mm.

    The axis that is not one of space (components, time) becomes channels. Coordinates are turned from
    the file's own space (left-posterior-superior unless an NRRD says otherwise) to RAS. Refused by
    name: files that state no space, spacing or direction, text-encoded and bzip2 voxels, files shorter than
    their header says, voxel files that do not lie beside their header, and NaN voxels.
    """
    repair = repair or Repair()
    where = shown(source)
    header = read_itk_header(source)
    affine, repairs = header.placement(repair)
    pixels = beside(source, _plain_name(header)) if header.data_file else source
    with opened(pixels) as stream:
        raw = read_payload(
            stream,
            header.offset,
            header.payload_bytes,
            where=shown(pixels),
            begins=header.begins,
            encoding=header.encoding,
        )
    array, mended = finite_voxels(_arranged(raw, header), repair, where=where)
    return ReadSeries(Volume(array, affine), Acquisition(), (*repairs, *mended))


def _plain_name(header: ItkHeader) -> str:
    # A header could otherwise name any file of this machine as its voxels.
    if any(mark in header.data_file for mark in ("/", "\\", "%", " ", "!")) or header.data_file in ("LIST", ".", ".."):
        raise refused("its voxels are not in one file beside it", header.where, "unsupported")
    return header.data_file


def _arranged(raw: np.ndarray, header: ItkHeader) -> np.ndarray:
    values = raw.view(header.dtype)
    if not header.dtype.isnative:
        values = values.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    array = values.reshape(header.sizes[::-1]).transpose()
    if header.channel_axis is not None:
        array = np.moveaxis(array, header.channel_axis, 0)
    else:
        array = array[None]
    return array.reshape(*array.shape, *[1] * (4 - array.ndim)) if array.ndim < 4 else array
