"""Reports: every span is where it says, every finding as it was given, errors only at their rate."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.simulate.words import PHRASES, STYLES, Statement, draft_report, write_report

GIVEN = (
    Statement("tumour", side="left", size_mm=23, prior_size_mm=19),
    Statement("infarct", "absent"),
    Statement("pleural-effusion", "uncertain", side="right"),
)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("seed", range(8))
def test_spans_hold_a_name_of_their_finding(style, seed):
    report = write_report(GIVEN, rng=np.random.default_rng(seed), style=style)
    for span in report.spans:
        assert report.text[span.start : span.end].lower() in PHRASES[span.finding]
    states = {item.finding: item.state for item in report.statements}
    assert states["tumour"] == "present" and states["pleural-effusion"] == "uncertain"
    assert ("infarct" in states) == style.names_absent
    assert "23 mm" in report.text and "19 mm" in report.text and "left" in report.text
    assert "  " not in report.text


def test_absent_findings_are_denied_in_their_own_sentence():
    report = write_report([Statement("fracture", "absent")], rng=np.random.default_rng(0))
    sentence = report.text.split("FINDINGS: ")[1].split(".")[0].lower()
    assert "no " in sentence or "not" in sentence


def test_contradictions_come_at_their_rate_and_are_named():
    generator = np.random.default_rng(1)
    reports = [write_report(GIVEN, rng=generator, contradiction_rate=0.25) for _ in range(800)]
    wrong = [report for report in reports if report.errors]
    assert len(wrong) / 800 == pytest.approx(0.25, abs=0.05)
    for report in wrong:
        assert report.errors == ("side-swapped:tumour",)
        assert "right" in report.text.split("IMPRESSION:")[1]


def test_drafts_omit_and_invent_at_their_rates():
    generator = np.random.default_rng(2)
    present = [Statement(name) for name in list(PHRASES)[:6]]
    drafts = [draft_report(present, rng=generator, omission_rate=0.6, invention_rate=0.05) for _ in range(500)]
    omitted = sum(len(draft.omitted) for draft in drafts) / (500 * 6)
    invented = sum(len(draft.invented) for draft in drafts) / (500 * (len(PHRASES) - 6))
    assert omitted == pytest.approx(0.6, abs=0.03) and invented == pytest.approx(0.05, abs=0.015)
    for draft in drafts[:50]:
        stated = {item.finding for item in draft.report.statements}
        assert not stated & set(draft.omitted) and set(draft.invented) <= stated


def test_unknown_findings_are_refused():
    with pytest.raises(InputError):
        Statement("gremlin")
