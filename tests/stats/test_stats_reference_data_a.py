"""Published data against published results (pROC's aSAH, small textbook tests); needs the folder RADFOUNDRY_DATA."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from radfoundry.records import Predictions
from radfoundry.stats.auc import auroc, auroc_difference
from radfoundry.stats.comparisons import mcnemar_p, mean_difference, wilcoxon
from radfoundry.stats.multiplicity import adjust
from radfoundry.stats.operating import choose_operating_point
from radfoundry.stats.proportions import proportion
from radfoundry.stats.roc_readings import partial_auroc, sensitivity_at_specificity

pytestmark = pytest.mark.data
MARKERS = ("s100b", "wfns", "ndka")


@pytest.fixture(scope="module")
def folder():
    root = os.environ.get("RADFOUNDRY_DATA")
    found = Path(root or "") / "stats_reference"
    if not root or not found.is_dir():
        pytest.skip("RADFOUNDRY_DATA has no stats_reference")
    return found


@pytest.fixture(scope="module")
def reference(folder):
    return json.loads((folder / "references.json").read_text())


@pytest.fixture(scope="module")
def asah(folder):
    with (folder / "asah.csv").open() as file:
        rows = list(csv.DictReader(file))
    poor = [row["outcome"] == "Poor" for row in rows]
    return {name: Predictions.of(poor, [float(row[name]) for row in rows]) for name in MARKERS}


@pytest.mark.parametrize("name", MARKERS)
def test_haemorrhage_markers_equal_proc(asah, reference, name):
    published, data = reference["asah"][name], asah[name]
    area = auroc(data, method="delong")
    assert area.value == pytest.approx(published["auc"], abs=1e-9)
    assert [area.low, area.high] == pytest.approx(published["delong_ci95"], abs=1e-9)
    assert partial_auroc(data).value == pytest.approx(published["partial_auc_spec_1_to_0.8"], abs=1e-9)
    reading = sensitivity_at_specificity(data, specificity=0.9)
    assert reading.value == pytest.approx(published["sens_at_spec_0.90"], abs=1e-9)
    point = choose_operating_point(data)
    assert [point.threshold, point.sensitivity, point.specificity] == pytest.approx(
        [published["youden"][key] for key in ("threshold", "sensitivity", "specificity")]
    )


def test_paired_comparisons_equal_proc(asah, reference):
    for published in reference["asah"]["paired_delong"]:
        difference = auroc_difference(asah[published["a"]], asah[published["b"]])
        assert difference.p_value == pytest.approx(published["p"], abs=1e-9)
        assert [difference.low, difference.high] == pytest.approx(published["ci95"], abs=1e-9)


def test_reader_areas_equal_those_of_van_dyke(folder, reference):
    with (folder / "mrmc_vandyke.csv").open() as file:
        rows = list(csv.DictReader(file))
    for arm in ("1", "2"):
        areas = []
        for reader in "12345":
            own = [row for row in rows if row["treatment"] == arm and row["reader"] == reader]
            areas.append(auroc([int(row["truth"]) for row in own], [float(row["rating"]) for row in own]).value)
        assert areas == pytest.approx(reference["vandyke"][f"auc_treatment{arm}_by_reader"], abs=1e-8)


def test_textbook_tests_equal_their_published_results(reference):
    small = reference["small_tests"]
    (_, only_first), (only_second, _) = np.reshape(small["mcnemar"]["table"], (2, 2)).tolist()
    assert mcnemar_p(only_first, only_second, method="exact") == pytest.approx(small["mcnemar"]["exact_p"], abs=1e-9)
    for name, method in (("wilson_147_121", "wilson"), ("clopper_pearson", "clopper-pearson")):
        share = proportion(small[name]["x"], small[name]["n"], method=method)
        assert [share.low, share.high] == pytest.approx(small[name]["ci"], abs=1e-9)
    assert adjust(small["holm"]["p"]) == pytest.approx(np.array(small["holm"]["adj"]))
    assert adjust(small["holm"]["p"], method="benjamini-hochberg") == pytest.approx(np.array(small["holm"]["bh"]))
    columns = [small["wilcoxon_signed_rank_exact"][key] for key in "xy"]
    assert wilcoxon(*columns).p_value == pytest.approx(small["wilcoxon_signed_rank_exact"]["p"], abs=1e-9)
    assert mean_difference(*columns).p_value == pytest.approx(small["paired_t"]["p"], abs=1e-9)
