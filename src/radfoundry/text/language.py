"""Which language a report is written in, cheaply: by its small words."""

from __future__ import annotations

import re

from radfoundry.records import InputError

# Small words that are frequent in reports of one language and rare in the others.
SMALL = {
    "English": "the of and is are no with there in to for was not or at this from seen without within normal evidence",
    "German": "der die das und ist kein keine mit im des den nicht nachweis sowie bei ohne von zum zur links rechts",
    "French": "le la les et est une des du pas sans avec dans aucun aucune pour sur au droite gauche de",
    "Spanish": "el la los las y es una sin con del no se por en derecho izquierdo de imagen al hallazgos",
    "Italian": "il la lo e di una non con nel della del si sono destra sinistra senza per alterazioni",
    "Dutch": "de het een en van geen met niet is zijn bij rechts links op voor wordt aanwijzingen",
    "Portuguese": "o a os as e sem com da do das dos uma não na no direito esquerdo por de",
}
WORDS = {name: frozenset(words.split()) for name, words in SMALL.items()}
WORD = re.compile(r"[^\W\d_]+")
FEWEST_WORDS = 6


def of(text: str) -> str:
    """The language that a text is most likely written in; too short a text counts as English.

    >>> of("Kein Nachweis einer Raumforderung. Die Ventrikel sind nicht erweitert und regelrecht.")
    'German'
    """
    words = [word.lower() for word in WORD.findall(text)]
    if sum(not letter.isascii() for letter in text if letter.isalpha()) > 0.3 * max(1, sum(map(str.isalpha, text))):
        return "another script"
    if len(words) < FEWEST_WORDS:
        return "English"
    counts = {name: sum(word in small for word in words) for name, small in WORDS.items()}
    best = max(counts, key=lambda name: (counts[name], name == "English"))
    return best if counts[best] > 1.3 * counts["English"] + 1 else "English"


def require_english(text: str, *, where: str = "") -> None:
    """Refuse a report in another language: the rules would read nothing in it, which is not the same as no finding."""
    found = of(text)
    if found != "English":
        said = "is in another script" if found == "another script" else f"looks {found}"
        raise InputError(
            f"the report {said}; only English is read", where=where, remedy="translate it", finding="language"
        )
