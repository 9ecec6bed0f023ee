"""What every reader of image files gives back, the problems it can name, and the repairs it may be told to make."""

from __future__ import annotations

from dataclasses import dataclass

from radfoundry.records import Acquisition
from radfoundry.registry import unknown
from radfoundry.volume import Volume

# Every named finding a reader can raise or repair, with what the user can do about it.
FINDINGS = {
    "missing-file": "check the path",
    "empty-folder": "give a folder that holds scans",
    "empty-file": "copy the file again from its source",
    "truncated": "copy the file again from its source",
    "not-read": "convert it to NIfTI, NRRD, MetaImage or DICOM with its voxel size, or a picture to PNG",
    "not-an-image": "ignore this line, or convert an image to NIfTI, NRRD, MetaImage, PNG or JPEG",
    "unreadable": "check the file with its source; it does not follow its format",
    "unsupported": "convert the file to a supported format first",
    "transfer-syntax": "decompress it first, for example with dcmdjpeg or gdcmconv --raw",
    "no-pixels": "nothing to do: structured reports, presentation states and the like hold no image",
    "empty-axis": "export the series again",
    "nan-voxels": "mend the voxels at their source, or set repair.nan=zero",
    "slice-gap": "export the missing slices, or set repair.gaps=fill",
    "uneven-spacing": "set repair.spacing=resample",
    "duplicate-slices": "set repair.duplicates=first",
    "gantry-tilt": "set repair.tilt=resample",
    "mixed-matrix": "set repair.mixed=largest",
    "mixed-orientation": "export the series again; its slices do not lie in one direction",
    "too-few-slices": "set repair.minimum_slices lower to read it as it is",
    "no-geometry": "set repair.geometry=image to read it as a 2D image without a place in the patient",
    "sidecar": "mend the JSON file beside the image; its header fields read as missing",
    "affine-conflict": "set repair.affine=sform or qform after checking which one is right",
    "affine": "mend the header; its affine is singular or not finite",
    "shape": "mend the header; the pixel data do not have the stated shape",
    "missing-groups": "export the file again; its functional groups do not describe every frame",
    "mosaic": "export it as single slices, or keep the private header that counts the mosaic's slices",
    "incomplete-volume": "export the missing images, or set repair.incomplete=drop",
    "limit": "unpack, split or decompress it first; limits guard against files that lie about their size",
}

# What each field of Repair may be told.
CHOICES = {
    "gaps": ("refuse", "fill"),
    "spacing": ("refuse", "resample"),
    "duplicates": ("refuse", "first", "last"),
    "tilt": ("refuse", "resample", "keep"),
    "incomplete": ("refuse", "drop"),
    "mixed": ("refuse", "largest"),
    "nan": ("refuse", "zero"),
    "geometry": ("refuse", "image"),
    "affine": ("refuse", "sform", "qform"),
}


@dataclass(frozen=True)
class Repair:
    """What a reader may mend; by default nothing is mended and a faulty series is refused by name.

    gaps: `refuse` or `fill` (missing slices become linear blends of their neighbours) · spacing: `refuse`
    or `resample` · duplicates: `refuse`, `first` or `last` · tilt: `refuse`, `resample` (sheared onto a
    rectangular grid) or `keep` (no interpolation: the affine is oblique) · incomplete: `refuse` or `drop` (time
    points or b-values that lack slices are left out) · mixed: `refuse` or `largest` (keep the most frequent
    matrix size) · nan: `refuse` or `zero` · geometry: `refuse` or `image` · affine: `refuse`, `sform` or
    `qform` (which of two contradicting placements of a NIfTI file to believe).

    >>> Repair(gaps="fil")
    Traceback (most recent call last):
    ...
    radfoundry.records.InputError: repair.gaps: unknown choice 'fil'; did you mean 'fill'?
    """

    gaps: str = "refuse"
    spacing: str = "refuse"
    duplicates: str = "refuse"
    tilt: str = "refuse"
    incomplete: str = "refuse"
    mixed: str = "refuse"
    nan: str = "refuse"
    geometry: str = "refuse"
    affine: str = "refuse"
    minimum_slices: int = 1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown("choice", str(getattr(self, name)), choices, where=f"repair.{name}")


@dataclass(frozen=True)
class ReadSeries:
    """Pixels, header and what was mended on the way: `repairs` are keys of FINDINGS."""

    volume: Volume
    acquisition: Acquisition
    repairs: tuple[str, ...] = ()
