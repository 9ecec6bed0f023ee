"""Sites told apart and sites left out: what the design forbids, and the two cases a harmoniser has to tell apart."""

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.tasks import sites
from radfoundry.tasks.harmonized import CombatFeatures


def travelling(seed=0, *, patients=40, shift=2.0, cue=1.5, width=6):
    """Everybody at three sites; a site shifts one feature, the disease another; also which direction is which."""
    rng = np.random.default_rng(seed)
    patient = np.repeat([f"p{n}" for n in range(patients)], 3)
    site = np.tile(["a", "b", "c"], patients)
    answer = np.repeat(rng.permutation(np.arange(patients) % 2), 3)
    own = np.repeat(rng.normal(size=(patients, width)), 3, axis=0)
    features = own + rng.normal(0, 0.3, (3 * patients, width))
    features[:, 0] += shift * np.tile([-1, 0, 1], patients)
    features[:, 1] += cue * answer
    return features, sites.Rows(site, patient, answer)


def test_no_turn_teaches_with_a_patient_or_a_site_that_it_tests():
    _, rows = travelling()
    turns = sites.site_turns(rows, folds=2, seed=3)
    assert sum(part.tested.astype(int) for part in turns).tolist() == [1] * len(rows.site)
    for part in turns:
        assert len(set(rows.site[part.tested])) == 1
        assert not set(rows.site[part.tested]) & set(rows.site[part.teaching])
        assert not set(rows.patient[part.tested]) & set(rows.patient[part.teaching | part.looked_at])
        assert set(rows.site[part.looked_at]) == set(rows.site[part.tested])
    for part in sites.patient_turns(rows, folds=2, seed=3):
        assert not set(rows.patient[part.tested]) & set(rows.patient[part.teaching])


def test_patients_of_one_site_each_all_teach_but_those_of_the_site_left_out():
    rows = sites.Rows(np.repeat(["a", "b"], 10), np.arange(20).astype(str))
    for part in sites.site_turns(rows, folds=2, seed=0):
        assert (part.teaching == (rows.site != rows.site[part.tested][0])).all()


def test_a_shift_tells_sites_apart_and_taking_it_out_leaves_chance():
    features, rows = travelling()
    before = sites.site_predictions(rows, lambda part: features)
    centred = features.copy()
    for name in "abc":
        centred[rows.site == name] -= features[rows.site == name].mean(axis=0)
    after = sites.site_predictions(rows, lambda part: centred)
    seen, freed = sites.site_accuracy(before), sites.site_accuracy(after)
    assert seen.low > 1 / 3 and freed.low < 1 / 3 + 0.05 and "chance is 0.33" in freed.note
    assert sites.site_accuracy_difference(after, before).high < 0


def test_combat_learns_a_left_out_site_from_its_other_patients_without_their_answers():
    """The disease lies in the very feature that the sites shift: pooled over sites it cannot be read before."""
    features, rows = travelling(shift=6.0, cue=0.0)
    features[:, 0] += 1.5 * rows.answer
    combat = CombatFeatures(_Fixed(features), rows.site, np.zeros((len(rows.site), 0)))
    before = sites.left_out_predictions(rows, lambda part: features)
    after = sites.left_out_predictions(rows, combat)
    change = sites.left_out_differences(after, before)
    assert change["auroc"].low > 0.05
    assert sites.left_out_measures(after)["auroc"].value > 0.7


class _Fixed:
    """Features that no harmoniser touches."""

    def __init__(self, table):
        self.table = table

    def __call__(self, part):
        return self.table


def test_the_order_of_rows_does_not_matter():
    features, rows = travelling(patients=20)
    order = np.random.default_rng(1).permutation(len(features))
    turned = sites.Rows(rows.site[order], rows.patient[order], rows.answer[order])
    first = sites.left_out_predictions(rows, lambda part: features)
    second = sites.left_out_predictions(turned, lambda part: features[order])
    assert np.allclose(first.score[order], second.score, atol=1e-4)


def test_refusals():
    with pytest.raises(InputError, match="1 site: nothing to compare"):
        sites.Rows(np.array(["a", "a"]), np.array(["1", "2"]))
    with pytest.raises(InputError, match="3 patients are too few for 2 folds"):
        sites.patient_turns(sites.Rows(np.array(["a", "b", "a"]), np.array(["1", "2", "3"])), folds=2, seed=0)
    with pytest.raises(InputError, match="no question"):
        sites.left_out_predictions(
            sites.Rows(np.array(["a", "b"]), np.array(["1", "2"])), lambda part: np.zeros((2, 1))
        )
