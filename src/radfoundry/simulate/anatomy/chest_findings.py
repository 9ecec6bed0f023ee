"""Disease of the chest: what is drawn for a person, what it does to the lungs, and what is painted."""

from __future__ import annotations

import numpy as np

from radfoundry.simulate.anatomy.canvas import Canvas
from radfoundry.simulate.anatomy.chest_organs import Inside
from radfoundry.simulate.anatomy.regions import Anatomy, Finding


def draw_findings(rng, kinds, measures):
    return ()


def worked_on(measures, found):
    return {k: round(float(v), 4) for k, v in measures.items()}


def apply_to_lung(canvas: Canvas, inside: Inside, anatomy: Anatomy) -> None:
    pass


def apply_pleural(canvas: Canvas, inside: Inside, anatomy: Anatomy) -> None:
    pass
