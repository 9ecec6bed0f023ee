"""Blocks of result pages: what a map of features is coloured by."""

import numpy as np

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Acquisition, Series
from radfoundry.tasks import pages

SERIES = tuple(Series(f"s{n}", f"p{n}", f"c{n}", Acquisition(), (1, 4, 4, 4), (1, 1, 1)) for n in range(9))
TABLE = Embeddings(SERIES, np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32), "toy", "mark", "plan")


def colours(truth, **options):
    return pages.feature_map(TABLE, truth, title="x", **options)["colours"]


def test_a_quantity_stays_a_number_and_classes_get_their_names():
    amounts = {f"c{n}": 20.5 + n for n in range(8)}
    assert colours(amounts) == {"label": [*amounts.values(), None]}
    kinds = {f"c{n}": n % 2 for n in range(9)}
    assert colours(kinds, classes=("benign", "malignant"))["label"][:2] == ["benign", "malignant"]


def test_what_is_the_same_for_all_is_not_drawn():
    assert list(colours({})) == ["sequence"] and list(colours({f"c{n}": 1 for n in range(9)})) == ["label"]
