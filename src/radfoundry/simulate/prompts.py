"""Prompts: sentences in the words of reports that say a finding is there, and that it is not."""

from __future__ import annotations

from collections.abc import Sequence

from radfoundry.records import InputError
from radfoundry.simulate.vocabulary import PHRASES, UNCOUNTABLE

TEMPLATES = (
    ("There is {a}{what}.", "No {what}."),
    ("{What} is seen.", "{What} is not seen."),
    ("Findings include {a}{what}.", "There is no evidence of {a}{what}."),
)
SECTION = "FINDINGS: "


def pairs(finding: str, phrases: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Sentences for and against a finding: every template with every synonym, which is what an ensemble averages.

    phrases: other words for the finding, in the singular. Refuses a finding without words.

    >>> pairs("tumour")[0]
    ('FINDINGS: There is a mass.', 'FINDINGS: No mass.')
    """
    said = tuple(phrases) or PHRASES.get(finding, ())
    if not said:
        raise InputError(
            f"no words for the finding {finding!r}", remedy=f"give phrases, or one of {', '.join(sorted(PHRASES))}"
        )
    filled = [
        tuple(pattern.format(a=article(what), what=what, What=what[0].upper() + what[1:]) for pattern in template)
        for what in said
        for template in TEMPLATES
    ]
    return [(SECTION + present, SECTION + absent) for present, absent in filled]


def article(what: str) -> str:
    """The article before a finding, with a space after it where there is one."""
    return "" if what in UNCOUNTABLE else "an " if what[0] in "aeiou" else "a "
