"""The text side on disk: what comes back says the same, and what was changed is refused."""

import json

import pytest
import torch

from radfoundry.nets import aligned, checkpoint, vit, weight_files
from radfoundry.records import InputError
from radfoundry.text import tokens

TOKENISER = tokens.train(["There is a mass.", "No mass is seen.", "A mass in the left frontal lobe."], size=270)
SIZES = aligned.Sizes(
    pooled=96, token=32, vocabulary=TOKENISER.size, text_width=16, depth=1, length=24, width=8, local=6
)


def encoder():
    return vit.tiny()


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    small = encoder()
    features = small.encode(torch.zeros(1, 1, 16, 16, 16))
    sizes = aligned.Sizes(**{**vars(SIZES), "pooled": features.pooled.shape[1], "token": features.tokens.shape[2]})
    checkpoint.save(small, tmp_path / "encoder.safetensors", builder="vit3d-tiny")
    side = aligned.TextSide(sizes)
    aligned.save(side, TOKENISER, tmp_path / aligned.FILE)
    return tmp_path, side


def test_it_says_the_same_after_loading(saved):
    folder, side = saved
    model = aligned.open_aligned(folder / "encoder.safetensors")
    texts = ["There is a mass.", "No mass is seen. " * 20, "naïve words it never saw"]
    words = torch.tensor([TOKENISER.padded(text, 24) for text in texts])
    assert torch.allclose(model.said(texts), side(words), atol=1e-5)
    assert torch.allclose(model.said(texts).norm(dim=1), torch.ones(3), atol=1e-5)
    images = torch.randn(2, 1, 16, 16, 16)
    assert torch.allclose(model.seen(images), model.carried(model.encoder.encode(images).pooled))
    assert model.places(images, ["mass"]).shape == (2, 1, 2, 2, 2)
    model.encoder.requires_grad_(True)
    assert model.relevance(images, "There is a mass.").shape == (2, 2, 2, 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sizes": {"width": 9}}, "do not fit"),
        ({"sizes": {"text_width": 10**9}}, "no text side"),
        ({"sizes": {"length": -1}}, "no text side"),
        ({"merges": [[5000, 5001]]}, "no text side"),
        ({"merges": []}, "vocabulary differ"),
        ({"format": "9"}, "no text side"),
    ],
)
def test_a_changed_description_is_refused(saved, changes, said):
    folder, _ = saved
    about, weights = weight_files.read(folder / aligned.FILE)
    for name, value in changes.items():
        if name == "sizes":
            value = {**json.loads(about["sizes"]), **value}
        about[name] = value if isinstance(value, str) else json.dumps(value)
    weight_files.write(weights, folder / aligned.FILE, about=about)
    with pytest.raises(InputError, match=said):
        aligned.open_aligned(folder / "encoder.safetensors")


def test_changed_weights_another_encoder_and_a_missing_file_are_refused(saved):
    folder, _ = saved
    about, weights = weight_files.read(folder / aligned.FILE)
    weights["report.1.weight"] = weights["report.1.weight"] * 1.5
    weight_files.write(weights, folder / aligned.FILE, about=about)
    with pytest.raises(InputError, match="golden probe"):
        aligned.load(folder / aligned.FILE)
    aligned.save(aligned.TextSide(SIZES), TOKENISER, folder / aligned.FILE)
    with pytest.raises(InputError, match="not of one run"):
        aligned.open_aligned(folder / "encoder.safetensors")
    (folder / aligned.FILE).unlink()
    with pytest.raises(InputError, match=r"text\.safetensors"):
        aligned.open_aligned(folder / "encoder.safetensors")
    with pytest.raises(InputError, match="no text side"):
        aligned.open_aligned("intensity")
