"""Recall at k: chance for features that say nothing, 1 for perfect ones, the same whatever the order of the rows."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats import retrieval

RNG = np.random.default_rng(0)


def slow_hits(table, nearest):
    """By sorting each row: the oracle without ties."""
    return [float(row in np.argsort(-values)[:nearest]) for row, values in enumerate(table)]


def test_without_ties_it_is_what_sorting_gives():
    table = RNG.normal(size=(30, 30))
    for nearest in (1, 5, 10):
        assert retrieval.hits(table, nearest=nearest).tolist() == slow_hits(table, nearest)
    assert retrieval.ranks(table).tolist() == [
        1 + np.argsort(-values).tolist().index(row) for row, values in enumerate(table)
    ]


def test_features_that_say_nothing_are_at_chance_and_perfect_ones_at_1():
    assert np.allclose(retrieval.hits(np.ones((20, 20)), nearest=5), 5 / 20)
    assert np.allclose(retrieval.ranks(np.ones((20, 20))), 10.5)
    assert retrieval.hits(np.eye(20), nearest=1).all() and (retrieval.ranks(np.eye(20)) == 1).all()


def test_the_order_of_studies_does_not_matter():
    table, order = RNG.normal(size=(25, 25)).round(1), RNG.permutation(25)
    assert np.allclose(retrieval.hits(table, nearest=3)[order], retrieval.hits(table[order][:, order], nearest=3))


def test_studies_of_one_patient_count_as_fewer():
    hit = np.repeat([1.0, 0.0, 1.0, 0.0, 1.0], 8)
    alone = retrieval.recall(hit, np.arange(40))
    together = retrieval.recall(hit, np.repeat(np.arange(5), 8))
    assert alone.value == together.value and together.high - together.low > alone.high - alone.low
    assert retrieval.over_chance(alone, nearest=10).value == pytest.approx(alone.value * 4)


def test_no_interval_is_a_point_and_bad_tables_are_refused():
    assert retrieval.recall(np.zeros(30), np.arange(30)).high > 0.05
    assert not retrieval.recall([], []).defined
    for bad in (np.ones((2, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(InputError):
            retrieval.hits(bad, nearest=1)
