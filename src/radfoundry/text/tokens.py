"""Words of reports as numbers: a byte-pair tokeniser learned from the reports at hand."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from radfoundry import runs
from radfoundry.records import InputError

FORMAT = 1
PAD, START, MASK = 0, 1, 2
SPECIAL = 3
BYTES = 256
# A word with the space before it, a run of punctuation, or white space: nothing is lost.
PARTS = re.compile(r" ?[^\W_]+| ?[^\w\s]+|_+|\s+")


@dataclass(frozen=True)
class Tokens:
    """A text as token numbers, with the characters `[starts, ends)` of the text that each stands for."""

    numbers: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def covering(self, start: int, end: int) -> tuple[int, int]:
        """First token and one past the last token that touch the characters `[start, end)`."""
        inside = [n for n, (a, b) in enumerate(zip(self.starts, self.ends, strict=True)) if a < end and b > start]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)


@dataclass(frozen=True)
class Tokeniser:
    """Byte pairs in the order they were merged; token numbers are 3 special ones, 256 bytes, then the merges."""

    merges: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """How many different tokens there are."""
        return SPECIAL + BYTES + len(self.merges)

    @cached_property
    def _order(self) -> dict[tuple[int, int], int]:
        return {pair: place for place, pair in enumerate(self.merges)}

    @cached_property
    def _bytes(self) -> list[bytes]:
        known = [b""] * SPECIAL + [bytes([value]) for value in range(BYTES)]
        for first, second in self.merges:
            known.append(known[first] + known[second])
        return known

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        return {}

    def encode(self, text: str) -> Tokens:
        """The tokens of a text; any text at all can be encoded, and `decode` gives it back."""
        numbers: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        for part in PARTS.finditer(text):
            place, word = part.start(), part.group()
            # Where each byte's character begins, and one past the end.
            letters = [place + n for n, letter in enumerate(word) for _ in letter.encode()] + [part.end()]
            done = 0
            for number in self._word(word):
                length = len(self._bytes[number])
                numbers.append(number)
                starts.append(letters[done])
                ends.append(max(letters[done + length], letters[done] + 1))
                done += length
        return Tokens(tuple(numbers), tuple(starts), tuple(ends))

    def padded(self, text: str, length: int) -> list[int]:
        """A start token and the text's tokens, cut or filled with 0 to `length` numbers."""
        numbers = [START, *self.encode(text).numbers][:length]
        return numbers + [PAD] * (length - len(numbers))

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of token numbers; special tokens say nothing."""
        return b"".join(self._bytes[number] for number in numbers).decode(errors="replace")

    def _word(self, word: str) -> tuple[int, ...]:
        known = self._known.get(word)
        if known is None:
            numbers = [SPECIAL + value for value in word.encode()]
            while len(numbers) > 1:
                ranked = [(self._order.get(pair, len(self.merges)), pair) for pair in _pairs(numbers)]
                place, pair = min(ranked)
                if place == len(self.merges):
                    break
                numbers = _merged(numbers, pair, SPECIAL + BYTES + place)
            known = self._known[word] = tuple(numbers)
        return known

    def save(self, path: str | Path) -> None:
        """Write the merges as JSON."""
        runs.write_json(path, {"format": FORMAT, "merges": self.merges})


def load(path: str | Path) -> Tokeniser:
    """A tokeniser from its JSON file; refuses other files and merges of tokens that are not there yet."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError("another format")
        return from_merges(values["merges"])
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), remedy="check the path", finding="missing-file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"not a tokeniser ({error})", where=str(path), remedy="train one again") from None


def from_merges(merges: Iterable[Sequence[int]]) -> Tokeniser:
    """A tokeniser from its merges in order; a merge of tokens that are not there yet is a ValueError."""
    pairs = tuple((int(first), int(second)) for first, second in merges)
    if any(not SPECIAL <= number < SPECIAL + BYTES + place for place, pair in enumerate(pairs) for number in pair):
        raise ValueError("a merge names a token that is not there yet")
    return Tokeniser(pairs)


def train(texts: Sequence[str], *, size: int = 1024, rarest: int = 2) -> Tokeniser:
    """Learn the merges that shorten these texts most, until there are `size` tokens.

    Pairs seen fewer than `rarest` times are not merged. Ties go to the pair that comes first in order of numbers, so
    that the same texts always give the same tokeniser. Source: Sennrich et al. 2016, on bytes.

    >>> made = train(["no mass", "a mass", "the mass"], size=270)
    >>> made.decode(made.encode("mass effect").numbers)
    'mass effect'
    """
    if size < SPECIAL + BYTES:
        raise InputError(f"{size} tokens are fewer than the bytes there are", remedy=f"at least {SPECIAL + BYTES}")
    counts = Counter(part for text in texts for part in PARTS.findall(text))
    words = [([SPECIAL + value for value in word.encode()], count) for word, count in sorted(counts.items())]
    merges: list[tuple[int, int]] = []
    while SPECIAL + BYTES + len(merges) < size:
        seen: Counter[tuple[int, int]] = Counter()
        for numbers, count in words:
            for pair in _pairs(numbers):
                seen[pair] += count
        if not seen:
            break
        pair = min(seen, key=lambda item: (-seen[item], item))
        if seen[pair] < rarest:
            break
        new = SPECIAL + BYTES + len(merges)
        merges.append(pair)
        words = [(_merged(numbers, pair, new), count) for numbers, count in words]
    return Tokeniser(tuple(merges))


def _pairs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(numbers))


def _merged(numbers: Sequence[int], pair: tuple[int, int], new: int) -> list[int]:
    made: list[int] = []
    place = 0
    while place < len(numbers):
        if place + 1 < len(numbers) and (numbers[place], numbers[place + 1]) == pair:
            made.append(new)
            place += 2
        else:
            made.append(numbers[place])
            place += 1
    return made
