"""What happens to body regions: growth between visits, six weeks of training, contrast uptake, fat in muscle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from radfoundry.simulate.anatomy.regions import Anatomy, Finding
from radfoundry.simulate.body import Body
from radfoundry.simulate.time import grown_volume_ml
from radfoundry.simulate.tissues import at_field

TUMOUROUS = ("tumour", "mass", "lesion", "nodule", "metastasis", "cancer", "carcinoma")
MALIGNANT_FROM = 0.5  # severity from which a mass washes contrast agent out
THIGH_MUSCLES = ("quadriceps", "hamstrings", "adductors", "sartorius", "gracilis")
TRAINING_SPREAD = 0.015  # deviation between people of what training adds


def is_tumour(kind: str) -> bool:
    """Whether findings of a kind grow and take up contrast agent."""
    return any(word in kind for word in TUMOUROUS)


def is_malignant(finding: Finding) -> bool:
    """Whether a breast mass is carcinoma."""
    return finding.kind == "breast-mass" and finding.severity >= MALIGNANT_FROM


def course(anatomy: Anatomy, days: np.ndarray, *, response: float, rng: np.random.Generator) -> list[Anatomy]:
    """The same region on each of the days, the first being day 0.

    Tumours grow with a doubling time of 60 to 400 days, less what treatment kills (`response`); thigh muscle gains
    the share `response` over six weeks of training, with a deviation between people. Everything else stays.
    """
    doubling = float(np.exp(rng.uniform(*np.log((60.0, 400.0)))))
    gain = response + float(rng.normal()) * TRAINING_SPREAD if response else 0.0
    seen = [anatomy]
    for day in days[1:]:
        aged = anatomy
        if anatomy.region == "thigh":
            aged = replace(aged, measures=_trained(anatomy.measures, gain * min(float(day) / 42, 1.0)))
        else:
            factor = float(
                grown_volume_ml(10.0, np.array([float(day)]), doubling_days=doubling, response=response)[0] / 10.0
            )
            findings = [
                replace(item, size_mm=item.size_mm * factor ** (1 / 3)) if is_tumour(item.kind) else item
                for item in anatomy.findings
            ]
            aged = replace(aged, findings=tuple(findings))
        seen.append(aged)
    return seen


def _trained(measures: Mapping[str, float], gain: float) -> dict[str, float]:
    """The thigh after training: the fascia widens until there is a share more muscle around the same bone."""
    fascia, femur = measures["fascia_radius_mm"], measures["femur_radius_mm"]
    wider = (fascia**2 + gain * (fascia**2 - femur**2)) ** 0.5
    return {**measures, "fascia_radius_mm": wider}


def with_enhancement(body: Body, anatomy: Anatomy) -> Body:
    """The body with benign breast masses made of tissue that enhances slowly and goes on enhancing.

    From a severity of 0.5 on a mass is carcinoma, which washes contrast agent in and out quickly.
    """
    benign = [item for item in anatomy.findings if item.kind == "breast-mass" and item.severity < MALIGNANT_FROM]
    if not benign or "carcinoma" not in body.tissues:
        return body
    names = (*body.tissues, "slow-enhancing") if "slow-enhancing" not in body.tissues else body.tissues
    fractions = torch.cat([body.fractions, torch.zeros(len(names) - len(body.tissues), *body.shape)])
    moved = fractions[names.index("carcinoma")].clone()
    fractions[names.index("slow-enhancing")] += moved
    fractions[names.index("carcinoma")] -= moved
    return replace(body, tissues=names, fractions=fractions)


def fat_percent(body: Body) -> dict[str, float]:
    """Volume of thigh muscle in ml and the share of fat in it in per cent, as a perfect Dixon scan would measure."""
    muscles = [share for name, share in body.truth.items() if name in THIGH_MUSCLES]
    if not muscles:
        return {}
    where = torch.stack(muscles).amax(dim=0)
    table = at_field(3.0, names=body.tissues)
    protons = torch.tensordot(table.proton_density, body.fractions, dims=1)
    fat = torch.tensordot(table.proton_density * table.fat_fraction, body.fractions, dims=1)
    percent = 100 * float((fat * where).sum() / (protons * where).sum().clamp_min(1e-9))
    return {
        "muscle_volume_ml": round(float(where.sum()) * body.voxel_ml, 2),
        "muscle_fat_percent": round(percent, 3),
    }
