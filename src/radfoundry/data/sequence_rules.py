"""Which MR sequence a header describes, by physics alone; None where the header does not say."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from radfoundry.records import Acquisition
from radfoundry.volume import closest_axes

SEQUENCES = (
    "T1w",
    "T2w",
    "PDw",
    "FLAIR",
    "T2starw",
    "dwi",
    "adc",
    "bold",
    "asl",
    "angio",
    "swi",
    "localizer",
    "mask",
)
COMPUTED_MAPS = frozenset(
    (
        "FA",
        "EADC",
        "EXP",
        "EXPONENTIAL",
        "TENSOR",
        "T1 MAP",
        "T2 MAP",
        "T2_STAR MAP",
        "R2 MAP",
        "CBF",
        "CBV",
        "MTT",
        "TTP",
    )
)
LONGEST_TURBO_TRAIN = 28
OBLIQUE_BEYOND_DEG = 30.0
ANISOTROPIC_FROM = 1.5  # coarsest over finest spacing from which an image file shows its slice direction

# Names follow BIDS 1.9 (MRI suffixes). The limits below are those of textbook weighting: McRobbie et al.,
# MRI from Picture to Proton, 3rd ed., chapters 3, 12 and 13, with margins for the vendors' usual protocols.
Found = tuple[str | None, str]
Rule = Callable[[Acquisition, frozenset[str], frozenset[str], int | None], Found | None]


def sequence_of(acquisition: Acquisition, *, volumes: int | None = None) -> Found:
    """The sequence (a name of `SEQUENCES` or None) and the reason, from physics and image type only.

    `volumes` is the number of time points or directions of the series, where known. Free text such as the
    series description is never used. The first rule that can decide does.

    >>> sequence_of(Acquisition(modality="MR", scanning_sequence=("SE",), echo_time_ms=100, repetition_time_ms=4000))
    ('T2w', 'spin echo, TE 100 ms, TR 4000 ms')
    >>> sequence_of(Acquisition(modality="MR", echo_time_ms=100, repetition_time_ms=4000))
    (None, 'scanning sequence not stated')
    """
    if acquisition.modality != "MR":
        return None, f"modality {acquisition.modality or 'not stated'}"
    words = frozenset(word.upper() for word in acquisition.image_type or ())
    kinds = frozenset(part for word in acquisition.scanning_sequence or () for part in word.upper().split("_"))
    for rule in (_stated, _phase, _diffusion, _echo_planar, _inversion, _gradient_echo, _spin_echo):
        found = rule(acquisition, words, kinds, volumes)
        if found:
            return found
    return None, "no rule decides" if kinds else "scanning sequence not stated"


def _stated(a: Acquisition, words: frozenset[str], kinds: frozenset[str], volumes: int | None) -> Found | None:
    named = {
        "LOCALIZER": "localizer",
        "ADC": "adc",
        "ASL": "asl",
        "SWI": "swi",
        "TOF": "angio",
        "ANGIO": "angio",
        "FMRI": "bold",
        "TRACEW": "dwi",
    }
    for word, sequence in named.items():
        if word in words:
            return sequence, f"image type {word}"
    maps = words & COMPUTED_MAPS
    return (None, f"a computed map ({min(maps)})") if maps else None


def _phase(a: Acquisition, words: frozenset[str], kinds: frozenset[str], volumes: int | None) -> Found | None:
    parts = words & {"P", "PHASE", "PHASE MAP", "PHASE DIFFERENCE", "REAL", "IMAGINARY", "R", "I", "VELOCITY MAP"}
    return (None, f"no magnitude image ({min(parts)})") if parts else None


def _diffusion(a: Acquisition, words: frozenset[str], kinds: frozenset[str], volumes: int | None) -> Found | None:
    if a.b_value_s_per_mm2:
        return "dwi", f"b-value {a.b_value_s_per_mm2:g} s/mm²"
    if a.diffusion_directionality in ("DIRECTIONAL", "ISOTROPIC", "BMATRIX"):
        return "dwi", f"diffusion directionality {a.diffusion_directionality}"
    if "DIFFUSION" in words:
        return "dwi", "image type DIFFUSION"
    if re.search(r"ep_?(?:2d)?_?b\d", a.sequence_name or ""):  # Siemens writes the b-value into its sequence name
        return "dwi", "sequence name with a b-value"
    return None


def _echo_planar(a: Acquisition, words: frozenset[str], kinds: frozenset[str], volumes: int | None) -> Found | None:
    if "EP" not in kinds:
        return None
    te, tr = a.echo_time_ms, a.repetition_time_ms
    is_gradient = "GR" in kinds or re.search(r"epfid", a.sequence_name or "") is not None
    if "SE" in kinds or not is_gradient or (volumes or 1) < 10 or a.contrast_agent is not None:
        return None, "echo planar, but not said whether for diffusion, function, perfusion or a field map"
    if te is not None and 10 <= te <= 80 and tr is not None and tr >= 300:
        return "bold", f"gradient-echo echo planar time series, TE {te:g} ms"
    return None, "echo planar with unusual timing"


def _inversion(a: Acquisition, words: frozenset[str], kinds: frozenset[str], volumes: int | None) -> Found | None:
    ti, te, tr = a.inversion_time_ms, a.echo_time_ms, a.repetition_time_ms
    if not ti:
        return (None, "inversion recovery without an inversion time") if "IR" in kinds and "GR" not in kinds else None
    if te is None or tr is None:
        return None, "inversion recovery without echo or repetition time"
    timing = f"TI {ti:g} ms, TE {te:g} ms, TR {tr:g} ms"
    if "GR" in kinds:
        weighted = 300 <= ti <= 1400 and te < 10 and tr < 3500 and (a.flip_angle_deg or 0) <= 20
        return ("T1w", f"inversion-prepared gradient echo, {timing}") if weighted else (None, f"undecided: {timing}")
    if 1500 <= ti <= 3200 and te >= 60 and tr >= 4000:
        return "FLAIR", timing
    if 400 <= ti <= 1300 and te <= 40 and tr <= 3500:
        return "T1w", timing
    return None, f"undecided: {timing}"


def _gradient_echo(a: Acquisition, words: frozenset[str], kinds: frozenset[str], volumes: int | None) -> Found | None:
    if "GR" not in kinds:
        return None
    te, tr, flip = a.echo_time_ms, a.repetition_time_ms, a.flip_angle_deg
    variants = frozenset(part for word in a.sequence_variant or () for part in word.upper().split("_"))
    if te is None or tr is None or flip is None:
        return None, "gradient echo without echo time, repetition time or flip angle"
    timing = f"gradient echo, TE {te:g} ms, TR {tr:g} ms, flip angle {flip:g}°"
    if "MTC" in variants:
        return None, "magnetisation transfer"
    if "SP" in variants and a.acquisition_type == "3D" and te < 6 and tr <= 15 and flip >= 8:
        return "T1w", f"spoiled {timing}"
    if a.acquisition_type == "2D" and te < 8 and 80 <= tr <= 350 and flip >= 50:
        return "T1w", timing
    if te >= 12 and ((tr >= 200 and flip <= 40) or (a.acquisition_type == "3D" and te >= 15 and tr < 100)):
        return "T2starw", timing
    return None, f"undecided: {timing}"


def _spin_echo(a: Acquisition, words: frozenset[str], kinds: frozenset[str], volumes: int | None) -> Found | None:
    if "SE" not in kinds:
        return None
    te, tr = a.echo_time_ms, a.repetition_time_ms
    if te is None or tr is None:
        return None, "spin echo without echo or repetition time"
    timing = f"spin echo, TE {te:g} ms, TR {tr:g} ms"
    echoes = a.echo_train_length
    # Philips writes SE for spin-echo echo planar imaging too; only a short echo train tells that it is not.
    philips = (a.manufacturer or "").upper().startswith("PHILIPS")
    if philips and a.acquisition_type != "3D" and te > 40 and (echoes is None or echoes > LONGEST_TURBO_TRAIN):
        return None, f"{timing}: could be echo planar"
    if te >= 65 and tr >= 1400:
        return "T2w", timing
    if te <= 35 and tr <= 1200:
        return "T1w", timing
    if te <= 40 and tr >= 1800:
        return "PDw", timing
    return None, f"undecided: {timing}"


def plane_of(affine: np.ndarray, *, stacked: bool = True) -> str | None:
    """The plane of the slices: `axial`, `coronal`, `sagittal`, `oblique`, or None where there are no slices.

    With `stacked` the third array axis runs across the slices, as readers of slices build it; without, as in
    image files, the coarsest axis does, and nothing is said when no axis is clearly coarsest.

    >>> plane_of(np.diag([1.0, 1.0, 5.0, 1.0]))
    'axial'
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not stacked and spacing.max() < ANISOTROPIC_FROM * np.sort(spacing)[1]:
        return None
    axis = 2 if stacked else int(spacing.argmax())
    world = closest_axes(affine)[axis]
    normal = np.abs(affine[:3, axis]) / spacing[axis]
    if normal[world] < np.cos(np.deg2rad(OBLIQUE_BEYOND_DEG)):
        return "oblique"
    return ("sagittal", "coronal", "axial")[world]
