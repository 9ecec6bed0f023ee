"""The rater: weights of slices, words of a prompt, and files that are what they say."""

import numpy as np
import pytest
import torch

from radfoundry.data.slice_pictures import Seen
from radfoundry.nets import rater
from radfoundry.nets.rater import Prompt
from radfoundry.records import InputError


def seen(seed=0, series=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(series, 7, 6, 64, 64, generator=generator), torch.randn(series, 7, 8, generator=generator)


def test_salience_is_a_share_and_uniform_slices_count_alike():
    for salient in (True, False):
        net = rater.build(purposes=("reading",), salient=salient)
        torch.nn.init.normal_(net.weight.weight)
        out = net(*seen(), net.words([Prompt("T1w", "head", "reading")] * 3))
        torch.testing.assert_close(out.salience.sum(dim=1), torch.ones(3))
        assert (float(out.salience.detach().std()) > 1e-3) == salient
        scores = out.score.detach()
        assert float(scores.min()) > 0 and float(scores.max()) < 100 and out.physics.shape == (3, 9)


def test_the_prompt_is_heard_and_unknown_words_are_as_none():
    net = rater.build(purposes=("reading", "measuring"))
    words = net.words(
        [Prompt("T1w", "head", "reading"), Prompt("T1w", "head", "measuring"), Prompt("nonsense", "?", "-")]
    )
    assert words.tolist() == [[1, 1, 1], [1, 1, 2], [0, 0, 0]]
    one, facts = (part[:1].expand(3, *part.shape[1:]) for part in seen())
    scores = net(one, facts, words).score
    assert len({round(float(value), 4) for value in scores}) == 3
    torch.testing.assert_close(net(one, facts, words).physics[0], net(one, facts, words).physics[1])


def test_a_file_gives_the_rater_back_with_its_doubt(tmp_path):
    trained = rater.TrainedRater(rater.build(purposes=("reading",), seed=3), {"reading": 12.5}, "a test")
    rater.save(trained, tmp_path / "rater.safetensors")
    back = rater.load(tmp_path / "rater.safetensors")
    assert back.half_widths == {"reading": 12.5} and back.about == "a test" and back.net.purposes == ("reading",)
    pictures, facts = (part[0].numpy() for part in seen())
    prompt = Prompt("FLAIR", "head", "reading")
    first, second = (one.rate(Seen(pictures, facts), prompt) for one in (trained, back))
    assert first[0] == pytest.approx(second[0], abs=0.2)
    np.testing.assert_allclose(first[1], second[1], atol=1e-2)


def test_other_and_damaged_files_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "rater.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="no rater"):
        rater.load(path)
    rater.save(rater.TrainedRater(rater.build(purposes=("reading",)), {}, ""), path)
    about, weights = rater.weight_files.read(path)
    changed = load_file(path)
    changed["score.bias"] += 1.0
    save_file(changed, path, metadata=about)
    with pytest.raises(InputError, match="probe"):
        rater.load(path)
    save_file({name: value for name, value in weights.items() if name != "score.bias"}, path, metadata=about)
    with pytest.raises(InputError, match="do not fit"):
        rater.load(path)
    save_file(weights, path, metadata={**about, "options": "[]"})
    with pytest.raises(InputError, match="damaged"):
        rater.load(path)


def test_body_parts_of_headers_become_regions():
    assert [rater.region_word(text) for text in ("HEAD", "CSPINE", "KNEE", "", None)] == [
        "head",
        "spine",
        "knee",
        None,
        None,
    ]
