"""Detection from films and volumes to marks: boxes land where they were drawn, wrong ones are refused."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radfoundry.cli.main import exit_code
from radfoundry.data.boxes import moved_boxes
from radfoundry.data.nifti import write_nifti
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.tasks import detect, detect_measures, detect_pages, detect_predictor, detect_simulated
from radfoundry.tasks.detect_fit import Marked
from radfoundry.volume import Volume


def series_of(volume, key="s", modality="DX"):
    return Series(
        key=key,
        patient=key,
        case=key,
        acquisition=Acquisition(modality=modality),
        shape=volume.array.shape,
        spacing_mm=volume.spacing_mm,
        content=key,
        loader=lambda _series: volume,
    )


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((40, 60, 1), np.eye(4)),
        ((40, 60, 1), np.diag([-1.0, -1.0, 1.0, 1.0])),
        ((20, 24, 18), np.diag([-3.0, 3.0, 4.0, 1.0])),
    ],
)
def test_a_box_on_the_detectors_grid_holds_what_it_held_on_the_image(shape, affine):
    array = 10 + np.random.default_rng(0).random(shape).astype(np.float32)
    box = np.array([[8.0, 12, 0, 16, 22, 1]]) if shape[2] == 1 else np.array([[5.0, 6, 7, 11, 12, 12]])
    low, high = box[0, :3].astype(int), box[0, 3:].astype(int)
    array[low[0] : high[0], low[1] : high[1], low[2] : high[2]] *= 50
    series = series_of(Volume.of(array, affine), modality="DX" if shape[2] == 1 else "CT")
    task = detect.build(grid={"side": 64, "spacing_mm": 2.0})
    made = detect.framed(series, detect.spec_of(task, None, [series]))
    bright = np.argwhere(made.array[0] > (made.array[0].max() + made.array[0].min()) / 2)
    found = np.concatenate([bright.min(axis=0), bright.max(axis=0) + 1])
    assert np.abs(moved_boxes(box, made.step)[0] - found).max() <= 1.0


def cohort_of(text, shape=(32, 32, 1)):
    series = series_of(Volume.of(np.random.default_rng(0).random(shape), np.eye(4)))
    return Cohort((Case("s", "s", (series,), labels={} if text is None else {"boxes": text}),))


def test_boxes_outside_the_image_are_refused_by_name():
    with pytest.raises(InputError, match=r"case s, boxes: the box .* leaves the image"):
        detect.sources(cohort_of("10 10 99 20"), detect.build(boxes="boxes"), {})


def test_a_cohort_without_boxes_is_refused():
    with pytest.raises(InputError, match="no image has a box"):
        detect.sources(cohort_of("none"), detect.build(boxes="boxes"), {})


def test_a_misspelt_label_of_boxes_names_the_near_one():
    with pytest.raises(InputError, match="did you mean 'boxes'"):
        detect.sources(cohort_of("none"), detect.build(boxes="bxes"), {})


def test_perfect_marks_score_one_and_random_ones_about_chance():
    films = detect_simulated.cohort({"train": 2, "test": 40, "external": 0}, seed=0)
    task = detect.build(boxes="boxes", grid={"side": 64})
    found = detect.sources(films, task, {})
    spec = detect.spec_of(task, None, [series for _, series, _ in found])
    examples = [detect.Example(s, c.key, c.patient, detect.framed(s, spec), boxes) for c, s, boxes in found]
    perfect = [Marked(float(e.present), np.ones(len(e.boxes)), e.boxes) for e in examples]
    numbers, _ = detect_measures.measures(examples, perfect, margin=0.0, seed=0)
    assert numbers["auroc"].value == numbers["jafroc"].value == numbers["froc-mean"].value == 1.0
    gap = detect_measures.differences(examples, perfect, perfect, margin=0.0)
    assert gap["jafroc"].value == gap["auroc"].value == 0.0


def test_the_simulated_marker_follows_the_disease_inside_and_not_outside():
    films = detect_simulated.cohort({"train": 300, "test": 2, "external": 300, "marker": 0.95}, seed=1)
    table = pd.DataFrame([{**case.labels, "part": case.key.split("-")[0]} for case in films.cases])
    same = (table["nodule"] == table["marker"]).groupby(table["part"]).mean()
    assert same["train"] > 0.9
    assert 0.4 < same["external"] < 0.6


def test_patients_are_never_in_two_parts():
    films = detect_simulated.cohort({"train": 20, "test": 2, "external": 0}, seed=0)
    parts = detect.divided(films, films.cases, detect.Divide(None, 5, 0))
    assert not parts["train"] & parts["test"]
    assert len(parts["test"]) == 4


def test_a_fold_holds_images_with_and_without_a_finding():
    people = tuple(Case(f"c{n}", f"p{n}") for n in range(10))
    for seed in range(20):
        held = detect.divided(
            Cohort(people), people, detect.Divide(None, 5, seed), findings={"p0", "p1", "p2", "p3", "p4", "p5", "p6"}
        )["test"]
        assert {int(key[1:]) < 7 for key in held} == {True, False}


def test_an_empty_mask_is_an_image_without_finding_and_a_mask_on_another_grid_is_refused():
    shape = (20, 20, 8)
    drawn = np.zeros(shape, np.uint8)
    drawn[4:9, 4:9, 2:5] = 1

    def exam(name, mask, affine=None):
        image = series_of(Volume.of(np.ones(shape, np.float32), np.eye(4)), name, modality="CT")
        mask = series_of(Volume.of(mask, np.eye(4) if affine is None else affine), f"{name}m", modality="SEG")
        return Case(name, name, (image, mask))

    found = detect.sources(Cohort((exam("a", drawn), exam("b", drawn * 0))), detect.build(), {})
    assert [len(boxes) for _, _, boxes in found] == [1, 0]
    with pytest.raises(InputError, match="the affine differs"):
        detect.sources(Cohort((exam("a", drawn, np.diag([1.0, 1, 3, 1])),)), detect.build(), {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.unmarked=maybe"], "unmarked"),
        (["task.marks.most=-1"], "most"),
        (["task.grid.size=3"], "size"),
        (["task.compare.cost=10"], "compare"),
        (["head=unet"], "unet"),
        (["tune.epochs=3"], "epochs"),
        (["head=trunk", "task.simulate.place=lung"], "place"),
        (["encoder=vit3d-tiny"], "modality DX"),
    ],
)
def test_wrong_words_get_one_line(words, said, capsys, tmp_path):
    given = ["adapt", "cohort=simulated", "task=detect", *words, "--to", str(tmp_path / "out")]
    assert exit_code(given) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_boxes_beat_image_labels_where_the_marker_lies_and_predict_marks_new_films(tmp_path):
    given = ["adapt", "cohort=simulated", "task=detect", "task.grid.side=64", "head=trunk", "rung=full"]
    sizes = ["task.simulate.train=120", "task.simulate.test=30", "task.simulate.external=80", "tune.steps=100"]
    assert exit_code([*given, *sizes, "--to", str(tmp_path / "run")]) == 0
    numbers = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]
    assert numbers["boxes-minus-image-labels/jafroc-external"]["low"] > 0
    film, _ = detect_simulated.film(
        present=True, marked=False, external=False, place="corner", strength=0.5, rng=np.random.default_rng(4)
    )
    grey = np.clip(film / 5, 0, 255).astype(np.uint8)
    Image.fromarray(grey.T).save(tmp_path / "film.png")
    write_nifti(Volume.of(np.ones((20, 20, 20), np.float32), np.eye(4)), tmp_path / "head.nii.gz")
    asked = ["predict", str(tmp_path / "run"), str(tmp_path / "film.png"), "modality=DX", "sequence=chest-pa"]
    assert exit_code([*asked, "--to", str(tmp_path / "said")]) == 0
    found = pd.read_csv(tmp_path / "said" / "findings.csv")
    said = detect_predictor.read(tmp_path / "run").find(series_of(Volume.of(grey[..., None], np.eye(4))))
    assert np.allclose(found["rating"], said.ratings, rtol=1e-4)
    assert np.allclose(found[["x0", "y0", "z0", "x1", "y1", "z1"]], said.boxes, rtol=1e-3, atol=1e-3)
    assert found["x_mm"].isna().all()  # a PNG has no place in the patient
    only = ["predict", str(tmp_path / "run"), str(tmp_path / "head.nii.gz"), "--to", str(tmp_path / "no")]
    assert exit_code(only) == 2
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_masks_of_volumes_teach_a_detector_in_3d_on_a_frozen_encoder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(8):
        image = rng.normal(100, 10, (24, 24, 24))
        mask = np.zeros_like(image)
        if number % 2:
            place = rng.integers(4, 16, 3)
            mask[place[0] : place[0] + 5, place[1] : place[1] + 5, place[2] : place[2] + 5] = 1
        affine = np.diag([4.0, 4.0, 4.0, 1.0])
        folder = tmp_path / "scans"
        folder.mkdir(exist_ok=True)
        write_nifti(Volume.of((image + 200 * mask).astype(np.float32), affine), folder / f"sub-{number}_ct.nii.gz")
        if number % 2:
            write_nifti(Volume.of(mask.astype(np.uint8), affine), folder / f"sub-{number}_ct_mask.nii.gz")
    words = ["ingest", str(folder), "--to", str(tmp_path / "cohort"), 'masks=["*_mask*"]', "modality=CT"]
    assert exit_code([*words, r"pattern=(?P<patient>sub-\d)"]) == 0
    given = ["adapt", f"cohort={tmp_path / 'cohort'}", "task=detect", "task.unmarked=normal", "encoder=conv3d-tiny"]
    assert exit_code([*given, "folds=2", "tune.steps=5", "--to", str(tmp_path / "run")]) == 0
    numbers = json.loads((tmp_path / "run" / "run.json").read_text())["metrics"]
    assert numbers["boxes/jafroc"]["n"] == 4


def test_a_picture_of_unequal_pixels_is_in_proportion_and_its_box_too():
    volume = Volume.of(np.zeros((40, 20, 5)), np.diag([1.0, 3.0, 5.0, 1.0]))
    nothing = Marked(0.5, np.zeros(0), np.zeros((0, 6)))
    drawn = detect_pages.picture(volume, np.array([[10.0, 5, 2, 20, 15, 3]]), nothing, cut=0.5)
    assert drawn.shape[0] / drawn.shape[1] == pytest.approx(1.5, rel=0.02)
    rows, columns = np.nonzero((drawn == detect_pages.TRUE).all(axis=2))
    assert np.ptp(rows) / np.ptp(columns) == pytest.approx(3.0, rel=0.1)


def test_no_share_ends_above_one():
    found = detect_measures._within(detect_measures.Estimate(0.7, 0.4, 1.03, method="jackknife", n=4))
    assert (found.low, found.high) == (0.4, 1.0)
