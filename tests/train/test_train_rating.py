"""Teaching a rater: what is there to be learned is learned, and what is known is kept."""

import numpy as np
import pytest
import torch

from radfoundry.nets.rater import Prompt, build
from radfoundry.records import InputError
from radfoundry.train import rating, scored


def lesson(count=32, seed=0, **facts):
    """Series whose first measure alone decides how good they are."""
    rng = np.random.default_rng(seed)
    worse = rng.uniform(-1, 1, count)
    measures = np.zeros((count, 7, 8), dtype=np.float32)
    measures[:, :, 0] = worse[:, None]
    pictures = np.zeros((count, 7, 6, 64, 64), dtype=np.float16)
    prompts = [Prompt("T1w", "head", "reading")] * count
    return rating.Lesson(pictures, measures, prompts, scores=50 - 40 * worse, **facts)


def test_scores_that_a_measure_tells_are_learned():
    taught = rating.teach(None, lesson(), purposes=("reading",), steps=30, seed=0)
    asked = lesson(seed=1)
    said = rating.said_of(taught, asked)[0]
    assert np.corrcoef(said, asked.scores)[0, 1] > 0.8


def test_the_same_seed_teaches_the_same():
    first, second = (rating.teach(None, lesson(8), purposes=("reading",), steps=3, seed=4) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_is_known_is_kept_and_judgement_is_new():
    known, fresh = build(seed=1), build(purposes=("reading",), seed=2)
    judged = fresh.score.weight.clone()
    told = rating.retold(known, fresh)
    torch.testing.assert_close(told.stages[0].down.weight, known.stages[0].down.weight)
    torch.testing.assert_close(told.score.weight, judged)
    with pytest.raises(InputError, match="width"):
        rating.retold(build(width=8), build(width=16))


def test_of_a_pair_the_worse_one_is_pushed_below():
    rng = np.random.default_rng(0)
    pairs = lesson(16)
    given = rating.Lesson(pairs.pictures, pairs.measures, pairs.prompts, scores=pairs.scores, paired=True)
    rows = rating._rows(16, 8, True, rng)
    assert (rows[1::2] == rows[::2] + 1).all() and (rows[::2] % 2 == 0).all()
    history = rating.learn(build(purposes=("reading",)), given, rating.Course(steps=11, batch=8))
    assert {"score", "order"} <= set(history[0])


def test_prompts_can_be_dealt_out_or_left_out():
    given = lesson(8)
    given = rating.Lesson(given.pictures, given.measures, [Prompt(purpose=str(i)) for i in range(8)])
    rng = np.random.default_rng(0)
    dealt = scored.prompted(given, scored.SHUFFLED, rng=rng).prompts
    assert dealt != given.prompts and sorted(p.purpose for p in dealt) == [str(i) for i in range(8)]
    assert scored.prompted(given, scored.MUTE, rng=rng).prompts == [Prompt()] * 8
    assert scored.prompted(given, "physics", rng=rng) is given


def test_dealt_scores_tell_neither_the_scan_nor_the_purpose():
    names = np.array(["reading", "planning"] * 100)
    worse = np.repeat(np.arange(100), 2)
    empty = np.zeros((200, 1, 1), np.float32)
    given = rating.Lesson(empty, empty, [Prompt()] * 200, scores=worse * 0.5 + 40.0 * (names == "reading"))
    series = np.char.add("s", worse.astype(str))
    whole = scored.Scored(given, series, series, names)
    dealt = [scored.permuted(whole, seed=seed).lesson.scores for seed in range(20)]
    assert all(sorted(one) == sorted(given.scores) for one in dealt)
    assert abs(np.mean([np.corrcoef(one, worse)[0, 1] for one in dealt])) < 0.06
    assert abs(np.mean([np.corrcoef(one, names == "reading")[0, 1] for one in dealt])) < 0.06
