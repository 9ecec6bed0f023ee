"""Simple chest films with a nodule, a box and a marker that gives the answer away: for trials that need no files.

Two dark lungs with ribs, a faint round nodule in one of them in half of the patients, and a letter-like marker in a
corner, as `simulate.shortcuts.tied` ties it to the disease. Much simpler than `chest-radiographs`, and a thousand times
quicker: thousands of films in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.simulate.shortcuts import tied
from radfoundry.volume import Volume

NAME = "simulated"
SPLIT = "simulated"
SIDE = 64
PIXEL_MM = 5.0
CORNERS = ("corner", "box", "none")


def cohort(asked: Mapping[str, Any], *, seed: int) -> Cohort:
    """Films of `train`, `test` and `external` patients as a cohort with the split `simulated`.

    `marker` is how often the diseased carry the marker (and 1 minus that the healthy) in training and internal test,
    `external` how often at the outside hospital, whose films are noisier and of other contrast. `place` says where the
    marker lies: in a corner, in the box around the nodule (or a like place in the healthy), or nowhere.
    """
    chosen = {"train": 160, "test": 100, "external": 200, "marker": 0.95, "external_marker": 0.5, "place": "corner"}
    chosen |= {"strength": 0.3}
    for name in asked:
        if name not in chosen:
            raise registry.unknown("option", name, chosen, where="task.simulate")
    chosen |= dict(asked)
    if chosen["place"] not in CORNERS:
        raise InputError(f"place={chosen['place']!r}", where="task.simulate", remedy=f"one of {', '.join(CORNERS)}")
    rng = np.random.default_rng([seed, 17])
    cases, parts = [], {}
    for part in ("train", "test", "external"):
        rate = float(chosen["external_marker" if part == "external" else "marker"])
        for number in range(int(chosen[part])):
            key = f"{part}-{number:05d}"
            cases.append(_case(key, part, {**chosen, "rate": rate}, rng))
            parts[key] = part
    mark = runs.digest([chosen, seed])
    return Cohort(tuple(cases), f"simulated-{mark}", {SPLIT: parts}, {"simulated": "films"})


def film(
    *, present: bool, marked: bool, external: bool, place: str, strength: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One film `(64, 64)` and its boxes `(n, 6)` in pixel edges."""
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    image = np.full((SIDE, SIDE), 0.75)
    lungs = []
    for side in (-1, 1):
        middle = (SIDE / 2 + side * rng.uniform(13, 16), SIDE / 2 + rng.uniform(-3, 3))
        radii = (rng.uniform(9, 12), rng.uniform(18, 23))
        inside = ((x - middle[0]) / radii[0]) ** 2 + ((y - middle[1]) / radii[1]) ** 2 < 1
        image[inside] = rng.uniform(0.25, 0.35)
        lungs.append((middle, radii))
    for _ in range(rng.integers(4, 8)):
        level, slope = rng.uniform(5, SIDE - 5), rng.uniform(-0.4, 0.4)
        image += 0.12 * np.exp(-(((y - level - slope * (x - SIDE / 2)) / 1.2) ** 2))
    middle, radii = lungs[int(rng.integers(2))]
    angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 0.5))
    spot = (middle[0] + far * radii[0] * np.cos(angle), middle[1] + far * radii[1] * np.sin(angle))
    size = rng.uniform(1.8, 3.2)
    boxes = np.zeros((0, 6))
    if present:
        image += strength * np.exp(-(((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * size**2)))
        low, high = np.clip([[c + 0.5 - 2 * size, c + 0.5 + 2 * size] for c in spot], 0, SIDE).T
        boxes = np.array([[*low, 0.0, *high, 1.0]])
    if marked and place != "none":
        a, b = (4, 4) if place == "corner" else (round(spot[0]) - 2, round(spot[1]) - 2)
        image[a : a + 5, b : b + 1] = image[a + 2 : a + 3, b : b + 5] = 1.2
    if external:
        image = np.clip(image, 0, None) ** rng.uniform(0.8, 1.1)
    noise = rng.normal(size=image.shape) * (0.09 if external else 0.07)
    return (1000 * (image + noise)).astype(np.float32), boxes


def _case(key: str, part: str, chosen: Mapping[str, Any], rng: np.random.Generator) -> Case:
    present = bool(rng.random() < 0.5)
    marked = tied(present, rate=chosen["rate"], rng=rng)
    image, boxes = film(
        present=present,
        marked=marked,
        external=part == "external",
        place=chosen["place"],
        strength=float(chosen["strength"]),
        rng=rng,
    )
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, PIXEL_MM, 1.0])  # columns to the patient's left, rows to the feet
    affine[2, :3], affine[1, :3] = [0.0, -PIXEL_MM, 0.0], [0.0, 0.0, PIXEL_MM]
    volume = Volume.of(image, affine)
    series = Series(
        key=key,
        patient=key,
        case=key,
        acquisition=Acquisition(modality="DX", body_part="CHEST", view_position="PA"),
        shape=volume.array.shape,
        spacing_mm=volume.spacing_mm,
        site="outside" if part == "external" else "inside",
        sequence="chest-pa",
        content=f"{key}-{runs.digest(float(image.sum()))}",
        loader=lambda _series: volume,
    )
    written = "; ".join(" ".join(f"{value:.2f}" for value in box[[0, 1, 3, 4]]) for box in boxes) or "none"
    labels = {"nodule": int(present), "boxes": written, "marker": int(marked)}
    return Case(key=key, patient=key, series=(series,), labels=labels, site=series.site)
