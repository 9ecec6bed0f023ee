"""Scanners and slabs as records, and the acquisition header that a sequence on them leaves."""

from __future__ import annotations

from dataclasses import dataclass

from radfoundry.records import Acquisition
from radfoundry.simulate.sequences import Sequence


@dataclass(frozen=True)
class Scanner:
    """A machine at a site: make, model and field; its noise (share of white-matter signal at 0.9 x 0.9 x 5 mm),
    its coil's shading, the brightness it scales white matter to, and the exponent `curve` of its own image filter.
    `receiver` fixes the signal that becomes the brightness; None adjusts it to every series. `slope` is the lean of
    this very coil: the change of the logarithm of brightness over 100 mm to the right, front and up.
    """

    manufacturer: str
    model: str
    field_strength_t: float
    noise: float = 0.03
    shading: float = 0.2
    brightness: float = 600.0
    curve: float = 1.0
    receiver: float | None = None
    slope: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Slab:
    """Where slices are laid: plane, in-plane voxel size, slice thickness and gap in mm, tilt in degrees.

    Slabs with the same `coil_seed` are shaded alike, as one after the other without moving the coil.
    """

    plane: str = "axial"
    in_plane_mm: float = 2.5
    thickness_mm: float = 5.0
    gap_mm: float = 0.0
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    field_of_view_mm: tuple[float, float, float] = (184.0, 224.0, 172.0)  # right-left, front-back, up-down
    centre_mm: tuple[float, float, float] = (0.0, -16.0, 6.0)
    body_part: str = "HEAD"
    coil_seed: int | None = None


def header(sequence: Sequence, scanner: Scanner, slab: Slab, *, shape: tuple[int, int, int]) -> Acquisition:
    """The acquisition header that goes with a sequence, a scanner and a slab."""
    return Acquisition(
        modality="MR",
        manufacturer=scanner.manufacturer,
        model=scanner.model,
        field_strength_t=scanner.field_strength_t,
        body_part=slab.body_part,
        series_description=describe(sequence, slab, scanner),
        scanning_sequence=sequence.scanning_sequence,
        sequence_variant=sequence.sequence_variant,
        scan_options=("FS",) if sequence.fat_suppressed else None,
        image_type=_image_type(sequence, scanner),
        acquisition_type="3D" if sequence.volumetric else "2D",
        repetition_time_ms=round(sequence.repetition_time_ms, 2),
        echo_time_ms=round(sequence.echo_time_ms, 2),
        inversion_time_ms=None if sequence.inversion_time_ms is None else round(sequence.inversion_time_ms, 2),
        flip_angle_deg=round(sequence.flip_angle_deg, 1),
        echo_train_length=sequence.echo_train_length,
        b_value_s_per_mm2=sequence.b_value_s_per_mm2,
        contrast_agent=None if sequence.minutes_after_contrast is None else "gadolinium chelate",
        averages=1.0,
        slice_thickness_mm=slab.thickness_mm,
        slice_gap_mm=slab.gap_mm,
        matrix=(shape[0], shape[1]),
        field_of_view_mm=(round(shape[0] * slab.in_plane_mm, 1), round(shape[1] * slab.in_plane_mm, 1)),
        patient_position="HFS",
    )


def _image_type(sequence: Sequence, scanner: Scanner) -> tuple[str, ...]:
    """DICOM (0008,0008): what kind of image, as the makes write it."""
    kind = {
        "localizer": ("LOCALIZER",),
        "ASL": ("ASL",),
        "SWI": ("SWI",),
        "DWI-b0": ("DIFFUSION", "NONE"),
        "DWI-b1000": ("DIFFUSION", "TRACEW"),
        "ADC": ("DIFFUSION", "ADC"),
    }.get(sequence.name, ())
    origin = "DERIVED" if sequence.name in ("ADC", "ASL", "SWI") else "ORIGINAL"
    if "SIEMENS" in scanner.manufacturer:
        return (origin, "PRIMARY", *(kind or ("M",)), "ND")
    return (origin, "PRIMARY", *kind)


def describe(sequence: Sequence, slab: Slab, scanner: Scanner) -> str:
    """The series description in the dialect of the make."""
    plane, name = slab.plane[:3], sequence.name
    weight = {"T1w": "t1", "T2w": "t2", "PDw": "pd", "FLAIR": "t2_flair"}.get(name, name.lower())
    technique = {"spin-echo": "tse" if sequence.echo_train_length > 1 else "se", "inversion-recovery": "tirm"}
    short = technique.get(sequence.kind, {"prepared-gradient-echo": "mprage"}.get(sequence.kind, "fl2d"))
    if "SIEMENS" in scanner.manufacturer:
        return f"{weight}_{short}_{plane[:3]}"
    if "GE" in scanner.manufacturer:
        return f"{plane.upper()} {weight.upper().replace('_', ' ')}"
    return f"{name} {short.upper()} {plane.capitalize()}"
