"""What a user states of image files that state nothing themselves: modality and sequence, in the program's spelling."""

from __future__ import annotations

from radfoundry import registry
from radfoundry.data.sequence_rules import SEQUENCES
from radfoundry.records import InputError

# Defined terms of Modality (0008,0060), DICOM PS3.3 C.7.3.1.1.1, as far as they stand for images.
CODES = """
    AR BDUS BI BMD CR CT DG DMS DX ECG EPS ES FID GM HD IO IVOCT IVUS KER LEN LS MG MR NM OAM OCT OP OPM OPT OPTBSV
    OPTENF OPV OSS OT PA POS PT PX RF RG RTIMAGE SEG SM SRF TG US VA XA XAPROTOCOL XC
"""
MODALITIES = frozenset(CODES.split())
SAID = {
    **dict.fromkeys(("MRI", "MAGNETIC RESONANCE"), "MR"),
    **dict.fromkeys(("CAT", "COMPUTED TOMOGRAPHY"), "CT"),
    **dict.fromkeys(("ULTRASOUND", "SONOGRAPHY"), "US"),
    **dict.fromkeys(("MAMMOGRAPHY", "MAMMOGRAM", "MAMMO"), "MG"),
    **dict.fromkeys(("XRAY", "X-RAY", "RADIOGRAPH", "RADIOGRAPHY", "CXR", "FILM"), "DX"),
    "PET": "PT",
    "ANGIOGRAPHY": "XA",
    "FLUOROSCOPY": "RF",
}


def stated_modality(word: str | None) -> str | None:
    """The DICOM code of a modality in any capitals; a plain word or a misspelt code is refused with the code for it.

    >>> stated_modality("mr"), stated_modality(None)
    ('MR', None)
    """
    if word is None or word.strip().upper() in MODALITIES:
        return word and word.strip().upper()
    code = SAID.get(word.strip().upper())
    if code is not None:
        raise InputError(
            f"{word!r} is no DICOM code of a modality",
            where="modality",
            remedy=f"write {code}",
            finding="unknown-name",
        )
    raise registry.unknown("modality", word, MODALITIES)


def stated_sequence(word: str | None) -> str | None:
    """A sequence as a path or a user writes it, in the capitals of the known names; other words stay as they are.

    >>> stated_sequence("T1W"), stated_sequence("flair"), stated_sequence("T1ce")
    ('T1w', 'FLAIR', 'T1ce')
    """
    known = {name.casefold(): name for name in SEQUENCES}
    return word if word is None else known.get(word.casefold(), word)
