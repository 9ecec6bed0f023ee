"""The tokeniser loses nothing, knows where its tokens came from, and comes out the same every time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radfoundry.records import InputError
from radfoundry.text import tokens

TEXTS = [
    "No mass effect. There is a mass on the left measuring 12 mm.",
    "No midline shift; a mass is seen on the right.",
]
MADE = tokens.train(TEXTS * 5, size=320)


@given(st.text())
def test_any_text_comes_back(text):
    encoded = MADE.encode(text)
    assert MADE.decode(encoded.numbers) == text
    assert all(tokens.SPECIAL <= number < MADE.size for number in encoded.numbers)


@given(st.text(alphabet="añ mß\n.é漢😀", max_size=20))
def test_places_cover_the_text_in_order(text):
    encoded = MADE.encode(text)
    covered = set()
    for start, end in zip(encoded.starts, encoded.ends, strict=True):
        assert 0 <= start < end <= len(text)
        covered |= set(range(start, end))
    assert covered == set(range(len(text))) and list(encoded.starts) == sorted(encoded.starts)


def test_common_words_become_single_tokens():
    assert len(MADE.encode(" mass").numbers) == 1
    assert len(MADE.encode(TEXTS[0]).numbers) < len(TEXTS[0]) / 2


def test_a_span_is_found_again():
    encoded = MADE.encode(TEXTS[0])
    start = TEXTS[0].index("mass on")
    first, last = encoded.covering(start, start + 4)
    assert MADE.decode(encoded.numbers[first:last]).strip() == "mass"
    assert encoded.covering(10_000, 10_001) == (0, 0)


def test_training_repeats_and_survives_the_disk(tmp_path):
    assert tokens.train(TEXTS * 5, size=320) == MADE
    MADE.save(tmp_path / "t.json")
    assert tokens.load(tmp_path / "t.json") == MADE


def test_padding_fills_and_cuts():
    assert MADE.padded("", 3) == [tokens.START, tokens.PAD, tokens.PAD]
    assert len(MADE.padded(TEXTS[0], 4)) == 4


def test_what_is_no_tokeniser_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        tokens.load(tmp_path / "absent.json")
    for text in ("{}", "[1]", '{"format": 1, "merges": [[300, 4]]}', '{"format": 2, "merges": []}', "not JSON"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError):
            tokens.load(tmp_path / "bad.json")
    with pytest.raises(InputError, match="fewer than the bytes"):
        tokens.train(TEXTS, size=100)
