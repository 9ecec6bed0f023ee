"""The 36 header tags: what is missing stays missing, spelling and order of words do not matter, nor that of axes."""

import numpy as np
import pytest

from radfoundry.data.header_tags import laid_out, read_header, tags
from radfoundry.records import Acquisition

SAID = Acquisition(
    modality="MR",
    manufacturer="SIEMENS",
    repetition_time_ms=9000.0,
    echo_time_ms=90.0,
    inversion_time_ms=2500.0,
    scanning_sequence=("SE", "IR"),
    image_type=("ORIGINAL", "PRIMARY", "M", "ND"),
    body_part="BRAIN",
    receive_coil="HeadNeck_20",
)


def same(one, other):
    return (
        np.array_equal(one.numbers, other.numbers, equal_nan=True)
        and np.array_equal(one.words, other.words)
        and np.array_equal(one.stated, other.stated)
    )


def test_there_are_36_tags_and_no_free_text_among_them():
    known = tags()
    assert len(known.names) == len(set(known.names)) == 36
    sources = {source for source, _ in known.words.values()} | {source for _, source, _ in known.numbers.values()}
    assert not sources & {"series_description", "protocol_name"}


def test_nothing_said_is_nothing_known():
    empty = read_header(Acquisition())
    assert empty.known == 0 and np.isnan(empty.numbers).all() and not empty.words.any() and not empty.stated.any()


@pytest.mark.parametrize("name", list(SAID.to_dict()))
def test_a_field_left_out_changes_its_own_tag_alone(name):
    whole = read_header(SAID)
    less = read_header(Acquisition.from_dict({key: value for key, value in SAID.to_dict().items() if key != name}))
    assert less.known == whole.known - 1


def test_case_and_order_of_words_do_not_matter():
    said = SAID.to_dict() | {"scanning_sequence": ["IR", "SE"], "manufacturer": "Siemens", "body_part": "brain"}
    assert same(read_header(SAID), read_header(Acquisition.from_dict(said)))


def test_a_word_on_no_list_is_not_the_same_as_none():
    known, columns = tags(), tags().columns
    odd = read_header(Acquisition(manufacturer="Unheard Of Ltd"))
    place = list(known.words).index("manufacturer")
    assert odd.stated[place] and odd.words[columns.index(("manufacturer", "another"))] == 1
    assert odd.words.sum() == 1


def test_coil_and_body_part_words_of_the_makes():
    # Names from public protocol books: Siemens, GE and Philips coils; German and English body parts.
    columns = tags().columns

    def words(**said):
        header = read_header(Acquisition(**said))
        return {word for (_, word), there in zip(columns, header.words, strict=True) if there}

    assert {"head", "neck"} <= words(receive_coil="HeadNeck_64")
    assert "knee" in words(receive_coil="TxRx_Knee_15") and "spine" in words(receive_coil="CTLBOT")
    assert "cervical" in words(body_part="HWS") and "knee" in words(body_part="KNIE")
    assert words(body_part="HEAD\\NECK") == {"brain", "neck"}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_found_along_any_axis(axis):
    shape, spacing = [24, 25, 26], [0.9, 0.9, 0.9]
    shape[axis], spacing[axis] = 12, 6.0
    found, steps = laid_out((1, *shape), spacing)
    assert found[3] == 12 and steps[2] == 6.0 and sorted(found[1:]) == sorted(shape)


def test_numbers_that_are_no_numbers_are_missing():
    assert read_header(Acquisition(echo_time_ms=float("nan"), repetition_time_ms=float("inf"))).known == 0
