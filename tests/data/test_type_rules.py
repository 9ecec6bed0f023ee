"""Rules over headers: what vendors write stands for what it says, contradictions go to a person, nothing is silent."""

import pytest

from radfoundry.data.header_tags import read_header, tags
from radfoundry.data.series_types import REVIEW, SEQUENCES
from radfoundry.data.type_rules import STRENGTHS, apply_rules, facts_of, other_modality, rules
from radfoundry.records import Acquisition, InputError


def ruled(said, *, chosen="other", confidence=0.5, limit=0.9, pixels=None, shape=None, spacing_mm=None):
    acquisition = Acquisition(modality="MR", **said)
    header = read_header(acquisition, shape=shape, spacing_mm=spacing_mm)
    return apply_rules(facts_of(acquisition, header, pixels=pixels), chosen=chosen, confidence=confidence, limit=limit)


# Headers as the makes write them (public conformance statements and published sample headers).
CASES = {
    "Siemens ADC": ({"image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND", "NORM")}, "ADC"),
    "Siemens trace": ({"image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND")}, "DWI"),
    "Siemens fractional anisotropy": ({"image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "FA")}, "other"),
    "Siemens minimum projection": ({"image_type": ("DERIVED", "PRIMARY", "MNIP", "ND")}, "SWI"),
    "Siemens phase": ({"image_type": ("ORIGINAL", "PRIMARY", "P", "ND")}, "other"),
    "Philips exponential ADC": ({"image_type": ("DERIVED", "PRIMARY", "EADC", "EADC")}, "other"),
    "b-value": ({"b_value_s_per_mm2": 1000.0}, "DWI"),
    "GE angiogram": ({"scan_options": ("VASCTOF_GEMS", "FC")}, "MRA"),
    "Siemens balanced": ({"sequence_name": "*tfi2d1_15", "scanning_sequence": ("GR",)}, "SSFP"),
    "GE balanced": ({"sequence_name": "FIESTA", "scanning_sequence": ("GR",)}, "SSFP"),
    "labelling": ({"image_type": ("ORIGINAL", "PRIMARY", "ASL")}, "ASL"),
    "localizer": ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "LOC"),
    "FLAIR": ({"inversion_time_ms": 2500.0, "repetition_time_ms": 9000.0, "echo_time_ms": 90.0}, "T2-FLAIR"),
    "STIR": ({"inversion_time_ms": 160.0, "repetition_time_ms": 4000.0, "echo_time_ms": 40.0}, "other"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_makes_write_stands_for_what_it_says(name):
    said, expected = CASES[name]
    found = ruled(said)
    assert found.type == expected and found.reasons and found.rules


def test_only_what_the_header_states_in_so_many_words_goes_before_a_confident_classifier():
    flair, adc = CASES["FLAIR"][0], CASES["Siemens ADC"][0]
    assert ruled(flair, chosen="T2", confidence=0.99).type == REVIEW
    assert ruled(flair, chosen="T2", confidence=0.80).type == "T2-FLAIR"
    assert ruled(adc, chosen="DWI", confidence=0.999).type == "ADC"


def test_a_soft_rule_keeps_out_of_a_confident_classifiers_way_and_is_told():
    said = {"scanning_sequence": ("SE",), "repetition_time_ms": 4000.0, "echo_time_ms": 100.0}
    assert ruled(said, chosen="other", confidence=0.6).type == "T2"
    found = ruled(said, chosen="DWI", confidence=0.96)
    assert found.type == "DWI" and any("would speak for T2" in reason for reason in found.reasons)


# What kind of echo it was follows where no scanning sequence is stated: Philips's image types (its conformance
# statements), and physics (no spin echo is repeated after 57 ms or excited with 9 degrees).
KINDS = {
    "Philips field echo": ({"image_type": ("ORIGINAL", "PRIMARY", "M", "FFE", "M", "FFE")}, "GR"),
    "Philips spin echo": ({"image_type": ("ORIGINAL", "PRIMARY", "M", "SE"), "manufacturer": "Philips"}, "SE"),
    "short repetition": ({"repetition_time_ms": 57.0, "echo_time_ms": 2.0, "flip_angle_deg": 9.0}, "GR"),
    "prepared": ({"repetition_time_ms": 2300.0, "echo_time_ms": 3.0, "flip_angle_deg": 9.0}, "GR"),
    "long echo": ({"repetition_time_ms": 3200.0, "echo_time_ms": 409.0, "flip_angle_deg": 90.0}, "SE"),
    "spin echo or echo planar": ({"repetition_time_ms": 3000.0, "echo_time_ms": 80.0, "flip_angle_deg": 90.0}, None),
    "stated otherwise": ({"repetition_time_ms": 57.0, "echo_time_ms": 2.0, "scanning_sequence": ("SE",)}, "SE"),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_echo_follows_where_it_is_not_stated(name):
    said, kind = KINDS[name]
    acquisition = Acquisition(modality="MR", **said)
    facts = facts_of(acquisition, read_header(acquisition))
    assert facts.texts.get("scanning_sequence") == kind
    assert bool(facts.derived) == (kind is not None and "scanning_sequence" not in said)


def test_what_a_derived_kind_cannot_tell_goes_to_a_person():
    timing = {"repetition_time_ms": 5000.0, "echo_time_ms": 395.0, "flip_angle_deg": 120.0}
    assert ruled(timing, chosen="T2", confidence=0.97).type == REVIEW  # FLAIR or T2, no inversion time stated
    assert ruled(timing | {"repetition_time_ms": 3200.0}, chosen="T2", confidence=0.97).type == "T2"
    philips = {"manufacturer": "Philips", "image_type": ("ORIGINAL", "PRIMARY", "M", "SE"), "echo_time_ms": 70.0}
    assert (
        ruled(philips | {"repetition_time_ms": 2700.0, "flip_angle_deg": 90.0}, chosen="T2", confidence=0.97).type
        == REVIEW
    )
    prepared = {"repetition_time_ms": 2300.0, "echo_time_ms": 3.0, "flip_angle_deg": 9.0}
    found = ruled(prepared)
    assert found.type == "T1" and "gradient echo by its angle" in found.reasons[-1]


# Published protocols: Philips prepared and spoiled 3D T1 (Cohen-Adad 2021, Sci Data 8:219); its survey; time of flight.
TIMINGS = {
    "prepared": ((7.8, 3.6, 9.0), "T1"),
    "spoiled": ((15.0, 2.0, 15.0), "T1"),
    "survey": ((11.0, 4.6, 15.0), REVIEW),
    "time of flight": ((22.0, 3.6, 18.0), REVIEW),
    "balanced": ((5.0, 2.3, 60.0), REVIEW),
}


@pytest.mark.parametrize("name", TIMINGS)
def test_a_gradient_echo_is_t1_by_its_timing_only_where_nothing_else_is_read_so(name):
    (repetition, echo, angle), expected = TIMINGS[name]
    said = {"repetition_time_ms": repetition, "echo_time_ms": echo, "flip_angle_deg": angle}
    assert ruled(said, chosen="LOC", confidence=0.4).type == expected
    assert ruled(said | {"acquisition_type": "2D"}, chosen="LOC", confidence=0.4).type == REVIEW
    assert ruled(said | {"contrast_agent": "stated"}, chosen="LOC", confidence=0.4).type == REVIEW


def test_without_a_rule_the_limit_decides():
    said = {"scanning_sequence": ("GR",), "acquisition_type": "3D"}
    assert ruled(said, chosen="SWI", confidence=0.89).type == REVIEW
    assert ruled(said, chosen="SWI", confidence=0.91).type == "SWI"


def test_contrast_agent_makes_t1_into_t1c_and_none_stated_asks():
    assert ruled({"contrast_agent": "stated"}, chosen="T1", confidence=0.97).type == "T1c"
    unenhanced = {"contrast_agent": "NONE", "scanning_sequence": ("SE",)}
    assert ruled(unenhanced, chosen="T1", confidence=0.97).type == "T1"
    assert ruled({}, chosen="T1c", confidence=0.97).type == REVIEW


def test_a_label_map_and_ct_without_a_header_are_seen():
    assert ruled({}, chosen="T1", confidence=0.99, pixels={"distinct_values": 2.0}).type == "other"
    nothing = Acquisition()
    facts = facts_of(nothing, read_header(nothing), pixels={"lowest_value": -1024.0, "highest_value": 1800.0})
    assert apply_rules(facts, chosen="T1", confidence=0.99, limit=0.5).type == REVIEW


def test_every_rule_can_be_met_by_what_the_tags_hold():
    known = tags()
    numbers = {*known.numbers, "distinct_values", "lowest_value", "highest_value", "kind_derived"}
    texts = {source for source, _ in known.words.values()}
    for rule in rules():
        assert rule.type in SEQUENCES and rule.strength in STRENGTHS
        assert set(rule.match) | set(rule.not_match) <= texts, rule.name
        assert set(rule.between) <= numbers, rule.name
        assert set(rule.missing) <= numbers | texts, rule.name
        assert all(low < high for low, high in rule.between.values()), rule.name
    assert len({rule.name for rule in rules()}) == len(rules())


@pytest.mark.parametrize(
    "text",
    [
        "rules: [{name: a, type: T9, strength: soft, says: x}]",
        "rules: [{name: a, type: T1, strength: soft, says: x, odd: 1}]",
        "rules: [{name: a, type: T1, strength: soft, says: x, match: {body_part: '('}}]",
        "nothing: here",
        "rules: 3",
    ],
)
def test_faulty_rules_are_one_clear_line(tmp_path, text):
    (tmp_path / "rules.yaml").write_text(text)
    with pytest.raises(InputError) as found:
        rules(str(tmp_path / "rules.yaml"))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("said", "kind", "detail"),
    [
        ({"modality": "CT", "convolution_kernel": "B70f"}, "CT", "sharp kernel, no contrast agent stated"),
        (
            {"modality": "CT", "convolution_kernel": "STANDARD", "contrast_agent": "stated"},
            "CT",
            "soft kernel, contrast agent stated",
        ),
        ({"modality": "DX", "view_position": "PA"}, "radiograph", "PA"),
        ({"modality": "CR", "view_position": "LL", "laterality": "L"}, "radiograph", "lateral, left"),
        ({"modality": "MG", "view_position": "CC", "laterality": "R"}, "mammogram", "CC, right"),
        ({"modality": "US"}, "ultrasound", ""),
    ],
)
def test_other_machines_by_their_header(said, kind, detail):
    found = other_modality(Acquisition(**said))
    assert (found.type, found.detail) == (kind, detail)


def test_a_radiograph_without_a_view_is_for_a_person():
    assert other_modality(Acquisition(modality="DX")).type == REVIEW
    assert other_modality(Acquisition(modality="MR")) is None


def test_timing_without_the_kind_of_sequence_asks():
    said = {"repetition_time_ms": 5000.0, "echo_time_ms": 395.0, "flip_angle_deg": 120.0}
    assert ruled(said, chosen="T2", confidence=0.97).type == REVIEW
    assert ruled(said | {"scanning_sequence": ("SE",)}, chosen="T2", confidence=0.97).type == "T2"
