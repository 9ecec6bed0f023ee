"""What every head in the registry must do, for every kind of question it says it answers."""

import numpy as np
import pytest

from radfoundry import registry
from radfoundry.tasks import fitted_files, heads
from radfoundry.tasks.probe import FittedPooled

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(36, 4))
SIGNAL = FEATURES[:, 0] + 0.3 * RNG.normal(size=36)
PATIENTS = np.repeat(np.arange(18), 2).astype(str)
ANSWERS = {
    "binary": (SIGNAL > 0).astype(int),
    "multiclass": np.digitize(SIGNAL, [-0.4, 0.4]),
    "ordinal": np.digitize(SIGNAL, [-0.4, 0.4]),
    "multilabel": np.column_stack([SIGNAL > 0, SIGNAL > 0.3]).astype(int),
    "regression": SIGNAL,
    "survival": np.column_stack([5 - SIGNAL, SIGNAL > -0.5]),
}
SHAPES = {"multiclass": (36, 3), "ordinal": (36, 3), "multilabel": (36, 2)}
PAIRS = [(name, kind) for name in registry.entries("heads") for kind in registry.build("heads", name).kinds]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_a_head_answers_learns_and_survives_the_disk(name, kind, tmp_path):
    head = registry.build("heads", name, strengths=registry.build("heads", name).strengths[1:2], inner_folds=2)
    fitted = heads.fit(
        head, FEATURES, ANSWERS[kind], PATIENTS, kind=kind, classes=3 if "3" in str(SHAPES.get(kind)) else 2
    )
    said = fitted.predict(FEATURES)
    assert said.shape == SHAPES.get(kind, (36,)) and np.isfinite(said).all()
    if kind not in ("regression", "survival"):
        assert (said >= 0).all() and (said <= 1).all()
    if kind in ("multiclass", "ordinal"):
        assert np.allclose(said.sum(axis=1), 1)
    rng = np.random.default_rng(1)
    shuffled = heads.row_losses(kind, ANSWERS[kind][rng.permutation(36)], said).mean()
    assert heads.row_losses(kind, ANSWERS[kind], said).mean() < shuffled
    order = rng.permutation(36)
    assert np.allclose(fitted.predict(FEATURES[order]), said[order])
    assert fitted.held_out is not None and fitted.held_out.shape == said.shape

    fitted_files.write(FittedPooled(fitted, None), tmp_path / "head.safetensors", probe=np.ones(1, np.float32))
    again, _ = fitted_files.read(tmp_path / "head.safetensors")
    assert np.array_equal(again.head.predict(FEATURES), said)


def test_every_kind_of_question_has_a_usual_head():
    for kind in ANSWERS:
        assert kind in heads.named(None, kind).kinds
