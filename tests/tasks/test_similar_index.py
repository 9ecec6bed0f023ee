"""The index of similar images: the same answer from every engine, never the own patient, and damage is refused."""

import importlib.util

import numpy as np
import pytest

from radfoundry.config import Component
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Acquisition, Case, Cohort, InputError, Series
from radfoundry.tasks import similar, similar_index

WITH_FAISS = pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="extra retrieval is not installed")


def make(patients=30, images=2, width=8, seed=0):
    rng = np.random.default_rng(seed)
    series, cases = [], []
    for number in range(patients * images):
        patient = f"p{number // images:02d}"
        key = f"s{number:03d}"
        item = Series(key, patient, f"c{key}", Acquisition(), (1, 4, 4, 1), (1.0, 1.0, 1.0), content=f"x{number}")
        series.append(item)
        cases.append(Case(f"c{key}", patient, (item,), labels={"kind": number % 3}))
    vectors = rng.normal(size=(len(series), width)).astype(np.float32)
    vectors[:, 0] += 3 * (np.arange(len(series)) % 3)
    table = Embeddings(tuple(series), vectors, "made-up", "fingerprint", "plan")
    return Cohort(tuple(cases), "cohort"), table


@pytest.fixture(scope="module")
def index():
    cohort, table = make()
    return similar_index.build(cohort, table, Component(name="intensity"))


def queries(table, rows):
    chosen = [table.series[row] for row in rows]
    patient, content = (np.array([getattr(item, name) for item in chosen]) for name in ("patient", "content"))
    return similar_index.Asked(table.vectors[rows], patient, content)


def slow_neighbours(index, asked, count):
    """Every cosine in plain loops."""
    found = []
    for features, patient, content in zip(asked.features, asked.patient, asked.content, strict=True):
        query = (features - index.centre) / index.spread
        ranked = sorted(
            (
                (-float(vector @ query / np.linalg.norm(query)), place)
                for place, vector in enumerate(index.vectors)
                if index.rows["patient"][place] != patient and index.rows["content"][place] != content
            ),
        )
        found.append([place for _, place in ranked[:count]])
    return np.array(found)


@pytest.mark.parametrize("engine", ["exact", pytest.param("faiss", marks=WITH_FAISS)])
def test_neighbours_are_those_of_a_slow_search_and_never_the_own_patient(index, engine):
    asked = queries(make()[1], [0, 7, 31, 59])
    places, likeness = similar_index.search(index, asked, count=6, engine=engine)
    assert np.array_equal(places, slow_neighbours(index, asked, 6))
    assert (np.diff(likeness, axis=1) <= 1e-6).all()
    assert (index.rows["patient"][places] != asked.patient[:, None]).all()


def test_the_same_pixels_under_another_name_are_left_out(index):
    asked = queries(make()[1], [4])
    stranger = similar_index.Asked(asked.features, np.array(["somebody"]), asked.content)
    places, likeness = similar_index.search(index, stranger, count=3)
    assert 4 not in places and likeness.max() < 0.9999
    unknown = similar_index.Asked(asked.features, np.array(["somebody"]), np.array([""]))
    assert similar_index.search(index, unknown, count=3)[0][0, 0] == 4


def test_where_too_few_others_are_left_places_are_empty():
    cohort, table = make(patients=2, images=2)
    small = similar_index.build(cohort, table, Component(name="intensity"))
    places, _ = similar_index.search(small, queries(table, [0]), count=4)
    assert (places[0] >= 0).tolist() == [True, True, False, False]


def test_blocks_of_the_index_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    vectors, owners = similar.unit(rng.normal(size=(300, 6))), rng.integers(0, 40, 300)
    asked = vectors[:50], (owners, owners[:50])
    whole = similar.nearest(vectors, asked[0], count=7, owners=asked[1])
    monkeypatch.setattr(similar, "ROWS_AT_ONCE", 23)
    monkeypatch.setattr(similar, "QUERIES_AT_ONCE", 11)
    parts = similar.nearest(vectors, asked[0], count=7, owners=asked[1])
    assert np.array_equal(whole[0], parts[0]) and np.allclose(whole[1], parts[1], atol=1e-6)


def test_recall_is_that_of_plain_counting():
    same = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]], bool)
    found = similar.agreement(same, np.full(4, 0.5), np.array(list("abcd")))
    assert found["recall@1"].value == 0.5 and found["recall@5"].value == 0.75
    assert found["precision@5"].value == pytest.approx(7 / 20)
    assert found["chance-recall@5"].value == pytest.approx(1 - 0.5**5)


def test_an_index_comes_back_from_disk_and_damage_is_refused(index, tmp_path):
    similar_index.write(index, tmp_path / "index")
    again = similar_index.read(tmp_path)
    assert np.array_equal(again.vectors, index.vectors) and again.rows["label kind"].tolist()[:4] == list("0120")
    with pytest.raises(InputError, match="already exists"):
        similar_index.write(index, tmp_path / "index")
    with pytest.raises(InputError, match="no index here"):
        similar_index.read(tmp_path / "nothing")
    (tmp_path / "index" / "rows.parquet").write_bytes(b"changed")
    with pytest.raises(InputError, match="was changed"):
        similar_index.read(tmp_path)
    (tmp_path / "index" / "index.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        similar_index.read(tmp_path)


def test_wrong_questions_are_refused(index, monkeypatch):
    asked = queries(make()[1], [0])
    with pytest.raises(InputError, match="did you mean 'faiss'"):
        similar_index.search(index, asked, count=3, engine="fais")
    with pytest.raises(InputError, match="at least 1"):
        similar_index.search(index, asked, count=0)
    narrow = similar_index.Asked(asked.features[:, :3], asked.patient, asked.content)
    with pytest.raises(InputError, match="width 8"):
        similar_index.search(index, narrow, count=3)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"radfoundry\[retrieval\]"):
        similar_index.search(index, asked, count=3, engine="faiss")
