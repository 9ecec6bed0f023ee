"""Short written reports that say what the truth of a case is, in words a radiologist would use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VENTRICLES = (
    "Ventricles and sulci are of normal width.",
    "The ventricles are mildly widened, in keeping with age.",
    "There is marked widening of the ventricles and sulci.",
)
NEGATIVE = ("No focal lesion.", "No focal signal abnormality of the brain.", "There is no evidence of a focal lesion.")


def brain_report(
    *,
    age_years: float,
    sex: str,
    ventricles_mm: float,
    lesions: Sequence[tuple[str, float]],
    sequences: Sequence[str],
    rng: np.random.Generator,
) -> str:
    """A brain report; `lesions` are (side, diameter in mm). Findings agree with the truth it is given."""
    width = 0 if ventricles_mm < 1.5 else 1 if ventricles_mm < 3.0 else 2
    findings = [VENTRICLES[width]]
    for side, diameter_mm in lesions:
        findings.append(
            f"In the {side} cerebral white matter there is a lesion of {diameter_mm:.0f} mm, bright on T2 and FLAIR "
            "and dark on T1."
        )
    if not lesions:
        findings.append(NEGATIVE[int(rng.integers(len(NEGATIVE)))])
    impression = (
        f"{'Focal lesion' if len(lesions) == 1 else f'{len(lesions)} focal lesions'} of the white matter."
        if lesions
        else "No focal lesion."
    )
    who = f"{'Woman' if sex == 'F' else 'Man'} of {int(age_years)} years."
    return (
        f"CLINICAL INFORMATION: {who} Headache.\n"
        f"TECHNIQUE: MRI of the head, {', '.join(sequences)}.\n"
        f"FINDINGS: {' '.join(findings)} No midline shift.\n"
        f"IMPRESSION: {impression}\n"
    )
