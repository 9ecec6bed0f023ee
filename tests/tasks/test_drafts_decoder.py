"""A decoder of drafts: it learns sentences, looks at nothing that comes later, and says only what findings bear out."""

import numpy as np
import pytest
import torch

from radfoundry.nets import report_decoder
from radfoundry.records import InputError
from radfoundry.tasks import drafts, drafts_decoder, per_case

SEEN = "Effusion on the left. No pneumothorax."
CLEAR = "No effusion. Heart size is normal."


@pytest.fixture(scope="module")
def writer():
    features = np.repeat(np.eye(2), 4, axis=0) + np.random.default_rng(0).normal(0, 0.05, (8, 2))
    return drafts_decoder.fit(features, [SEEN] * 4 + [CLEAR] * 4, drafts_decoder.Options(steps=40))


def test_two_kinds_of_image_learned_by_heart_give_their_two_reports(writer, tmp_path):
    assert writer.write(np.eye(2)) == [SEEN, CLEAR]
    drafts_decoder.save(writer, tmp_path)
    again = drafts_decoder.load(tmp_path)
    asked = np.random.default_rng(1).normal(size=(3, 2))
    assert again.write(asked) == writer.write(asked)
    (tmp_path / drafts_decoder.DECODER).write_bytes(b"{}")
    with pytest.raises(InputError, match="not a decoder"):
        drafts_decoder.load(tmp_path)


def test_a_word_depends_on_no_later_word():
    made = report_decoder.small(vocabulary=300, features=4)
    image, words = torch.randn(1, 4), torch.randint(3, 300, (1, 6))
    other = words.clone()
    other[0, 4:] = 7
    with torch.no_grad():
        torch.testing.assert_close(made(image, words)[:, :4], made(image, other)[:, :4])
        assert not torch.allclose(made(image, words)[:, :4], made(image + 1, words)[:, :4])


def test_a_full_beam_finds_the_likeliest_report_of_all():
    """Oracle: every report of one or two tokens over three tokens, scored one by one."""
    made = report_decoder.small(vocabulary=4, features=2, length=3, seed=3)
    image = torch.randn(1, 2, generator=torch.Generator().manual_seed(1))

    def score(row):
        words = torch.tensor([[1, *row]])
        with torch.no_grad():
            gains = made(image, words[:, :-1])[0]
        gains[:, 1] = -torch.inf
        return float(gains.log_softmax(dim=1)[range(len(row)), list(row)].sum())

    possible = [(0,), *[(first, last) for first in (2, 3) for last in (0, 2, 3)]]
    best = max(possible, key=score)
    (found,) = report_decoder.write(made, image, beam=8)
    assert found == [token for token in best if token]


def test_a_beam_below_one_is_refused(writer):
    with pytest.raises(InputError, match="a beam of 0"):
        report_decoder.write(writer.net, torch.zeros(1, 2), beam=0)


def test_names_and_histories_teach_nothing():
    text = "HISTORY: Mr Smith, seen 3 March. FINDINGS: Reported with Dr Jones. No effusion. IMPRESSION: No effusion."
    assert drafts_decoder.teachable(text, region="chest") == "No effusion."


def test_every_sentence_stands_on_a_finding_that_is_sure_enough():
    columns = ["pleural-effusion", "pleural-effusion|left", "cardiomegaly", "pneumothorax"]
    text = "Effusion on the left. Possible cardiomegaly. No pneumothorax. Lobar collapse. Effusion on the left."
    made = drafts_decoder.traced(text, columns, np.array([0.9, 0.8, 0.9, 0.05]), floor=0.7, region="chest")
    assert [(item.finding, item.state, item.side) for item in made.sentences] == [
        ("pleural-effusion", "present", "left"),
        ("pneumothorax", "absent", ""),
    ]
    assert made.sentences[0].confidence == pytest.approx(0.8 / 0.9, abs=1e-4)
    assert made.struck == ("Possible cardiomegaly.", "Lobar collapse.")
    assert all(item.text in made.text for item in made.sentences)
    unsure = drafts_decoder.traced(text, columns, np.array([0.9, 0.8, 0.9, 0.5]), floor=0.7, region="chest")
    assert unsure.text == "" and unsure.refused.startswith("pneumothorax is too uncertain")
    against = drafts_decoder.traced(text, columns, np.array([0.1, 0.1, 0.1, 0.9]), floor=0.7, region="chest")
    assert not against.sentences


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "decodr"}, "did you mean 'decoder'"),
        ({"by": "decoder", "decoder": {"stps": 3}}, "unknown option 'stps'"),
        ({"by": "decoder", "decoder": {"beam": 0}}, "no whole number above 0"),
        ({"by": "decoder", "decoder": 3}, "is no table of names"),
        ({"decoder": {"beam": 2}}, "no effect on a template"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=said):
        drafts.build(**options)


def test_reports_without_a_finding_teach_nobody():
    with pytest.raises(InputError, match="0 reports with a finding"):
        drafts_decoder.fit(np.zeros((2, 3)), ["", ""])


def test_two_runs_are_paired_by_exam(tmp_path):
    one = [per_case.Row("f1", f"c{n}", f"p{n}", 2.0 * (n % 2), 2.0) for n in range(20)]
    other = [per_case.Row("f1", f"c{n}", f"p{n}", 0.0, 2.0) for n in range(10, 30)]
    per_case.write(one, tmp_path)
    assert per_case.read(tmp_path) == one
    gap = per_case.paired(one, other)["f1"]  # the ten exams that both know
    assert gap.value == 0.5 and gap.low < 0.5 < gap.high and gap.n == 10
    errors = [per_case.Row("mae", f"c{n}", f"p{n}", n / 10, 1.0, -1) for n in range(20)]
    worse = [per_case.Row("mae", f"c{n}", f"p{n}", n / 10 + 1, 1.0, -1) for n in range(20)]
    assert per_case.paired(errors, worse)["mae"].value == pytest.approx(1)  # less error is better
    with pytest.raises(InputError, match="share no exam"):
        per_case.paired(one, errors)
    with pytest.raises(InputError, match="no numbers of single exams"):
        per_case.read(tmp_path / "none")
