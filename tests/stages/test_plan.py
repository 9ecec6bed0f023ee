"""`radfoundry plan labels`: from tables to a plan, and what it refuses."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from radfoundry import config as settings
from radfoundry import runs
from radfoundry.cli.verbs import read_words
from radfoundry.records import InputError
from radfoundry.stages import plan

SIZES = (5, 8, 12, 18, 25, 35, 50)


def write(path, header, rows):
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([header, *rows])
    return str(path)


def planted(ceiling, exponent=0.5, *, noise=0.02, draws=8, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (draw, n, round(float(np.clip(ceiling - 0.7 * n**-exponent + noise * rng.normal(), 0, 1)), 4))
        for draw in range(draws)
        for n in SIZES
    ]


def run(tmp_path, **options):
    config = settings.load(plan.Config, {"draws": 100, "to": str(tmp_path / "out"), **options})
    return plan.run(config)


def test_points_give_a_plan_a_picture_and_curves(tmp_path):
    points = write(tmp_path / "points.csv", ["draw", "n", "score"], planted(0.95))
    found = run(tmp_path, points=points, target=0.86)
    assert set(found.metrics) >= {"reachable", "labels", "auroc-now", "auroc-after-next-round", "foresight"}
    assert found.metrics["reachable"].low > 0.5
    assert found.metrics["labels"].low < found.metrics["labels"].value
    assert "learning-curve.png" in found.outputs
    written = json.loads((tmp_path / "out" / "plan.json").read_text())["plans"]["labels"]
    assert 50 < written["next_round"] <= 100
    kinds = {row["kind"] for row in csv.DictReader((tmp_path / "out" / "curves.csv").open())}
    assert kinds == {"measured", "forecast"}
    assert found.inputs["points.csv"] == runs.digest_file(points)


def test_the_same_settings_give_the_same_numbers(tmp_path):
    points = write(tmp_path / "points.csv", ["draw", "n", "score"], planted(0.95))
    run(tmp_path, points=points)
    run(tmp_path, points=points, to=str(tmp_path / "again"))
    assert runs.differences(tmp_path / "out", tmp_path / "again") == []


def test_flat_curve_says_not_reachable(tmp_path):
    rows = [(draw, n, 0.62 + 0.01 * (-1) ** (draw + place)) for draw in range(6) for place, n in enumerate(SIZES)]
    found = run(tmp_path, points=write(tmp_path / "flat.csv", ["draw", "n", "score"], rows), target=0.8)
    assert found.notes == ("labels: not reachable with this encoder",)
    assert found.metrics["reachable"].high < 0.5
    assert not found.metrics["labels"].defined


def test_two_curves_are_compared_and_priced(tmp_path):
    rows = [("labels", *row) for row in planted(0.75, 0.8)] + [("boxes", *row) for row in planted(0.95, seed=1)]
    points = write(tmp_path / "two.csv", ["curve", "draw", "n", "score"], rows)
    found = run(tmp_path, points=points, target=0.84, costs=[1, 6])
    assert found.metrics["labels-minus-boxes/auroc-forecast"].high < 0
    assert found.metrics["boxes/reachable"].value > 0.5 > found.metrics["labels/reachable"].value
    assert any("chance that the second is cheaper: 1.00" in note for note in found.notes)
    with pytest.raises(InputError, match="1 costs for 2 curves"):
        run(tmp_path, points=points, costs=[1], to=str(tmp_path / "other"))


def test_predictions_bring_their_validation_cases(tmp_path):
    rng = np.random.default_rng(2)
    truth = np.arange(60) < 20
    rows = []
    for draw in range(4):
        for n in SIZES:
            scores = truth * (0.3 + 0.35 * np.log(n)) + rng.normal(size=60)
            rows += [(n, draw, f"c{case}", f"p{case // 2}", int(truth[case]), scores[case]) for case in range(60)]
    table = write(tmp_path / "scored.csv", ["n", "draw", "case", "patient", "target", "score"], rows)
    found = run(tmp_path, predictions=table, target=0.95)
    # Thirty patients know an AUROC badly: the doubt must be much wider than the scatter between draws.
    now = found.metrics["auroc-now"]
    assert now.high - now.low > 0.08
    write(tmp_path / "hole.csv", ["n", "draw", "case", "patient", "target", "score"], rows[:-1])
    with pytest.raises(InputError, match="score every validation case once"):
        run(tmp_path, predictions=str(tmp_path / "hole.csv"), to=str(tmp_path / "other"))


def test_unusable_input_is_one_line_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="give one of points=CSV"):
        run(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        run(tmp_path, points=str(tmp_path / "none.csv"))
    wrong = write(tmp_path / "wrong.csv", ["size", "auc"], [(5, 0.6)])
    with pytest.raises(InputError, match="no column n, score; columns here: size, auc"):
        run(tmp_path, points=wrong)
    with pytest.raises(InputError, match="no question"):
        run(tmp_path, cohort=str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_the_word_labels_is_not_taken_for_a_settings_file():
    assert read_words(("labels", "target=0.8"), plan.KINDS) == (None, ["what=labels", "target=0.8"])
    assert read_words(("labels", "plan.yaml", "target=0.8"), plan.KINDS) == ("plan.yaml", ["what=labels", "target=0.8"])


@pytest.fixture
def planted_cohort(monkeypatch):
    """160 patients, half with a finding; the encoder `intensity` sees it well, `vit3d-tiny` badly."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.records import Acquisition, Case, Cohort, Series

    series = [Series(f"s{i}", f"p{i}", f"c{i}", Acquisition(), (1, 1, 1, 1), (1, 1, 1)) for i in range(160)]
    cases = [Case(f"c{i}", f"p{i}", (series[i],), labels={"finding": i % 2}) for i in range(160)]
    cohort = Cohort(tuple(cases), fingerprint="planted")

    def embed(cohort, encoder, progress=None):
        rng = np.random.default_rng(4)
        strength = {"intensity": 1.2, "vit3d-tiny": 0.3}[encoder]
        vectors = rng.normal(size=(160, 12)) + strength * (np.arange(160) % 2)[:, None] * (np.arange(12) < 3)
        return embedding.Embeddings(tuple(series), vectors, encoder, f"of {encoder}", "plan")

    monkeypatch.setattr(cohorts, "open_cohort", lambda path: cohort)
    monkeypatch.setattr(embedding, "open_encoder", lambda component: component.name)
    monkeypatch.setattr(embedding, "embed", embed)
    task, head = {"name": "classify", "target": "finding"}, {"name": "logistic", "strengths": [0.1]}
    return {"cohort": "planted", "task": task, "head": head, "seed": 1}


LABELS = {"encoders": ["intensity"], "against": ["vit3d-tiny"], "sizes": [4, 10, 28], "orders": 3, "target": 0.75}


def test_better_features_need_fewer_labels_and_permuted_labels_none(tmp_path, planted_cohort):
    found = run(tmp_path, **planted_cohort, **LABELS)
    assert found.metrics["intensity-minus-vit3d-tiny/auroc-forecast"].low > 0
    assert found.metrics["intensity/reachable"].low > 0.5
    assert found.inputs["encoder intensity"] == "of intensity"
    dealt = {"permute_labels": True, "dealings": 3, "to": str(tmp_path / "control")}
    control = run(tmp_path, **planted_cohort, **LABELS, **dealt)
    assert control.metrics["intensity/reachable"].high < 0.5
    assert control.metrics["intensity/reachable"].n == 3
    assert any("first dealing" in note for note in control.notes)
    with pytest.raises(InputError, match="cannot be dealt out"):
        run(tmp_path, points=str(tmp_path / "points.csv"), permute_labels=True, to=str(tmp_path / "other"))


def test_a_reader_trial_around_a_cohorts_own_scores(tmp_path, planted_cohort, monkeypatch):
    from radfoundry.tasks import trial

    monkeypatch.setattr(trial, "SIMULATIONS", 100)
    found = run(tmp_path, what="readers", **planted_cohort, encoders=["intensity"], trust=0.5)
    assert found.metrics["auroc-change"].low > 0
    assert found.metrics["false-findings-pooled"].low > found.metrics["false-findings-two-way"].value
    assert any("readers are simulated" in note for note in found.notes)


def test_a_question_may_be_given_by_its_bare_name():
    config = settings.load(plan.Config, {"cohort": "c", "task": "lesion-present", "head": "knn"})
    assert [part.name for part in (config.task, config.head) if part] == ["lesion-present", "knn"]


def test_the_same_encoder_on_other_series_is_a_second_curve_on_the_same_patients(tmp_path, planted_cohort, monkeypatch):
    """The finding shows on FLAIR alone; a patient without T1w is left out of both curves."""
    from radfoundry.data import cohort as cohorts
    from radfoundry.nets import embedding
    from radfoundry.records import Acquisition, Case, Cohort, Series

    def made(patient, sequence):
        place = Series(f"{patient}-{sequence}", patient, f"c-{patient}", Acquisition(), (1, 1, 1, 1), (1, 1, 1))
        return dataclasses.replace(place, sequence=sequence)

    names = [f"p{i:03}" for i in range(161)]
    pairs = {name: tuple(made(name, kind) for kind in ("FLAIR", "T1w")[: 2 - (name == "p160")]) for name in names}
    cases = tuple(Case(f"c-{name}", name, pairs[name], labels={"finding": int(name[1:]) % 2}) for name in names)
    series = tuple(item for name in names for item in pairs[name])

    def embed(cohort, encoder, progress=None):
        seen = np.array([item.sequence == "FLAIR" and int(item.patient[1:]) % 2 for item in series])
        vectors = np.random.default_rng(4).normal(size=(len(series), 12)) + 1.2 * seen[:, None] * (np.arange(12) < 3)
        return embedding.Embeddings(series, vectors, encoder, "made", "plan")

    monkeypatch.setattr(cohorts, "open_cohort", lambda path: Cohort(cases, fingerprint="planted"))
    monkeypatch.setattr(embedding, "embed", embed)
    options = {**LABELS, "against": [], "train_on": {"sequence": "FLAIR"}, "against_on": {"sequence": "T1w"}}
    found = run(tmp_path, **planted_cohort, **options)
    assert found.metrics["intensity-minus-intensity-on-T1w/auroc-forecast"].low > 0
    assert found.metrics["intensity/reachable"].low > 0.5 > found.metrics["intensity-on-T1w/reachable"].high
