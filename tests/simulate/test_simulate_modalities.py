"""Cohorts of films, CT and ultrasound: the same seed gives the same case, and ingest reads back what was written."""

import csv
import json

import numpy as np
import pytest

from radfoundry import registry
from radfoundry.data.cohort import open_cohort
from radfoundry.records import InputError
from radfoundry.simulate.cohort import CaseTask, write_case
from radfoundry.simulate.modality_presets import FLAT, at_height_of, turned
from radfoundry.simulate.projection import VIEWS
from radfoundry.stages import ingest, simulate

NAMES = ("chest-radiographs", "knee-radiographs", "chest-ct", "abdomen-ct", "mammograms", "breast-ultrasound")


@pytest.mark.parametrize("name", NAMES)
def test_bad_options_are_refused_before_anything_is_made(name):
    with pytest.raises(InputError, match="no findings called"):
        registry.build("cohorts", name, findings=("hangnail",))
    with pytest.raises(InputError, match="share"):
        registry.build("cohorts", name, marker_rate=1.5)
    with pytest.raises(InputError, match="size"):
        registry.build("cohorts", name, size="huge")
    assert registry.build("cohorts", name).name == name


def test_a_patient_askew_is_seen_along_another_direction():
    axes = turned(VIEWS["AP"], 10.0, 5.0).axes
    assert np.allclose(axes.T @ axes, np.eye(3))
    assert np.degrees(np.arccos(axes[:, 2] @ VIEWS["AP"].axes[:, 2])) == pytest.approx(11.2, abs=0.3)


OPTIONS = {"lesion_rate": 1.0, "findings": ["joint-narrowing"], "marker_rate": 1.0}


def test_a_breast_that_lies_keeps_its_volume():
    assert np.prod(FLAT) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def knee():
    return registry.build("cohorts", "knee-radiographs", **OPTIONS).simulate(0, seed=4)


def test_labels_findings_and_words_agree(knee):
    case = knee
    assert case.labels["joint_narrowing"] > 0 and case.labels["kl_grade"] >= 1 and case.labels["marker"] == 1
    stated = {item.finding: item.state for item in case.report.statements}
    assert stated["joint-narrowing"] == "present"
    views = [(item.acquisition.view_position, item.acquisition.laterality) for item in case.series]
    side = case.labels["laterality"]
    assert views == [("AP", side), ("LL" if side == "L" else "RL", side), ("SKYLINE", side)]
    assert set(case.known["boxes"]) == {item.name for item in case.series}


def test_skyline_films_show_only_what_lies_beside_the_patella():
    from radfoundry.simulate.anatomy.regions import draw_anatomy, region

    body = region("knee").build(
        draw_anatomy("knee", rng=np.random.default_rng(0), age_years=50, sex="M"), spacing_mm=4.0
    )
    part = at_height_of(body, "patella", margin_mm=0.0)
    assert part.shape[2] < 0.5 * body.shape[2]
    assert float(part.truth["patella"].sum()) > 0.95 * float(body.truth["patella"].sum())
    with pytest.raises(InputError, match="has no spleen"):
        at_height_of(body, "spleen", margin_mm=0.0)


@pytest.fixture(scope="module")
def knee_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films") / "knees"
    cohort = {"name": "knee-radiographs", **OPTIONS}
    simulate.run(
        simulate.Config.model_validate({"cohort": cohort, "cases": 1, "seed": 4, "to": str(folder), "workers": 1})
    )
    return folder


def test_the_same_seed_gives_the_same_films_and_ingest_reads_them_back(knee, knee_folder, tmp_path):
    ingest.run(
        ingest.Config.model_validate(
            {"sources": [str(knee_folder / "dicom")], "to": str(tmp_path / "cohort"), "workers": 1}
        )
    )
    cohort = open_cohort(tmp_path / "cohort")
    assert len(cohort) == 1 and len(cohort.series) == 3
    read = [(found.load(), found.acquisition) for found in cohort.series]
    for series in knee.series:  # made a second time
        same = [item for item in read if np.array_equal(item[0].array, series.volume.array)]
        assert len(same) == 1
        volume, header = same[0]
        assert volume.geometry.matches(series.volume.geometry)
        assert header.modality == "DX" and header.view_position == series.acquisition.view_position
        assert header.laterality == series.acquisition.laterality
        assert header.photometric == series.acquisition.photometric


def test_truth_and_labels_are_written_beside_the_films(knee_folder):
    with (knee_folder / "labels.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 1 and {"kl_grade", "fracture", "site", "lesion_severity"} <= set(rows[0])
    truth = json.loads((knee_folder / "truth" / rows[0]["patient_id"] / "truth.json").read_text())
    assert truth["patient"]["boxes"]["knee-ap"]["femur"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cohort_is_written_and_read_back(name, tmp_path):
    task = CaseTask(str(tmp_path / "made"), name, {"lesion_rate": 1.0}, seed=2, case=0)
    write_case(task)
    ingest.run(
        ingest.Config.model_validate(
            {"sources": [str(tmp_path / "made" / "dicom")], "to": str(tmp_path / "cohort"), "workers": 1}
        )
    )
    cohort = open_cohort(tmp_path / "cohort")
    made = registry.build("cohorts", name, lesion_rate=1.0).simulate(0, seed=2)
    assert len(cohort.series) == len(made.series)
    images = [series.load() for series in cohort.series]
    for series in made.series:
        same = [image for image in images if np.array_equal(image.array, series.volume.array)]
        assert same and same[0].geometry.matches(series.volume.geometry, tolerance_mm=1e-2)
    stated = {series.acquisition.modality for series in cohort.series}
    assert stated == {made.series[0].acquisition.modality}


@pytest.mark.slow
def test_a_portable_film_is_a_shortcut_only_where_asked_for():
    preset = registry.build("cohorts", "chest-radiographs", lesion_rate=1.0, portable_rate=1.0)
    case = preset.simulate(0, seed=3)
    assert case.labels["portable"] == 1 and [item.acquisition.view_position for item in case.series] == ["AP"]
    never = registry.build("cohorts", "chest-radiographs", lesion_rate=0.0, portable_rate=1.0, lateral=False)
    healthy = never.simulate(0, seed=3)
    assert healthy.labels["portable"] == 0 and healthy.series[0].acquisition.view_position == "PA"
