"""The arbiter: copies share a voice, a liar costs little, an outside model hears no person."""

import http.server
import json
import threading
from typing import ClassVar

import numpy as np
import pytest
from scipy.special import expit

from radfoundry.records import Case, Cohort, InputError
from radfoundry.stats.auc import auroc
from radfoundry.tasks import (
    arbiter,
    arbiter_case,
    arbiter_fit,
    arbiter_language,
    arbiter_measures,
    arbiter_votes,
    heads,
)


def cases(*, count=240, copies=1, seed=0):
    """Two honest, independent specialists (the second copied), one that guesses, features that know a little."""
    rng = np.random.default_rng(seed)
    y = (np.arange(count) % 2).astype(int)
    side = 2 * y - 1
    first, second = (0.7 * side + rng.normal(size=count) for _ in range(2))
    guess = rng.normal(size=count)
    votes = expit(np.column_stack([first, *([second] * copies), guess]))
    features = rng.normal(size=(count, 4)) + 0.5 * side[:, None] * np.array([1, 0, 0, 0])
    names = tuple(f"s{place}" for place in range(votes.shape[1]))
    keys = np.array([f"c{place:03d}" for place in range(count)])
    return arbiter_case.Cases(features, y, keys, keys, names, votes)


def decided(made, task, **options):
    return arbiter_case.decide(made, task, heads.logistic(strengths=(0.1,)), folds=3, seed=0, **options)


TASK = arbiter.build(target="x", specialists=["a", "b"])


def test_copies_of_one_judge_share_one_voice_and_a_guesser_is_not_heard():
    made = cases(copies=3)
    fitted, _ = arbiter_case.fit(made, TASK, heads.logistic(strengths=(0.1,)), seed=0)
    shares, weights = fitted.arbiter.shares, fitted.arbiter.weights
    assert shares[1:4].sum() == pytest.approx(shares[0], rel=0.5)
    assert abs(weights[4]) < 0.4 * weights[0]


@pytest.mark.slow
def test_arbiter_hears_better_than_a_mean_of_votes_and_survives_a_liar():
    found = decided(cases(copies=5), TASK)
    metrics = arbiter_measures.measure(found)
    assert metrics["arbiter-minus-mean-vote"].low > 0
    assert metrics["lost-under-noise"].value > 0
    assert metrics["auroc-arbiter"].value == pytest.approx(auroc(found.of(found.decided)).value)


def test_decisions_depend_on_the_truth():
    made = cases()
    rng = np.random.default_rng(1)
    dealt = arbiter_case.Cases(
        made.features, rng.permutation(made.answer), made.patient, made.case, made.names, made.votes
    )
    metric = arbiter_measures.measure(decided(dealt, TASK))["auroc-arbiter"]
    assert metric.low < 0.5 < metric.high


def test_a_case_is_never_its_own_neighbour():
    features = np.eye(4)
    answers, owners = np.array([1, 0, 1, 0]), np.array(["a", "b", "c", "d"])
    share = arbiter.similar_share(features, answers, owners, features, owners, count=3)
    # Of the three others one or two say yes; the prevalence of 0.5 counts as one case more.
    assert share.tolist() == [(1 + 0.5) / 4, (2 + 0.5) / 4, (1 + 0.5) / 4, (2 + 0.5) / 4]


def test_conflicts_are_those_who_disagree_and_name_what_decided():
    evidence = arbiter.Evidence(
        ("a", "b"), np.array([[0.9, 0.2], [0.9, 0.8], [0.9, np.nan]]), np.full(3, 0.5), np.full(3, 0.5)
    )
    parts = np.array([[2.0, -1.0, 0.0, 0.0]] * 3)
    rows = arbiter.conflicts(evidence, np.array([0.7, 0.9, 0.8]), parts, ["x", "y", "z"])
    assert [row["case"] for row in rows] == ["x"]
    assert rows[0]["reason"].startswith("a for (+2.00); b against (-1.00)")


@pytest.mark.parametrize("kind", ["stacker", pytest.param("transformer", marks=pytest.mark.slow)])
def test_an_arbiter_is_the_same_after_writing_and_reading(kind, tmp_path):
    made = cases(count=60)
    task = arbiter.build(target="x", specialists=["a", "b"], arbiter=kind)
    fitted, evidence = arbiter_case.fit(made, task, heads.logistic(strengths=(0.1,)), seed=0)
    arbiter_fit.write(fitted.arbiter, tmp_path / "a.safetensors", arrays={"features": made.features})
    again, arrays = arbiter_fit.read(tmp_path / "a.safetensors")
    assert np.allclose(again.decide(evidence), fitted.arbiter.decide(evidence), atol=1e-6)
    assert np.array_equal(arrays["features"], made.features)
    assert auroc(made.answer, again.decide(evidence)).value > 0.7
    silent = arbiter.Evidence(made.names, np.full_like(made.votes, np.nan), evidence.generalist, evidence.retrieved)
    assert np.isfinite(again.decide(silent)).all()


class Fake(http.server.BaseHTTPRequestHandler):
    """A language model that says yes and remembers what it was told."""

    heard: ClassVar[list[str]] = []
    answer = '{"answer": "yes", "confidence": 0.8}'

    def do_POST(self):
        self.heard.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def fake_model():
    server = http.server.HTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Fake.heard.clear()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_an_outside_model_is_told_votes_and_nothing_of_the_person(fake_model, monkeypatch):
    evidence = arbiter.Evidence(("hospital-run-7",), np.array([[0.9], [0.2]]), np.full(2, 0.4), np.full(2, 0.3))
    client = arbiter_language.Client(fake_model, "secret_label")
    assert client.decide(evidence).tolist() == [0.8, 0.8]
    told = json.loads(Fake.heard[0])
    assert set(told) == {"prompt", "options"}
    assert "specialist A: 0.90" in told["prompt"]
    assert not any(word in Fake.heard[0] for word in ("hospital", "secret", "c000"))
    for bad in ("no json", '{"answer": "perhaps"}', '{"answer": "yes", "confidence": 7}', "[]"):
        monkeypatch.setattr(Fake, "answer", bad)
        with pytest.raises(InputError, match=r"did not answer in JSON|gave no answer"):
            client.decide(evidence)


def test_an_outside_model_that_is_not_there_gives_one_line():
    evidence = arbiter.Evidence(("a",), np.array([[0.9]]), np.array([0.4]), np.array([0.3]))
    with pytest.raises(InputError, match="cannot be reached") as caught:
        arbiter_language.Client("http://127.0.0.1:9/", "x").decide(evidence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"specialists": ["a"]}, "nothing to weigh"),
        ({"specialists": ["a", "a"]}, "named twice"),
        ({"specialists": ["a", "b"], "arbiter": "stakker"}, "did you mean 'stacker'"),
        ({"specialists": ["a", "b"], "arbiter": "language"}, "needs an address"),
        ({"specialists": ["a", "b"], "neighbours": 0}, "0 neighbours"),
    ],
)
def test_what_cannot_be_arbitrated_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        arbiter.build(target="x", **options)


def test_votes_of_tables_are_checked(tmp_path):
    cohort = Cohort(tuple(Case(f"c{n}", f"p{n}") for n in range(4)))
    good, bad, short = (tmp_path / f"{name}.csv" for name in ("good", "bad", "short"))
    good.write_text("case,score\nc0,0.1\nc1,0.2\nc2,0.3\n")
    bad.write_text("case,score\nc0,1.5\nc1,0.2\nc2,0.3\n")
    short.write_text("case,score\nc0,0.5\n")
    found = arbiter_votes.gather((str(good), str(good)), cohort)
    assert [item.name for item in found] == ["good-1", "good-2"]
    assert np.isnan(arbiter_votes.matrix(found, ["c3"])).all()
    for path, said in ((bad, "outside 0 to 1"), (short, "votes about 1 of 4"), (tmp_path, "no specialist here")):
        with pytest.raises(InputError, match=said):
            arbiter_votes.gather((str(path), str(good)), cohort)


def test_a_specialist_that_is_not_there_is_named(tmp_path):
    from radfoundry.records import Cohort
    from radfoundry.tasks import arbiter_votes

    with pytest.raises(InputError, match=r"missing: specialist missing is not there: no such file or folder"):
        arbiter_votes.gather((str(tmp_path / "missing"), "b"), Cohort(()))
    with pytest.raises(InputError, match=r"holds neither predictor.json nor predictions.parquet"):
        arbiter_votes.gather((str(tmp_path), "b"), Cohort(()))
