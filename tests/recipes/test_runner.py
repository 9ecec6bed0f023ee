"""The recipe runner: plans cost nothing, steps are kept, claims and controls decide the exit code."""

import json
import shutil

import pytest
import yaml

from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.recipes import forecast, runner
from radfoundry.records import InputError

RECIPE = {
    "about": "Is age written in brightness?",
    "source": {"paper": "none", "claim": "a test of the runner"},
    "cohort": {"path": "cohort"},
    "seed": 1,
    "settings": {
        "task": "age",
        "encoders": ["intensity"],
        "head": {"name": "ridge", "strengths": [1.0]},
        "folds": 3,
        "train_on": {"sequence": "FLAIR"},
    },
    "steps": [
        {"adapt": {"encoder": "intensity"}},
        {"benchmark": {"against": [{"name": "intensity", "spacing_mm": 6.0}]}},
    ],
    "expect": [{"metric": "mae", "of": "intensity", "low_above": 0.0}],
    "controls": [{"permute": "labels", "expect": {"metric": "r2", "of": "intensity", "high_below": 1.0}}],
    "scales": {"tiny": {}, "full": {"cohort": "user"}},
}


def write(path, **changes):
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return str(path)


@pytest.fixture(scope="module")
def cohort(simulated_cohort, tmp_path_factory):
    # A copy: embeddings are kept beside the cohort, and the shared one is read by other processes.
    return str(shutil.copytree(simulated_cohort / "cohort", tmp_path_factory.mktemp("recipes") / "cohort"))


@pytest.mark.parametrize("name", runner.names())
@pytest.mark.parametrize("scale", ["tiny", "small"])
def test_every_shipped_recipe_is_valid_at_every_scale(name, scale):
    lines = runner.plan(runner.scaled(runner.load(name), scale))
    assert any(line.startswith("expect") for line in lines) and any(line.startswith("control") for line in lines)


def test_a_simulated_cohort_may_be_asked_for_with_options():
    recipe = runner.scaled(runner.load("label-budget"), "tiny")
    assert "kinds=['tumour']" in runner.plan(recipe)[0]
    assert "60 cases, 120 series" in forecast.forecast(recipe)[0]


def test_a_forecast_costs_seconds_not_minutes():
    lines = forecast.forecast(runner.scaled(runner.load("frozen-probe"), "tiny"))
    assert "min here for" in lines[0] and "vit3d-tiny" in lines[0]


def test_a_forecast_knows_small_pictures_every_cohort_and_the_encoders_options():
    lines = forecast.forecast(runner.scaled(runner.load("knee-three-models"), "tiny"))
    minutes = int(lines[0].split("about ")[1].split(" min")[0])
    assert "700 cases, 2100 series" in lines[0] and "conv2d-tiny side=32" in lines[0] and minutes < 20
    assert "vit3d-tiny" not in lines[0]  # the default of a benchmark that pairs finished runs
    assert lines[1] == "forecast: about 78 MB of disk"


def test_a_recipe_runs_is_resumed_and_is_repeated_bit_for_bit(tmp_path, cohort, capsys):
    path = write(tmp_path / "mine.yaml", cohort={"path": cohort})
    folder = tmp_path / "run"
    assert exit_code(["run", path, "--to", str(folder)]) == 0
    run = runs.read(folder)
    assert run.stage == "recipe" and any(note == "claims met: 2 of 2" for note in run.notes)
    stamp = (folder / "steps" / "1-adapt" / "run.json").stat().st_mtime_ns
    assert exit_code(["run", path, "--to", str(folder)]) == 0
    assert (folder / "steps" / "1-adapt" / "run.json").stat().st_mtime_ns == stamp
    assert exit_code(["rerun", str(folder), "--to", str(tmp_path / "again")]) == 0
    assert "identical" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    assert "Is age written in brightness?" in page and "permuted" in page


def test_a_claim_that_does_not_hold_is_exit_1(tmp_path, cohort):
    path = write(
        tmp_path / "bold.yaml",
        cohort={"path": cohort},
        steps=[{"adapt": {"encoder": "intensity"}}],
        expect=[{"metric": "mae", "high_below": 0.0}],
        controls=[{"permute": "labels", "expect": {"metric": "r2", "high_below": 1.0}}],
    )
    assert exit_code(["run", path, "--to", str(tmp_path / "run")]) == 1
    blocks = json.loads((tmp_path / "run" / "blocks.json").read_text())
    claims = next(block for block in blocks if block["kind"] == "claims")
    assert [row["met"] for row in claims["rows"]] == [False, True]


def test_a_folder_with_other_work_is_refused(tmp_path, cohort):
    path = write(tmp_path / "mine.yaml", cohort={"path": cohort})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    assert exit_code(["run", path, "--to", str(tmp_path / "run")]) == 2
    assert [item.name for item in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expect": []}, "expect"),
        ({"controls": []}, "controls"),
        ({"steps": [{"adapt": {"encodr": "intensity"}}]}, "did you mean 'encoder'"),
        ({"steps": [{"adopt": {}}]}, "did you mean 'adapt'"),
        ({"extra": 1}, "unknown key"),
        ({"cohort": {"simulate": "brian-multisequence"}}, "brain-multisequence"),
        ({"cohort": {"simulate": {"name": "brain-multisequence", "kinds": ["tumor"]}}}, "tumour"),
        ({"cohort": {}}, "neither simulate nor path"),
    ],
)
def test_wrong_recipes_are_refused_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        runner.plan(runner.scaled(runner.load(write(tmp_path / "mine.yaml", **changes)), "tiny"))


def test_the_users_own_cohort_is_asked_for():
    with pytest.raises(InputError, match=r"cohort\.path"):
        runner.scaled(runner.load("frozen-probe"), "full")
    chosen = runner.scaled(runner.load("frozen-probe", ["cohort.path=mine"]), "full")
    assert runner.plan(chosen)[0] == "use the cohort in mine"


def test_the_recipes_own_encoder_is_named_pretrained(tmp_path):
    path = write(
        tmp_path / "mine.yaml",
        steps=[
            {"pretrain": {"encoder": "vit3d-tiny", "steps": 5}},
            {"benchmark": {"encoders": ["pretrained"], "against": ["vit3d-tiny"]}},
        ],
        expect=[{"metric": "mae", "of": "pretrain", "beats": "vit3d-tiny", "low_above": 0.0}],
    )
    recipe = runner.load(path)
    lines = runner.plan(recipe)
    assert any("steps/1-pretrain/encoder.safetensors" in line for line in lines if line.startswith("benchmark"))
    # The simulated patients it learns from are its own stream, not those it is judged on, unless that is asked for.
    (first,) = recipe.steps[0].values()
    assert runner.step_config("pretrain", first, recipe, cohort="brains").cohort is None
    assert runner.step_config("pretrain", {**first, "cohort": "here"}, recipe, cohort="brains").cohort == "brains"
    asked = {"encoders": [{"name": "pretrained"}, "vit3d-tiny"], "task": "age"}
    found = runner.with_pretrained(asked, recipe, tmp_path)
    assert found["encoders"] == [{"name": str(tmp_path / "1-pretrain" / "encoder.safetensors")}, "vit3d-tiny"]
    with pytest.raises(InputError, match="no step makes"):
        runner.with_pretrained(asked, runner.load("frozen-probe"), tmp_path)
