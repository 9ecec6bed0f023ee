"""Short reports in a radiologist's words, drawn from what the simulated patient really has."""

from __future__ import annotations

import numpy as np

from radfoundry.simulate.subject import Subject

LESION = (
    "There is a {size} mm hyperintense lesion in the {side} cerebral white matter on FLAIR and T2.",
    "{Side} hemispheric white matter lesion measuring {size} mm, bright on FLAIR, dark on T1.",
    "A focal T2 and FLAIR hyperintensity of {size} mm is seen in the white matter of the {side} hemisphere.",
)
NO_LESION = (
    "No focal lesion of the brain parenchyma.",
    "The white matter shows no focal signal abnormality.",
    "There is no evidence of a focal white matter lesion.",
)
WIDE = ("Ventricles and sulci are wide, in keeping with generalised volume loss.", "Moderate global atrophy.")
NORMAL = ("Ventricles and sulci are of normal width.", "Normal configuration of the ventricular system.")
WIDE_FROM_MM = 2.2


def report(subject: Subject, rng: np.random.Generator) -> str:
    """Findings and impression; the sizes are the lesion's own, rounded to 1 mm."""

    def one(sentences: tuple[str, ...]) -> str:
        return sentences[int(rng.integers(len(sentences)))]

    findings = [one(WIDE if subject.ventricles_mm > WIDE_FROM_MM else NORMAL)]
    impression = "No focal lesion."
    for lesion in subject.lesions:
        size = round(2 * lesion.radius_mm)
        findings.append(one(LESION).format(size=size, side=lesion.side, Side=lesion.side.capitalize()))
        impression = f"Solitary white matter lesion of the {lesion.side} hemisphere."
    if not subject.lesions:
        findings.append(one(NO_LESION))
    return f"FINDINGS: {' '.join(findings)}\nIMPRESSION: {impression}\n"
