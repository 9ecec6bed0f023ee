"""Laws of pseudonyms: repeatable with the key, useless without it, intervals kept, nothing told."""

import stat
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radfoundry.data.pseudonyms import (
    Pseudonyms,
    age_in_years,
    default_key_file,
    grouped_age,
    mentions,
    open_key,
    parse_date,
)
from radfoundry.records import InputError

ONE, OTHER = Pseudonyms(b"a" * 32), Pseudonyms(b"b" * 32)
identifiers = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=4, max_size=20)


def test_first_name_equals_hmac_sha256_of_the_openssl_command_line():
    # printf 'patient\0004711' | openssl dgst -sha256 -mac HMAC -macopt key:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    assert ONE.patient("4711") == "p-3fee3ae1636bca30"


@given(identifiers)
def test_names_repeat_with_the_key_and_differ_with_another(text):
    for kind in ("patient", "case", "series", "site"):
        name = getattr(ONE, kind)(text)
        assert name == getattr(Pseudonyms(b"a" * 32), kind)(text)
        assert name != getattr(OTHER, kind)(text)
        assert text not in name


@given(identifiers, identifiers)
def test_two_patients_never_share_a_name(first, second):
    assert (ONE.patient(first) == ONE.patient(second)) == (first.strip() == second.strip())


@given(identifiers, st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(0, 4000))
def test_dates_move_and_intervals_stay(patient, day, gap):
    later = day + timedelta(days=gap)
    assert ONE.shifted(day, patient) < day
    assert ONE.shifted(later, patient) - ONE.shifted(day, patient) == timedelta(days=gap)


def test_shifts_differ_between_patients():
    shifts = {ONE.shift_days(str(number)) for number in range(200)}
    assert len(shifts) > 150 and max(shifts) < 0 and min(shifts) >= -3650


@pytest.mark.parametrize("text", ["", None, "1999", "20191332", "2019041", "yesterday", "00000000"])
def test_what_is_no_date_is_missing(text):
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("stated", "born", "examined", "expected"),
    [
        ("045Y", date(1900, 1, 1), date(2000, 1, 1), 45.0),
        ("006M", None, None, 0.5),
        (63.5, None, None, 63.5),
        (None, date(1980, 6, 1), date(2020, 6, 1), 40.0),
        ("old", None, date(2020, 6, 1), None),
        (None, date(2021, 1, 1), date(2020, 1, 1), None),
        (-1.0, None, None, None),
    ],
)
def test_age(stated, born, examined, expected):
    assert age_in_years(stated, born, examined) == expected


def test_the_very_old_are_grouped():
    assert [grouped_age(age) for age in (None, 88.0, 89.0, 89.5, 101.0)] == [None, 88.0, 89.0, 90.0, 90.0]


def test_text_that_mentions_the_patient_is_found():
    identity = ("MÜLLER^ANNA MARIA", "ID-00471", "1957")
    assert mentions("ax t2 müller", identity)
    assert mentions("x00471x", identity)
    assert not mentions("t1_mprage_sag", identity)
    assert not mentions("LI", ("LI^WU",))  # two signs tell nobody and would empty every field


def test_key_is_made_once_for_its_owner_alone_and_outside(tmp_path):
    cohort = tmp_path / "cohort"
    place = default_key_file(cohort)
    assert place.parent == tmp_path and not place.is_relative_to(cohort)
    first = open_key(place, outside=cohort, create=True)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert open_key(place, outside=cohort, create=True) == first
    assert first.secret.hex() not in first.fingerprint and first.secret.hex() not in repr(first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort.key"]


def test_bad_keys_are_refused(tmp_path):
    cohort = tmp_path / "cohort"
    with pytest.raises(InputError, match="must not lie in the cohort"):
        open_key(cohort / "key", outside=cohort, create=True)
    with pytest.raises(InputError, match="not there"):
        open_key(tmp_path / "absent.key", outside=cohort, create=False)
    short = tmp_path / "short.key"
    short.write_text("abc")
    with pytest.raises(InputError, match="not a key"):
        open_key(short, outside=cohort, create=True)
