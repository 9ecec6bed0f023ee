"""Control charts: published run lengths, an exact Markov chain, and streams with a planted change."""

import numpy as np
import pytest
from scipy.stats import norm

from radfoundry.records import InputError
from radfoundry.stats.control_charts import design_chart, run_chart, standardised, standardised_rates


def markov_run_length(limit, allowance, states=400):
    """Mean run length of a one-sided CUSUM by Brook and Evans (Biometrika 1972;59:539): a finite chain, solved."""
    width = 2 * limit / (2 * states - 1)
    place = np.arange(states) * width
    upper = norm.cdf(place[None, :] - place[:, None] + allowance + width / 2)
    lower = norm.cdf(place[None, :] - place[:, None] + allowance - width / 2)
    move = upper - lower
    move[:, 0] = upper[:, 0]
    return float(np.linalg.solve(np.eye(states) - move, np.ones(states))[0])


def test_markov_chain_repeats_published_run_lengths():
    # Montgomery, Introduction to Statistical Quality Control, tabular CUSUM with k = 1/2: two-sided 168 at h = 4,
    # 465 at h = 5; one-sided values are twice those.
    assert markov_run_length(4, 0.5) == pytest.approx(336, rel=0.01)
    assert markov_run_length(5, 0.5) == pytest.approx(930, rel=0.01)


# Limits with known run lengths: Shewhart 3 SD gives 370.4 (both sides); CUSUM k = 1/2, h = 4 gives 168 (Montgomery).
# Lucas & Saccucci, Technometrics 1990;32:1-12, table 3: EWMA with weight 0.1 and L = 2.814 gives 500; theirs has
# constant limits, ours start narrow, which shortens the run a little.
@pytest.mark.parametrize(
    ("kind", "options", "run_length", "limit", "tolerance"),
    [
        ("shewhart", {}, 370.4, 3.0, 0.03),
        ("cusum", {"tuning": 0.5}, 168, 4.0, 0.03),
        ("ewma", {"tuning": 0.1}, 500, 2.814, 0.03),
    ],
)
def test_simulated_limits_equal_published_ones(kind, options, run_length, limit, tolerance):
    design = design_chart(kind, run_length, rng=1, **options)
    assert design.limit == pytest.approx(limit, rel=tolerance)
    assert design.run_length.low < run_length < design.run_length.high
    assert design.false_alarms(12) == pytest.approx(12 / design.run_length.value)


def test_one_sided_cusum_equals_the_markov_chain():
    design = design_chart("cusum", 200, sides=1, rng=2)
    assert markov_run_length(design.limit, 0.5) == pytest.approx(200, rel=0.08)


def test_skewed_baseline_gets_a_wider_limit_that_keeps_the_run_length():
    rng = np.random.default_rng(3)
    baseline = standardised(*[rng.exponential(size=2000)] * 2)
    plain, own = design_chart("shewhart", 200, rng=3), design_chart("shewhart", 200, baseline=baseline, rng=3)
    assert own.limit > 1.3 * plain.limit
    share = len(run_chart(rng.choice(baseline, 12_000), own).alarms) / 12_000
    # About 60 alarms: their share is known to 13 %; three of these.
    assert share == pytest.approx(1 / 200, rel=0.4)


@pytest.mark.parametrize("kind", ["ewma", "cusum"])
def test_small_lasting_shift_is_found_soon_and_in_its_direction(kind):
    design = design_chart(kind, 500, rng=4)
    rng = np.random.default_rng(5)
    delays, wrong = [], 0
    for _ in range(40):
        found = run_chart(np.r_[rng.standard_normal(50), rng.standard_normal(200) - 1.0], design)
        later = [alarm for alarm in found.alarms if alarm >= 50]
        delays.append(later[0] - 50)
        wrong += found.first_alarm >= 50 and found.direction == "up"
    # A shift of one SD takes CUSUM and EWMA about ten points; a Shewhart chart takes about 44.
    assert np.median(delays) < 20
    assert wrong == 0


def test_cusum_dates_the_change():
    design = design_chart("cusum", 500, rng=6)
    rng = np.random.default_rng(7)
    since = [run_chart(np.r_[rng.standard_normal(100), rng.standard_normal(60) + 1.5], design).since for _ in range(40)]
    assert abs(np.median(since) - 100) <= 3


def test_shewhart_alarms_are_the_points_beyond_the_limit():
    design = design_chart("shewhart", 100, rng=8)
    values = np.array([0.0, design.limit + 0.1, -design.limit - 0.1, 1.0])
    found = run_chart(values, design)
    assert found.alarms == (1, 2)
    assert run_chart(values, design_chart("shewhart", 100, sides=1, rng=8)).alarms == (1,)


def test_mirrored_values_mirror_the_chart():
    design = design_chart("ewma", 100, rng=9)
    values = np.random.default_rng(9).normal(size=80)
    one, other = run_chart(values, design), run_chart(-values, design)
    assert one.upper == pytest.approx(other.lower)
    assert one.alarms == other.alarms


def test_omissions_rising_from_40_to_60_percent_are_found():
    # Weekly draft reports: 60 findings a week, 40 % omitted while all is well.
    design = design_chart("cusum", 260, sides=1, rng=10)
    rng = np.random.default_rng(11)
    delays = []
    for _ in range(30):
        hits = np.r_[rng.binomial(60, 0.4, 20), rng.binomial(60, 0.6, 20)]
        found = run_chart(standardised_rates(hits, np.full(40, 60), 0.4), design)
        delays.append(min(alarm for alarm in found.alarms if alarm >= 20) - 20)
    assert max(delays) <= 3


def test_rates_are_standardised_by_their_own_totals():
    rng = np.random.default_rng(12)
    totals = rng.integers(20, 200, 4000)
    values = standardised_rates(rng.binomial(totals, 0.3), totals, 0.3)
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=0.05)


def test_what_cannot_be_charted_is_refused():
    with pytest.raises(InputError, match="baseline points is 3"):
        standardised([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="never varies"):
        standardised([1, 2], np.ones(30))
    with pytest.raises(InputError, match="choose one of shewhart, ewma, cusum"):
        design_chart("cumsum", 100)
    with pytest.raises(InputError, match="hits <= totals"):
        standardised_rates([3], [2], 0.5)
