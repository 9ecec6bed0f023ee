"""Learning curves of heads on frozen features with a planted signal."""

import numpy as np
import pytest

from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Acquisition, InputError, Series, Task
from radfoundry.stats.label_budget import average_chance, forecast, forecast_difference, plan_labels
from radfoundry.tasks import heads
from radfoundry.tasks.label_curve import CurveDesign, label_curve, label_curves

TASK = Task("lesion", "lesion", "binary")
DESIGN = CurveDesign((4, 8, 16, 32), draws=4, seed=1)


def features(strength, *, patients=160, series_each=1, seed=0):
    rng = np.random.default_rng(seed)
    truth = {f"c{index}": int(index % 2) for index in range(patients)}
    vectors, series = [], []
    for index in range(patients):
        for copy in range(series_each):
            series.append(Series(f"s{index}-{copy}", f"p{index}", f"c{index}", Acquisition(), (1, 1, 1, 1), (1, 1, 1)))
            vectors.append(rng.normal(size=20) + strength * truth[f"c{index}"] * (np.arange(20) < 3))
    return Embeddings(tuple(series), np.array(vectors), "planted", "fingerprint", "plan"), truth


def curve(strength, **options):
    table, truth = features(strength, **options)
    return label_curve(table, task=TASK, truth=truth, head=heads.logistic(strengths=(0.1,)), design=DESIGN)


def test_scores_rise_with_labels_and_stay_at_chance_without_signal():
    with_signal, without = curve(1.0), curve(0.0)
    assert with_signal.score[-1] > with_signal.score[0]
    assert with_signal.score[-1] > 0.85
    assert abs(without.score - 0.5).max() < 0.15
    plan = plan_labels(forecast(without, draws=100), 0.85)
    assert plan.decision == "not reachable with this encoder"


@pytest.mark.slow
def test_dealt_answers_take_a_strong_signal_away_and_their_mean_chance_is_small():
    table, truth = features(2.5, patients=80)
    design = CurveDesign((3, 6, 12), draws=3, seed=1)

    def curves(dealings):
        head = heads.logistic(strengths=(0.1,))
        return label_curves(table, task=TASK, truth=truth, head=head, design=design, dealings=dealings)

    (real,), dealt = curves(0), curves(6)
    chances = [plan_labels(forecast(points, draws=60), 0.9).reachable.value for points in (real, *dealt)]
    mean = average_chance(chances[1:], of="dealings")
    assert chances[0] > 0.9 and mean.high < 0.5
    assert mean.value == pytest.approx(np.mean(chances[1:]))
    # Each dealing is another one, and the same seed deals the same again.
    assert len({tuple(points.score) for points in dealt}) == 6
    assert [points.score.tolist() for points in curves(2)] == [points.score.tolist() for points in dealt[:2]]


def test_held_out_patients_are_the_same_for_every_encoder_and_paired():
    strong, weak = curve(1.0, seed=1), curve(0.4, seed=2)
    assert np.array_equal(strong.validation.patient, weak.validation.patient)
    gap = forecast_difference(forecast(strong, draws=200), forecast(weak, draws=200))
    assert gap.low > 0


def test_several_series_of_a_case_are_one_row():
    points = curve(1.0, patients=120, series_each=3)
    assert len(points.validation) == len(np.unique(points.validation.patient)) == 48


def test_other_questions_and_small_cohorts_are_refused():
    table, truth = features(1.0)
    with pytest.raises(InputError, match="yes-or-no"):
        label_curve(table, task=Task("age", "age", "regression"), truth=truth, head=heads.ridge(), design=DESIGN)
    table, truth = features(1.0, patients=16)
    with pytest.raises(InputError, match="to judge on"):
        label_curve(table, task=TASK, truth=truth, head=heads.logistic(), design=DESIGN)
