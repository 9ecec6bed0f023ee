"""Where in the head a place lies, in the words of a report: lobes by rough planes in the template."""

from __future__ import annotations

from collections.abc import Sequence

MIDLINE_MM = 12.0
LOBES = (
    "frontal lobe",
    "parietal lobe",
    "temporal lobe",
    "occipital lobe",
    "basal ganglia",
    "cerebellum",
    "brainstem",
)


def lobe(place_mm: Sequence[float]) -> str:
    """The lobe that a place in the template (ICBM-152, RAS mm) lies in, by planes; borders are good to a centimetre.

    The central sulcus is taken to lean back from y = -6 mm at the level of the thalamus to -22 mm at the vertex, the
    parieto-occipital one to lie at y = -62 mm (Talairach and Tournoux 1988, plates read by eye).

    >>> lobe((35, 40, 20)), lobe((-52, -20, -15)), lobe((25, -55, -38))
    ('frontal lobe', 'temporal lobe', 'cerebellum')
    """
    x, y, z = (float(value) for value in place_mm)
    if z < -16 and y < -40 and abs(x) < 55:
        return "cerebellum"
    if z < -16 and y < -8 and abs(x) < MIDLINE_MM:
        return "brainstem"
    if abs(x) < 34 and -24 < y < 20 and -14 < z < 18:
        return "basal ganglia"
    if z < 6 and -58 < y < 14 and abs(x) > 20:
        return "temporal lobe"
    if y < -62 and z < 32:
        return "occipital lobe"
    return "frontal lobe" if y > -6 - 0.32 * max(z - 20, 0) else "parietal lobe"


def side(place_mm: Sequence[float]) -> str:
    """`left`, `right`, or nothing within 12 mm of the midline."""
    x = float(place_mm[0])
    return "" if abs(x) < MIDLINE_MM else "right" if x > 0 else "left"
