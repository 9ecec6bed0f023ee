"""Nested evaluation: fits agree with scikit-learn, nothing leaks out of a fold, and an interrupted call goes on."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from radfoundry.records import InputError, Predictions
from radfoundry.stats import auc, concordance_index
from radfoundry.tasks import logistic_path, nested, nested_board, nested_figures, nested_gap, nested_select
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.nested_pipeline import Data, Pipeline, grid, learn

QUICK = nested.Design(folds=3, inner_folds=2)


def rows_of(features, answer, *, kind="binary", encoder="one", task="asked", site=None):
    ids = np.array([f"p{number:03d}" for number in range(len(answer))])
    site = ids if site is None else site
    rows = Examples(features, answer, ids, ids, site, np.arange(len(ids)), ids)
    return nested.Rows(encoder, task, kind, 3, rows, nested.mark_of(rows), {})


def signal(seed=0, n=48, width=12):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, width))
    return features, (features[:, 0] + 0.5 * rng.normal(size=n) > 0).astype(int)


@pytest.mark.parametrize(("rows", "width"), [(40, 90), (40, 4)])
@pytest.mark.parametrize("balanced", [False, True])
def test_paths_agree_with_scikit_learn(rows, width, balanced):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(rows, width)) * rng.uniform(0.2, 4, width)
    three = np.digitize(features[:, 0] + rng.normal(size=rows), [-1, 2])
    weight = "balanced" if balanced else None
    strengths = (10.0, 0.01)
    for strength, (weights, offset) in zip(
        strengths, logistic_path.logistic_path(features, (three > 0) * 1, strengths, balanced=balanced), strict=True
    ):
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=9999, class_weight=weight).fit(features, three > 0)
        assert np.allclose(model.coef_[0], weights, atol=1e-4) and abs(model.intercept_[0] - offset) < 1e-3
    if width < rows:
        found = logistic_path.softmax_path(features, three, strengths, classes=3, balanced=balanced)
        for strength, (weights, offsets) in zip(strengths, found, strict=True):
            model = LogisticRegression(C=strength, tol=1e-10, max_iter=9999, class_weight=weight).fit(features, three)
            assert np.allclose(model.coef_, weights, atol=1e-3) and np.allclose(model.intercept_, offsets, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in nested_select.SELECTIONS if name not in ("none", "pca")])
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_every_selection_finds_the_feature_that_answers(name, kind):
    features, answer = signal(n=120)
    target = answer if kind == "binary" else features[:, 0] * 2
    kept = nested_select.select(name, features, target, kind=kind, keep=3)(np.arange(12.0)[None])
    assert kept.shape == (1, 3) and 0.0 in kept


def test_selection_on_noise_stays_at_chance_because_folds_are_kept_apart():
    rng = np.random.default_rng(0)
    answer = np.repeat([0, 1], 30)
    values = []
    for seed in range(6):
        asked = rows_of(np.random.default_rng(seed).normal(size=(60, 400)), answer)
        found = nested.evaluate([asked], [Pipeline(selection="f-test", keep=5)], design=QUICK)
        truth = nested.cases_of(asked.rows)
        values += [
            nested_figures.whole("binary", dataclasses.replace(truth, score=one.score[0])) for one in found.values()
        ]
    # Six draws of 60 cases: the mean has a standard error near 0.04; choosing before folding gives about 0.9.
    assert abs(np.mean(values) - 0.5) < 0.12, rng


def test_an_interrupted_call_goes_on_with_the_same_numbers(tmp_path, monkeypatch):
    features, answer = signal()
    asked, pipelines = rows_of(features, answer), grid({"head": ["linear", "knn"], "scaling": ["zscore", "none"]})
    whole = nested.evaluate([asked], pipelines, design=QUICK, folder=tmp_path / "a")
    nested.evaluate([asked], pipelines[:1], design=QUICK, folder=tmp_path / "b")
    (tmp_path / "b" / ".half.npz.1.partial").write_bytes(b"half")
    again = nested.evaluate([asked], pipelines, design=QUICK, folder=tmp_path / "b")
    assert all(np.array_equal(whole[key].score, again[key].score) for key in whole)
    monkeypatch.setattr(nested, "run_job", lambda job: pytest.fail("computed again"))
    kept = nested.evaluate([asked], pipelines, design=QUICK, folder=tmp_path / "b")
    assert all(np.array_equal(whole[key].inner, kept[key].inner, equal_nan=True) for key in whole)


def test_fewer_patients_lie_inside_more_and_resampling_evens_the_classes():
    features, answer = signal(n=60)
    answer[:50] = 0
    answer[50:] = 1
    ids = np.array([f"p{number:02d}" for number in range(60)])
    data = Data(features, answer, ids, "binary", 2)
    from radfoundry.tasks import nested_pipeline as steps

    parts = [set(steps._share_of(data, share, 3)) for share in (0.3, 0.6, 1.0)]
    assert parts[0] < parts[1] < parts[2] and len(parts[2]) == 60
    for weights, count in (("over", 100), ("under", 20), ("none", 60)):
        rows = steps._resampled(weights, answer, "binary", 0)
        assert len(rows) == count and (weights == "none" or answer[rows].mean() == 0.5)
    said = learn(Pipeline(scaling="none"), data, inner_folds=2, seed=0).predict(features)
    assert said.shape == (60,) and 0 <= said.min() <= said.max() <= 1


def test_figures_agree_with_the_statistics_they_stand_for():
    rng = np.random.default_rng(2)
    truth = np.stack([rng.exponential(size=40).round(1), rng.integers(0, 2, 40)], axis=1)
    risk = rng.normal(size=40).round(1)
    expected = concordance_index.concordance_index(truth[:, 0], truth[:, 1], risk).value
    assert nested_figures.whole("survival", Predictions.of(truth, risk)) == pytest.approx(expected, abs=1e-9)
    yes = rng.integers(0, 2, 40)
    assert nested_figures.whole("binary", Predictions.of(yes, risk)) == pytest.approx(
        auc.auroc(Predictions.of(yes, risk)).value
    )
    quantity = rng.normal(size=40)
    assert nested_figures.whole("regression", Predictions.of(quantity, np.full(40, np.median(quantity)))) == 0


@pytest.fixture(scope="module")
def board():
    features, answer = signal(n=60)
    good, poor = rows_of(features, answer), rows_of(features[:, 1:], answer, encoder="two")
    pipelines = grid({"head": ["linear", "knn"]})
    found = nested.evaluate([good, poor], pipelines, design=QUICK)
    truth = {"asked": ("binary", nested.cases_of(good.rows))}
    return nested_board.board(found, truth, pipelines, draws=200, seed=0), pipelines


def test_the_leaderboard_and_the_effects_name_what_is_better(board):
    table, pipelines = board
    leaders = nested_board.leaderboard(table, [("one", "chosen"), ("two", "chosen")])
    assert [leader.name[0] for leader in leaders] == ["one", "two"] and leaders[0].first > 0.9
    assert leaders[0].rank.low <= leaders[0].rank.value <= leaders[0].rank.high
    gain = table.difference(("one", "base"), ("two", "base"))
    assert gain.low > 0 and gain.p_value is not None
    made = nested_board.effects(table, pipelines)
    assert [(one.encoder, one.factor, one.level, one.against) for one in made] == [
        ("one", "head", "knn", "linear"),
        ("two", "head", "knn", "linear"),
    ]
    assert made[0].gain.value == pytest.approx(
        table.estimate(("one", "head=knn")).value - table.estimate(("one", "base")).value
    )


def test_the_best_of_many_is_never_worse_than_what_was_chosen_inside(board):
    table, _ = board
    assert all(nested_board.optimism(table, name).value >= -1e-6 or name == "two" for name in ("one", "two"))
    overall = table.estimate(("chosen", "chosen")).value
    assert overall > table.estimate(("two", "base")).value


def test_a_site_that_was_never_seen_and_shifts_is_answered_worse():
    features, answer = signal(n=90, seed=3)
    site = np.repeat(["a", "b", "c"], 30)
    shifted = features.copy()
    shifted[site == "c"] *= -1.0
    gap = nested_gap.outside_sites(rows_of(shifted, answer, site=site), Pipeline(), design=QUICK)
    assert np.array_equal(gap.inside.case, gap.outside.case)
    each = nested_gap.by_site(gap)
    assert each["c"]["external-auroc"].value < 0.3 < each["a"]["external-auroc"].value
    outside = site == "c"
    apart = nested_gap.outside_part(rows_of(features, answer, site=site), Pipeline(), outside, design=QUICK)
    numbers = nested_gap.measured(apart)
    assert numbers["gap-auroc"].low < 0 < numbers["gap-auroc"].high
    assert len(apart.outside) == 30 and len(apart.inside) == 60


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"heads": ["linear"]}, "did you mean 'head'"),
        ({"head": ["linaer"]}, "did you mean 'linear'"),
        ({"head": ["knn", "knn"]}, "named twice"),
        ({"keep": ["few"]}, "not a number"),
        ({"share": [1.0, 2.0]}, "share 2.0"),
        ({"scaling": []}, "named twice, or none"),
    ],
)
def test_wrong_choices_are_refused(choices, said):
    with pytest.raises(InputError, match=said):
        grid(choices)


def test_crossed_choices_leave_tuned_encoders_uncrossed():
    found = grid({"head": ["linear", "mona"], "scaling": ["zscore", "none", "robust"]}, crossed=True)
    assert len(found) == 4 and sum(one.head == "mona" for one in found) == 1
