"""What free text such as a series description suggests a series is: the way conversion tools by name rules do it.

Names are what somebody meant to scan, in the words of one site. They are the comparator of the benchmarks and are
used on a cohort only when asked for. After the heuristics of BIDScoin and heudiconv, written anew.
"""

from __future__ import annotations

import re

# The first pattern that fits decides; anything a name cannot say is None.
NAMES: tuple[tuple[str, str], ...] = (
    ("LOC", r"locali[sz]er|scout|survey|loc\b|3[ -]?plane|topogram|aahead|plan ?scan|scano"),
    ("CAL", r"calib|\bcal\b|asset|coil ?sens|reference ?scan|ref ?scan|\bsenseref"),
    ("ADC", r"\badc\b|_adc|apparent"),
    ("other", r"e-?adc|\bfa\b|_fa\b|colfa|tensor|tracew_exp|exp_?adc"),
    ("ASL", r"asl|spin ?label|perfusion.*label"),
    ("other", r"bold|fmri|rest(ing)?[ _-]?state|\brest\b|task|epfid"),
    ("other", r"field ?map|fmap|gre_field|phase ?map|b0 ?map|se_?epi|sefmap"),
    ("other", r"perf|dsc|\bcbf\b|\bcbv\b|\bmtt\b|mp2rage.*(inv|t1map)|spectro|svs"),
    ("other", r"\bmt\b|mt[-_ ]?(on|off)|gre[-_]mt|t1[ _-]?map|t2[ _-]?map"),
    ("DWI", r"dwi|diff|dti|trace|ep2d_b|\bb ?(0|500|800|1000)\b|hardi|ivim"),
    ("SWI", r"swi|swan|suscept|mip_images\(sw\)|venobold|qsm"),
    ("MRA", r"mra|tof|angio|mrv|inhance|twist|tricks|\bpca\b"),
    ("T2-FLAIR", r"t2.*flair|flair(?!.*t1)|dark ?fluid|tirm.*dark"),
    ("other", r"stir|\btirm\b|\bpd\b|pd[_ -]?(tse|fs|w)|proton"),
    ("T1c", r"(t1|mprage|bravo|vibe|lava|thrive|spgr).*(\+ ?c|\bce\b|gd|gad|post|contrast|\bkm\b|enhanc)"),
    ("T1c", r"(\+ ?c|post|gd).*t1|t1ce|t1post"),
    ("T2*", r"t2\*|t2[_ -]?star|t2s\b|hemo|\bgre\b|medic|merge|fl2d.*t2|ffe.*t2"),
    ("SSFP", r"fiesta|true?fisp|trufi|b-?ffe|b-?tfe|ciss|ssfp|cine"),
    ("T1", r"t1|mprage|bravo|vibe|lava|thrive|spgr|\btfl\b|flash"),
    ("T2", r"t2|haste|ssfse|cube|space"),
)  # fmt: skip
_COMPILED = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in NAMES)


def type_of_name(text: str | None) -> str | None:
    """The type a description suggests, or None.

    >>> type_of_name("t2_tirm_tra_dark-fluid"), type_of_name("Ax T1 POST"), type_of_name("Series 4")
    ('T2-FLAIR', 'T1c', None)
    """
    if not text:
        return None
    spaced = text.replace("_", " ")
    return next((kind for kind, pattern in _COMPILED if pattern.search(text) or pattern.search(spaced)), None)
