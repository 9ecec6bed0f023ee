"""Reports for simulated crops: what a radiologist who sees the crop alone would write."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from radfoundry.simulate import lobes, stream
from radfoundry.simulate.lesions import Lesion
from radfoundry.simulate.presets import brain_statements
from radfoundry.simulate.stream import CropDraw, CropPlan
from radfoundry.simulate.subject import Subject
from radfoundry.simulate.words import STYLES, Report, Statement, write_report

FINDINGS = (
    "demyelination",
    "tumour",
    "infarct",
    "haemorrhage",
    "ventricle-widening",
    "atrophy",
    "small-vessel-disease",
)
WHOLE_HEAD_MM = 150.0
# The bodies of both lateral ventricles in the template: who sees neither says nothing about their width.
VENTRICLES_MM = ((-12.0, -8.0, 24.0), (12.0, -8.0, 24.0))
AT_A_TIME = 16


def report_of(draw: CropDraw, plan: CropPlan, *, seed: int, case: int) -> Report:
    """What a radiologist who sees the crop alone would write.

    The technique names the part of the head that is shown. A finding comes with its side, lobe and size; lesions
    outside of the crop and ventricles that are not in it are not mentioned, neither as present nor as absent.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, case, 1]))
    subject = draw.subject
    half_mm = plan.size * float(np.linalg.norm(draw.affine[:3, 0])) / 2
    centre_mm = (subject.pose @ draw.affine @ np.array([*(3 * [(plan.size - 1) / 2]), 1.0]))[:3]

    def shown(place_mm: tuple[float, float, float]) -> bool:
        return bool(np.all(np.abs(np.array(place_mm) - centre_mm) < half_mm))

    there = replace(subject, lesions=tuple(lesion for lesion in subject.lesions if shown(lesion.centre_mm)))
    stated = [placed(item, there) for item in brain_statements(there)]
    if not all(shown(place) for place in VENTRICLES_MM):
        stated = [item for item in stated if item.finding != "ventricle-widening"]
    style = STYLES[int(rng.integers(len(STYLES)))]
    return write_report(stated, rng=rng, style=style, technique=technique(centre_mm, half_mm))


def placed(statement: Statement, subject: Subject) -> Statement:
    """The statement with the lobe of the largest lesion that it speaks of."""
    spoken = [item for item in subject.findings if item.kind == statement.finding and item.side == statement.side]
    if statement.state != "present" or not spoken:
        return statement
    largest: Lesion = max(spoken, key=lambda item: item.diameter_mm)
    return replace(statement, site=lobes.lobe(largest.centre_mm))


def technique(centre_mm: np.ndarray, half_mm: float) -> str:
    """Which part of the head is shown: all of it, or a small field of view by its middle."""
    if half_mm >= WHOLE_HEAD_MM / 2:
        return "MRI of the whole head."
    where = region(centre_mm)
    return f"MRI, small field of view. {where[0].upper()}{where[1:]}."


def region(place_mm: np.ndarray) -> str:
    """Lobe and side of a place in the template, as a report names them.

    >>> region(np.array([-35.0, 40.0, 20.0])), region(np.array([0.0, 40.0, 30.0]))
    ('left frontal lobe', 'frontal lobe, midline')
    """
    place = [float(value) for value in place_mm]
    side = lobes.side(place)
    return f"{side} {lobes.lobe(place)}" if side else f"{lobes.lobe(place)}, midline"


@dataclass(frozen=True, eq=False)
class Studies:
    """Simulated studies with their reports and truth, one row each.

    images `(N, I, J, K)` as the simulator makes them · reports · findings `(N, F)` 0 or 1 in the order of FINDINGS ·
    region: the lobe (with its side) in the middle of the crop · lesion `(N, I, J, K)` share of each voxel.
    """

    images: torch.Tensor
    reports: tuple[Report, ...]
    findings: np.ndarray
    region: tuple[str, ...]
    lesion: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)


def present(report: Report) -> np.ndarray:
    """`(F,)` 1 for each of FINDINGS that a report says is there."""
    said = {item.finding for item in report.statements if item.state == "present"}
    return np.array([int(name in said) for name in FINDINGS])


def studies(plan: CropPlan, *, seed: int, count: int) -> Studies:
    """So many patients of a seed, each as one crop (the plan's first view) with its report.

    >>> made = studies(CropPlan(size=16, spacing_mm=(5.0, 5.0), views=1), seed=3, count=2)
    >>> len(made), made.images.shape[1:], made.reports[0].text.startswith("TECHNIQUE: MRI")
    (2, torch.Size([16, 16, 16]), True)
    """
    images, lesions, reports, regions = [], [], [], []
    for first in range(0, count, AT_A_TIME):
        cases = list(range(first, min(count, first + AT_A_TIME)))
        drawn = [stream.draw_crop(plan, seed=seed, case=case) for case in cases]
        made = stream.batch(drawn, plan, cases=cases)
        images.append(made.images[:, 0])
        lesions.append(made.lesion)
        reports += [report_of(draw, plan, seed=seed, case=case) for draw, case in zip(drawn, cases, strict=True)]
        regions += [region(centre) for centre in made.centre_mm.numpy()]
    findings = np.stack([present(report) for report in reports])
    return Studies(torch.cat(images), tuple(reports), findings, tuple(regions), torch.cat(lesions))
