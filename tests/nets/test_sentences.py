"""A sentence encoder taught elsewhere: read from a folder, the same vectors as its own library, never taught here."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from radfoundry import config as settings
from radfoundry.nets import aligned, sentences
from radfoundry.records import InputError
from radfoundry.stages import pretrain
from radfoundry.text.tokens import PAD

WORDS = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["no", "mass", "##es", "a", "in", "the", "left", "right", "lobe", "tumour", "infarct", ".", ","]
TEXTS = ["No mass.", "A mass in the left lobe.", "masses, masses, masses"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A BERT of two small layers in the files that its library writes."""
    # Imported here, not above: a second, which only the process that runs these tests should pay.
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=80,
    )
    torch.manual_seed(0)
    net = transformers.BertModel(config).eval()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, folder / "model.safetensors")
    pieces = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    pieces.normalizer = tokenizers.normalizers.Lowercase()
    pieces.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    pieces.save(str(folder / "tokenizer.json"))
    return folder, net, pieces


def test_vectors_are_those_of_its_own_library(place):
    folder, net, pieces = place
    found = sentences.embedded(TEXTS, encoder=str(folder)).numpy()
    for text, vector in zip(TEXTS, found, strict=True):
        numbers = torch.tensor([[4, *pieces.encode(text, add_special_tokens=False).ids, 5]])
        with torch.no_grad():
            wanted = net(input_ids=numbers).last_hidden_state[0].mean(dim=0).numpy()
        assert np.allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_company_and_empty_places_change_nothing(place):
    net, pieces = sentences.Sentences(str(place[0])), sentences.WordPieces(str(place[0]))
    rows = torch.tensor([pieces.padded(text, 24) for text in TEXTS])
    together = net.encode(rows)
    for number, row in enumerate(rows):
        alone = net.encode(row[None, : int((row != PAD).sum())])
        assert torch.allclose(alone.pooled[0], together.pooled[number], atol=1e-5)
    assert together.tokens.shape == (3, 24, 16)


def test_pieces_know_where_they_stand(place):
    pieces = sentences.WordPieces(str(place[0]))
    found = pieces.encode("A mass in the left lobe.")
    first, last = found.covering(2, 6)
    assert pieces.decode(found.numbers[first:last]) == "mass"


def test_it_is_neither_taught_nor_saved_and_comes_back(place, tmp_path):
    folder = str(place[0])
    reader = sentences.Sentences(folder)
    assert not list(reader.parameters()) and not reader.state_dict()
    sizes = aligned.Sizes(12, 0, reader.vocabulary, reader.width, reader.depth, 24, 8)
    side = aligned.TextSide(sizes, folder)
    aligned.save(side, sentences.WordPieces(folder), tmp_path / aligned.FILE)
    back, pieces = aligned.load(tmp_path / aligned.FILE)
    words = torch.tensor([pieces.padded(text, 24) for text in TEXTS])
    assert torch.allclose(back(words), side(words))


@pytest.mark.slow
def test_pretraining_reads_with_it(place, tmp_path):
    values = {
        "encoder": "conv3d-tiny",
        "objectives": [{"name": "align"}],
        "reports": True,
        "text": {"encoder": str(place[0]), "length": 64},
        "crops": {"size": 16, "spacing_mm": [6.0, 6.0]},
        "batch": 4,
        "steps": 2,
        "check_steps": 0,
        "to": str(tmp_path / "run"),
    }
    pretrain.run(settings.check(pretrain.Config, values))
    model = aligned.open_aligned(tmp_path / "run" / "encoder.safetensors")
    assert model.said(["No mass.", "A mass."]).shape[0] == 2


def broken(folder, tmp_path, **changed):
    made = tmp_path / "broken"
    made.mkdir()
    for file in sentences.NEEDED:
        (made / file).write_bytes((folder / file).read_bytes())
    described = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(described | changed))
    return str(made)


def test_what_does_not_fit_is_refused(place, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"no config\.json"):
        sentences.Sentences(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="hidden_size"):
        sentences.Sentences(broken(place[0], tmp_path, hidden_size=10**9))
    (tmp_path / "broken" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    sentences._net.cache_clear()
    with pytest.raises(InputError, match="no BERT"):
        sentences.Sentences(str(tmp_path / "broken"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"radfoundry\[text\]"):
        sentences.folder(sentences.BUNDLED)


def test_the_bundled_one_tells_meanings_apart():
    if importlib.util.find_spec(sentences.PACKAGE) is None:
        pytest.skip("needs the extra text")
    near = sentences.embedded(
        ["No acute intracranial hemorrhage", "There is no bleeding in the brain", "brain metastases"]
    )
    # AutoTokenizer, AutoModel and the mean over pieces of transformers 5.23 on the same files.
    assert float(near[0] @ near[1]) == pytest.approx(0.6776, abs=2e-4)
    assert float(near[0] @ near[2]) == pytest.approx(0.3314, abs=2e-4)
