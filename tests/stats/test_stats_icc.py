"""The six intraclass correlations against the published table, psych::ICC, and the laws between them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.icc import FORMS, icc, icc_forms

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "stats_b.json").read_text())
# Shrout & Fleiss 1979, table 2: six targets, four judges; table 4 prints the six coefficients.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
PUBLISHED = {"ICC(1,1)": 0.17, "ICC(2,1)": 0.29, "ICC(3,1)": 0.71, "ICC(1,k)": 0.44, "ICC(2,k)": 0.62, "ICC(3,k)": 0.91}


def test_the_published_table():
    found = icc_forms(SHROUT_FLEISS)
    assert {form: round(estimate.value, 2) for form, estimate in found.items()} == PUBLISHED


def test_values_and_limits_equal_psych():
    # psych 2.2.9, ICC(data, lmer = FALSE); script and data in tests/golden.
    reference = GOLDEN["icc"]
    found = icc_forms(reference["data"], interval="satterthwaite")
    for place, form in enumerate(FORMS):
        expected = [reference[name][place] for name in ("value", "low", "high", "p")]
        estimate = found[form]
        assert [estimate.value, estimate.low, estimate.high] == pytest.approx(expected[:3], rel=1e-9)
        assert estimate.p_value == pytest.approx(expected[3], rel=1e-6)


def test_bias_of_a_reader_hurts_agreement_and_not_consistency():
    table = np.array(SHROUT_FLEISS, float)
    shifted = table + np.array([0, 10, 0, 0])
    assert icc(shifted, form="ICC(3,1)").value == pytest.approx(icc(table, form="ICC(3,1)").value)
    assert icc(shifted, form="ICC(2,1)").value < icc(table, form="ICC(2,1)").value


def test_scale_order_and_readers_do_not_matter():
    table = np.array(SHROUT_FLEISS, float)
    for form in FORMS:
        one = icc(table, form=form)
        for other in (7 * table + 3, table[::-1], table[:, [2, 0, 3, 1]]):
            again = icc(other, form=form)
            assert (again.value, again.low, again.high) == pytest.approx((one.value, one.low, one.high))


def test_the_generalised_interval_equals_slow_drawing():
    # Tian & Cappelleri 2004: mean squares divided by drawn chi-squared numbers, here 400,000 of them.
    table = np.array(SHROUT_FLEISS, float)
    n, k = table.shape
    centred = table - table.mean()
    subjects, readers = k * (centred.mean(1) ** 2).sum(), n * (centred.mean(0) ** 2).sum()
    rng = np.random.default_rng(0)
    error = ((centred**2).sum() - subjects - readers) / rng.chisquare((n - 1) * (k - 1), 400_000)
    subject = (subjects / rng.chisquare(n - 1, 400_000) - error) / k
    reader = (readers / rng.chisquare(k - 1, 400_000) - error) / n
    low, high = np.quantile(subject / (subject + reader + error), [0.025, 0.975])
    found = icc(table)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.003)


def test_intervals_meet_where_readers_do_not_differ():
    # Without a reader effect the second form is nearly the third, whose interval is exact.
    rng = np.random.default_rng(1)
    table = rng.normal(0, 2, (60, 1)) + rng.normal(0, 1, (60, 5))
    both = [icc(table, interval=name) for name in ("generalised", "satterthwaite")]
    assert both[0].value == both[1].value
    assert (both[0].low, both[0].high) == pytest.approx((both[1].low, both[1].high), abs=0.02)


def test_three_readers_of_many_patients_leave_the_doubt_about_readers():
    # The reader variance rests on three readers, however many patients they read.
    rng = np.random.default_rng(2)
    table = rng.normal(0, 2, (1000, 1)) + rng.normal(0, 0.5, (1, 3)) + rng.normal(0, 1, (1000, 3))
    found, published = icc(table), icc(table, interval="satterthwaite")
    assert found.high - found.low > 1.5 * (published.high - published.low)


def test_perfect_agreement_missing_values_and_no_spread():
    perfect = icc(np.tile(np.arange(5.0)[:, None], 3))
    assert perfect.value == 1.0 and np.isnan(perfect.low) and "no disagreement" in perfect.note
    table = np.array([*SHROUT_FLEISS, [np.nan, 1, 2, 3]], float)
    found = icc(table)
    assert found.value == pytest.approx(icc(SHROUT_FLEISS).value) and "1 of 7" in found.note
    assert not icc(np.ones((4, 3))).defined
    assert not icc([[1.0, 2.0]]).defined
    with pytest.raises(InputError, match="form"):
        icc(SHROUT_FLEISS, form="ICC(9,9)")
    with pytest.raises(InputError, match="readers"):
        icc([1.0, 2.0, 3.0])


@pytest.mark.data
def test_lung_nodule_readings_of_four_radiologists():
    # Reference values by psych::ICC on the same table (references.json of the statistics set).
    import pandas as pd

    folder = Path(os.environ.get("RADFOUNDRY_DATA", ""))
    if not (folder / "lidc_readers").is_dir():
        pytest.skip("set RADFOUNDRY_DATA")
    rows = pd.read_csv(folder / "lidc_readers" / "annotations.csv")
    rows = rows[rows.n_readers == 4]
    expected = json.loads((folder / "stats_reference" / "references.json").read_text())["lidc"]["values"]
    rows["log_volume"] = np.log1p(rows.volume_mm3)
    for name, reference in expected.items():
        table = rows.pivot(index=["scan_id", "nodule"], columns="reader_slot", values=name).to_numpy()
        found = icc(table, form="ICC(1,1)")
        assert found.n == reference["n"] and found.value == pytest.approx(reference["ICC1"], rel=1e-6)
        assert [found.low, found.high] == pytest.approx(reference["ICC1_ci"], rel=1e-6)
        assert icc(table, form="ICC(1,k)").value == pytest.approx(reference["ICC1k"], rel=1e-6)
