"""The table of a file: the kind is read off the columns, numbers equal those of the functions, nothing is dropped."""

import json
import math

import numpy as np
import pytest

from radfoundry.records import InputError
from radfoundry.stats.auc import auroc
from radfoundry.stats.classification import confusion_measures
from radfoundry.stats.regression import mean_absolute_error
from radfoundry.stats.roc_readings import average_precision
from radfoundry.stats.tables import metric_table


def table(n=120, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    return {
        "truth": truth,
        "model": 1 / (1 + np.exp(-(truth - 0.5 + rng.normal(size=n)))),
        "patient": np.arange(n) // 2,
        "site": np.where(np.arange(n) < 70, "A", "B"),
        "age": rng.uniform(20, 90, n),
        "guess": rng.uniform(20, 90, n),
    }


def estimates(found, group="all"):
    return {row.metric: row.estimate for row in found.rows if row.group == group}


def test_binary_lines_equal_the_functions():
    file = table()
    found = metric_table(file, target="truth", score="model", patient="patient")
    lines = estimates(found)
    assert found.kind == "binary"
    columns = {"data": file["truth"], "score": file["model"], "patient": file["patient"]}
    assert lines["auroc"] == auroc(**columns)
    assert lines["average_precision"] == average_precision(**columns)
    assert lines["matthews"] == confusion_measures(**columns)["matthews"]
    assert {"brier_score", "calibration_error", "calibration_slope", "prevalence"} <= set(lines)


def test_groups_get_their_own_lines():
    file = table()
    found = metric_table(file, target="truth", score="model", by="site")
    inside = file["site"] == "B"
    assert estimates(found, "site=B")["auroc"] == auroc(file["truth"][inside], file["model"][inside])
    assert estimates(found, "site=A")["auroc"].n == 70


def test_numbers_make_a_regression_and_columns_make_classes():
    file = table()
    found = metric_table(file, target="age", score="guess")
    assert found.kind == "regression"
    assert estimates(found)["mean_absolute_error"] == mean_absolute_error(file["age"], file["guess"])
    file |= {"grade": np.arange(120) % 3, **{f"p{k}": np.random.default_rng(k).random(120) for k in range(3)}}
    many = metric_table(file, target="grade", score=["p0", "p1", "p2"])
    assert many.kind == "classes"
    assert {"macro_auroc", "accuracy", "auroc 2", "sensitivity 0"} <= set(estimates(many))


def test_scores_on_another_scale_get_no_calibration_lines():
    file = table()
    lines = estimates(metric_table(file | {"model": 5 * file["model"]}, target="truth", score="model"))
    assert "brier_score" not in lines
    assert lines["auroc"].defined


def test_text_prints_every_number_with_its_interval_and_dicts_are_json():
    found = metric_table(table(), target="truth", score="model", by="site")
    lines = found.text().splitlines()
    assert len(lines) == 1 + len(found.rows)
    assert all("(" in line and "n=" in line for line in lines[1:])
    rows = json.loads(json.dumps(found.to_dicts()))
    assert rows[0]["metric"] == "auroc"
    assert not any(isinstance(value, float) and math.isnan(value) for row in rows for value in row.values())


def test_options_change_the_cut_off_and_level():
    file = table()
    loose = metric_table(file, target="truth", score="model", options={"threshold": 0.2, "level": 0.8})
    assert (
        estimates(loose)["sensitivity"].value
        > estimates(metric_table(file, target="truth", score="model"))["sensitivity"].value
    )
    assert loose.level == estimates(loose)["auroc"].level == 0.8


def test_a_pandas_frame_is_read_like_a_mapping():
    import pandas

    file = table()
    frame = pandas.DataFrame(file)
    ours = metric_table(frame, target="truth", score="model", patient="patient", by="site")
    assert ours == metric_table(file, target="truth", score="model", patient="patient", by="site")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"target": "wrong"}, "no column 'wrong'"),
        ({"truth": np.array(["yes", "no"] * 60)}, {}, "holds no/yes"),
        ({"truth": np.array([None, *([1] * 119)], dtype=object)}, {}, "1 of 120 rows of truth are empty"),
        ({"model": np.array(["x"] * 120)}, {}, "does not hold numbers"),
        ({"model": np.full(120, np.nan)}, {}, "NaN"),
        ({}, {"options": {"cut": 0.5}}, "unknown option cut"),
    ],
)
def test_broken_tables_are_refused_by_name(change, options, message):
    with pytest.raises(InputError, match=message):
        metric_table(table() | change, **({"target": "truth", "score": "model"} | options))
