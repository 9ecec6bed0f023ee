"""The text encoder: padding says nothing, order matters, bad tokens are refused."""

import pytest
import torch

from radfoundry.nets import text
from radfoundry.records import InputError

ENCODER = text.small(vocabulary=20, width=32, depth=1, length=8)
WORDS = torch.tensor([[1, 5, 9, 4]])


@torch.no_grad()
def test_empty_places_change_nothing():
    padded = torch.tensor([[1, 5, 9, 4, 0, 0]])
    assert torch.allclose(ENCODER.encode(WORDS).pooled, ENCODER.encode(padded).pooled, atol=1e-6)
    assert torch.equal(ENCODER.encode(padded).tokens[0, 4:], torch.zeros(2, 32))


@torch.no_grad()
def test_word_order_matters_and_an_empty_report_is_nothing():
    turned = WORDS[:, [0, 2, 1, 3]]
    assert not torch.allclose(ENCODER.encode(WORDS).pooled, ENCODER.encode(turned).pooled, atol=1e-4)
    assert torch.equal(ENCODER.encode(torch.zeros(1, 3, dtype=torch.long)).pooled, torch.zeros(1, 32))


def test_long_reports_are_refused_and_the_seed_decides():
    with pytest.raises(InputError, match="token numbers"):
        ENCODER.encode(torch.ones(1, 9, dtype=torch.long))
    again = text.small(vocabulary=20, width=32, depth=1, length=8)
    assert torch.equal(again.words.weight, ENCODER.words.weight)
