"""The names of what a series can be: sequence types, parts of the body, and the words other lists use for them."""

from __future__ import annotations

from collections.abc import Mapping

# Thirteen sequence types and `other` (proton density, STIR, functional series, field maps, computed maps, masks …).
SEQUENCES = (
    "T1",
    "T1c",
    "T2",
    "T2-FLAIR",
    "DWI",
    "ADC",
    "MRA",
    "T2*",
    "SWI",
    "SSFP",
    "ASL",
    "CAL",
    "LOC",
    "other",
)
# The nine parts that neuro and joint imaging tell apart, then the regions of the rest of the body.
ANATOMIES = (
    "brain",
    "neck",
    "cervical-spine",
    "thoracic-spine",
    "lumbar-spine",
    "wrist",
    "hip",
    "elbow",
    "knee",
    "shoulder",
    "ankle-foot",
    "leg",
    "chest",
    "heart",
    "breast",
    "abdomen",
    "pelvis",
    "whole-body",
    "other",
)
REVIEW = "review"
# What a cohort calls them (data.sequence_rules.SEQUENCES); types without a word there keep their own.
COHORT_WORDS: Mapping[str, str] = {
    "T1": "T1w",
    "T1c": "T1w",
    "T2": "T2w",
    "T2-FLAIR": "FLAIR",
    "DWI": "dwi",
    "ADC": "adc",
    "MRA": "angio",
    "T2*": "T2starw",
    "SWI": "swi",
    "ASL": "asl",
    "LOC": "localizer",
}
OF_COHORT_WORDS: Mapping[str, str] = {
    "T1w": "T1",
    "T2w": "T2",
    "FLAIR": "T2-FLAIR",
    "dwi": "DWI",
    "adc": "ADC",
    "angio": "MRA",
    "T2starw": "T2*",
    "swi": "SWI",
    "asl": "ASL",
    "localizer": "LOC",
    "PDw": "other",
    "bold": "other",
    "mask": "other",
}


DETAILS: Mapping[str, str] = {
    "proton density": "PDw",
    "functional time series": "bold",
    "mask or label map": "mask",
}


def cohort_word(sequence: str, detail: str = "") -> str:
    """The word a cohort uses for a type; the detail of an `other` may have a word of its own.

    >>> cohort_word("T2-FLAIR"), cohort_word("SSFP"), cohort_word("other", "proton density")
    ('FLAIR', 'SSFP', 'PDw')
    """
    if sequence == "other":
        return DETAILS.get(detail, sequence)
    return COHORT_WORDS.get(sequence, sequence)
