"""Enhanced multi-frame DICOM: functional groups (PS3.3 C.7.6.16) turned into one plain record per frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from radfoundry.data.dicom_header import Instance, refused
from radfoundry.data.dicom_pydicom import quietly, read_dataset

SHARED, PER_FRAME = 0x52009229, 0x52009230


def _floats(value: Any) -> tuple[float, ...] | None:
    values = [value] if isinstance(value, (int, float, str)) else value
    numbers = tuple(float(item) for item in values)
    return numbers if numbers and all(map(math.isfinite, numbers)) else None


def _float(value: Any) -> float | None:
    numbers = _floats(value)
    return numbers[0] if numbers else None


def _int(value: Any) -> int | None:
    number = _float(value)
    return None if number is None else int(number)


def _words(value: Any) -> tuple[str, ...] | None:
    words = (value,) if isinstance(value, str) else tuple(str(item) for item in value)
    return words or None


def _word(value: Any) -> str | None:
    return str(value) or None


# functional group -> element -> (Instance field, conversion)
GROUPS: dict[int, dict[int, tuple[str, Callable[[Any], Any]]]] = {
    0x00209113: {0x00200032: ("position", _floats)},
    0x00209116: {0x00200037: ("orientation", _floats)},
    0x00289110: {
        0x00280030: ("pixel_spacing", _floats),
        0x00180050: ("slice_thickness", _float),
        0x00180088: ("spacing_between_slices", _float),
    },
    0x00289145: {
        0x00281052: ("rescale_intercept", _float),
        0x00281053: ("rescale_slope", _float),
        0x00281054: ("rescale_type", _word),
    },
    0x00209111: {0x00209128: ("temporal_position", _int), 0x00209156: ("acquisition_number", _int)},
    0x00189114: {0x00189082: ("echo_time_ms", _float)},
    0x00189117: {0x00189087: ("b_value", _float), 0x00189075: ("diffusion_directionality", _word)},
    0x00189226: {0x00089007: ("image_type", _words), 0x00089209: ("acquisition_contrast", _word)},
    0x00189042: {0x00181250: ("receive_coil", _word)},
    0x00189329: {0x00089007: ("image_type", _words)},
    0x00189751: {0x00089007: ("image_type", _words)},
    0x00189112: {
        0x00180080: ("repetition_time_ms", _float),
        0x00181314: ("flip_angle_deg", _float),
        0x00189240: ("echo_train_length", _int),
    },
    0x00189115: {0x00189079: ("inversion_time_ms", _float)},
    0x00189119: {0x00180083: ("averages", _float)},
    0x00189006: {0x00180095: ("bandwidth_hz_per_pixel", _float)},
    0x00189118: {0x00209153: ("trigger_time", _float)},
    0x00189325: {0x00180060: ("tube_voltage_kv", _float)},
    0x00189321: {0x00189330: ("tube_current_ma", _float), 0x00189332: ("exposure_mas", _float)},
    0x00189314: {0x00181210: ("convolution_kernel", _words)},
    0x00209071: {0x00180015: ("body_part", _word), 0x00209072: ("image_laterality", _word)},
}
GRADIENTS, GRADIENT = 0x00189076, 0x00189089
PULSE_SEQUENCE = ECHO, INVERSION, ECHO_PLANAR = (0x00189008, 0x00189009, 0x00189018)
PULSE_SEQUENCE_NAME = 0x00189005
# A frame that does not state one of these has none: it must not inherit that of the first frame.
OWN_TO_FRAMES = (
    "position",
    "orientation",
    "pixel_spacing",
    "b_value",
    "gradient",
    "echo_time_ms",
    "temporal_position",
    "trigger_time",
    "rescale_slope",
    "rescale_intercept",
)
VARYING = ("b_value", "gradient", "echo_time_ms", "temporal_position", "trigger_time", "acquisition_number")


def completed(instance: Instance, stream: BinaryIO) -> Instance:
    """The header record of a multi-frame file: geometry of its first frame, and what all frames agree on."""
    dataset = read_dataset(stream, instance.source)
    frames = frames_of(instance, dataset)
    agreed = {
        name: getattr(frames[0], name) if len({getattr(frame, name) for frame in frames}) == 1 else None
        for name in VARYING
    }
    types = {frame.image_type for frame in frames}
    agreed["image_type"] = frames[0].image_type if len(types) == 1 else instance.image_type
    if instance.scanning_sequence is None:
        agreed["scanning_sequence"] = scanning_sequence_of(dataset, where=str(instance.source))
    if instance.sequence_name is None and PULSE_SEQUENCE_NAME in dataset:
        agreed["sequence_name"] = str(dataset[PULSE_SEQUENCE_NAME].value or "") or None
    return replace(frames[0], frames=instance.frames, **agreed)


def scanning_sequence_of(dataset: Any, *, where: str) -> tuple[str, ...] | None:
    """The words of (0018,0020) for what the MR Pulse Sequence module (PS3.3 C.8.13.4) states in its own way.

    SPIN is SE, GRADIENT is GR, BOTH is both; echo planar adds EP and inversion recovery adds IR.
    """
    with quietly(where, what="the pulse sequence cannot be parsed"):
        said = {tag: str(dataset[tag].value or "").upper() for tag in PULSE_SEQUENCE if tag in dataset}
    words = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}.get(said.get(ECHO, ""), ())
    words = ("EP",) * (said.get(ECHO_PLANAR) == "YES") + words + ("IR",) * (said.get(INVERSION) == "YES")
    return words or None


def frames_of(instance: Instance, dataset: Any) -> list[Instance]:
    """One record per frame, in file order; refuses a file with fewer per-frame groups than frames."""
    with quietly(instance.source, what="the functional groups cannot be parsed"):
        shared = _group_values(next(iter(dataset.get(SHARED, None) or ()), None)) if SHARED in dataset else {}
        per_frame: Sequence[Any] = dataset[PER_FRAME].value if PER_FRAME in dataset else ()
        if len(per_frame) != instance.frames or not per_frame:
            raise refused(
                "missing-groups", f"{len(per_frame)} functional groups for {instance.frames} frames", instance.source
            )
        plain = replace(instance, **{"frames": 1, **dict.fromkeys(OWN_TO_FRAMES), **shared})
        return [replace(plain, **_group_values(item)) for item in per_frame]


def _group_values(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in item or ():
        wanted = GROUPS.get(int(element.tag))
        if wanted is None or not element.value:
            continue
        macro = element.value[0]
        for tag, (name, convert) in wanted.items():
            if tag in macro and macro[tag].value not in (None, ""):
                found[name] = convert(macro[tag].value)
        if GRADIENTS in macro and macro[GRADIENTS].value and GRADIENT in macro[GRADIENTS].value[0]:
            found["gradient"] = _floats(macro[GRADIENTS].value[0][GRADIENT].value)
    return found
