"""The affine of a row of slices from their positions, and the irregularities that forbid one."""

from __future__ import annotations

import math

import numpy as np

from radfoundry.data.dicom_header import Instance, refused
from radfoundry.data.reading import Repair

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
POSITION_TOLERANCE_MM = 0.06  # positions are often rounded to a tenth
POSITION_TOLERANCE_SHARE = 0.01
TILT_TOLERANCE_DEG = 0.1
STEPS_LIMIT = 10_000


def axes_of(instance: Instance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors in LPS along a row, along a column, and the normal of the right-hand rule."""
    values = np.array(instance.orientation, dtype=float)
    row = values[:3] / np.linalg.norm(values[:3])
    column = values[3:] - row * np.dot(row, values[3:])
    column /= np.linalg.norm(column)
    return row, column, np.cross(row, column)


def position_of(item: Instance) -> np.ndarray:
    """Where the first pixel lies, LPS mm."""
    return np.array(item.position, dtype=float)


def well_oriented(orientation: tuple[float, ...] | None) -> bool:
    """Whether six numbers are two perpendicular unit vectors, as the standard demands."""
    if orientation is None or len(orientation) != 6:
        return False
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.array([row @ row, column @ column])
    return bool(np.all(np.abs(lengths - 1) < 0.02) and abs(row @ column) < 0.01)


def fitted(
    instances: list[Instance], axes: tuple[np.ndarray, np.ndarray, np.ndarray], repair: Repair, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """The affine of one channel's slices, their offsets in steps, the in-plane drift per step, and what was mended."""
    row_axis, column_axis, normal = axes
    positions = np.array([position_of(item) for item in instances])
    spacing = instances[0].pixel_spacing or (0.0, 0.0)
    repairs: list[str] = []
    if len(instances) == 1:
        step = normal * _single_thickness(instances[0], repair, where, repairs)
        offsets = np.zeros(1)
    else:
        step, offsets = _step(positions, normal, repair, where, repairs)
    drift = step - normal * np.dot(step, normal)
    angle = math.degrees(math.atan2(float(np.linalg.norm(drift)), abs(float(np.dot(step, normal)))))
    tilt_mm = np.zeros(2)
    if angle > TILT_TOLERANCE_DEG:
        if repair.tilt not in ("resample", "keep"):
            raise refused("gantry-tilt", f"slices are sheared by {angle:.2f} degrees", where)
        repairs.append("gantry-tilt")
        if repair.tilt == "resample":
            tilt_mm = np.array([np.dot(drift, row_axis), np.dot(drift, column_axis)])
            step = step - drift
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = row_axis * spacing[1], column_axis * spacing[0], step
    affine[:3, 3] = positions[0]
    return LPS_TO_RAS @ affine, offsets, tilt_mm, tuple(repairs)


def _single_thickness(item: Instance, repair: Repair, where: str, repairs: list[str]) -> float:
    thickness = item.spacing_between_slices or item.slice_thickness
    if thickness and thickness > 0:
        return thickness
    if repair.geometry != "image":
        raise refused("no-geometry", "a single slice that states no thickness", where)
    repairs.append("no-geometry")
    return 1.0


def _step(
    positions: np.ndarray, normal: np.ndarray, repair: Repair, where: str, repairs: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The vector from one slice to the next and each slice's offset in steps."""
    span = positions[-1] - positions[0]
    length = float(np.dot(span, normal))
    distances = (positions - positions[0]) @ normal
    gaps = np.diff(distances)
    numbers = np.arange(len(positions), dtype=float)
    tolerance = POSITION_TOLERANCE_MM + POSITION_TOLERANCE_SHARE * float(np.median(gaps))
    if np.abs(_residuals(positions - np.outer(distances / length, span), numbers)).max() > tolerance:
        raise refused("uneven-spacing", "the slices do not lie on one straight line", where)
    if np.abs(_residuals(distances, numbers)).max() <= tolerance:
        return span / numbers[-1], numbers
    steps = _whole_steps(gaps, tolerance)
    if steps is not None:
        if repair.gaps != "fill":
            missing = int(steps[-1]) + 1 - len(positions)
            told = "1 slice is" if missing == 1 else f"{missing} slices are"
            raise refused("slice-gap", f"{told} missing between {len(positions)} others", where)
        repairs.append("slice-gap")
        return span / steps[-1], steps
    if repair.spacing != "resample":
        told = f"distances between slices run from {gaps.min():.3f} to {gaps.max():.3f} mm"
        raise refused("uneven-spacing", told, where)
    repairs.append("uneven-spacing")
    count = max(1, round(length / float(np.median(gaps))))
    return span / count, distances / length * count


def _residuals(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """What is left of values (n,) or (n, m) when the straight line through them is taken away."""
    design = np.stack([numbers, np.ones_like(numbers)], axis=1)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def _whole_steps(gaps: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Slice numbers when every distance is a whole multiple of the usual or of the smallest; else None."""
    for usual in (float(np.median(gaps)), float(gaps.min())):
        multiples = np.round(gaps / usual)
        if (
            multiples.min() >= 1
            and multiples.sum() <= STEPS_LIMIT
            and np.all(np.abs(gaps - usual * multiples) <= tolerance)
        ):
            return np.concatenate([[0.0], np.cumsum(multiples)])
    return None
