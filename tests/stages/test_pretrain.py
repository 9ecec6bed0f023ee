"""The verb: from settings to a checkpoint that embeds, interrupted and gone on with, refused where it must be."""

import json
import signal

import pytest
import torch

from radfoundry import config as settings
from radfoundry import registry, runs
from radfoundry.nets import checkpoint
from radfoundry.records import InputError
from radfoundry.stages import pretrain
from radfoundry.train import forecast, loop
from radfoundry.web import report

torch.set_num_threads(1)
SMALL = [
    "encoder=tiny", "batch=2", "check_steps=0", "log_steps=100",
    "objectives=[{name: masked, width: 16}, {name: contrast, width: 16, places: 4}]",
]  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(registry.ENCODERS, "tiny", "pretrain_samples:tiny_encoder")


def asked(folder, *words):
    return settings.load(pretrain.Config, None, [*SMALL, *words, f"to={folder}"])


def test_a_run_gives_a_checkpoint_a_record_and_a_page(tmp_path):
    run = pretrain.run(asked(tmp_path / "r", "steps=2", "check_steps=2", "check_patients=8"))
    encoder = checkpoint.load(tmp_path / "r" / pretrain.ENCODER)
    assert encoder.encode(torch.zeros(1, 1, 16, 16, 16)).pooled.shape[0] == 1
    assert run.metrics["steps"].value == 2 and "probe-position" in run.metrics
    page = report.write_report(tmp_path / "r").read_text()
    assert "What can be read from the features" in page and "nothing here was measured on real ones" in page


def test_the_same_command_gives_the_same_weights(tmp_path):
    for name in "ab":
        pretrain.run(asked(tmp_path / name, "steps=2"))
    assert runs.differences(tmp_path / "a", tmp_path / "b") == []


def test_an_interrupted_run_goes_on_and_ends_like_the_uninterrupted_one(tmp_path):
    pretrain.run(asked(tmp_path / "whole", "steps=4"))

    def interrupt(_what, done, _total, _line):
        if done == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pretrain.run(asked(tmp_path / "parts", "steps=4", "log_steps=1"), progress=interrupt)
    assert not (tmp_path / "parts" / runs.RECORD).exists()
    pretrain.run(asked(tmp_path / "parts", "steps=4", "log_steps=1"))
    whole, parts = (checkpoint.load(tmp_path / name / pretrain.ENCODER) for name in ("whole", "parts"))
    assert checkpoint.fingerprint(whole) == checkpoint.fingerprint(parts)
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_checkpoint_can_be_learned_on_from(tmp_path):
    pretrain.run(asked(tmp_path / "first", "steps=1"))
    start = tmp_path / "first" / pretrain.ENCODER
    pretrain.run(asked(tmp_path / "second", "steps=1", f"encoder={start}"))
    first, second = (checkpoint.load(tmp_path / name / pretrain.ENCODER) for name in ("first", "second"))
    assert checkpoint.fingerprint(first) != checkpoint.fingerprint(second)


@pytest.mark.slow
def test_time_bounds_a_run(tmp_path):
    run = pretrain.run(asked(tmp_path / "r", "minutes=0.01"))
    assert run.metrics["steps"].value >= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "set steps=1000 or minutes=20"),
        (["steps=1", "batch=3", "accumulate=2"], "set batch to a multiple of 2"),
        (["steps=1", "crops.protocols=[T1w, T2]"], "unknown protocol 'T2'"),
        (["steps=1", "objectives=[maskd]"], "did you mean 'masked'"),
        (["steps=1", "encoder=intensity"], "cannot be pretrained"),
        (["steps=1", "objectives=[align]"], "set reports=true"),
        (["steps=1", "device=cuda"], "no device 'cuda' here"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line(words, message, tmp_path):
    if "device=cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=message) as refused:
        pretrain.run(asked(tmp_path / "r", *words))
    assert "\n" not in str(refused.value) and not (tmp_path / "r" / runs.RECORD).exists()


def test_the_forecast_says_time_memory_and_disk_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = pretrain.forecast(asked(tmp_path / "r", "steps=100"))
    assert "s a step of 2 patients on cpu" in lines[0] and "about 100 steps, 200 patients" in lines[1]
    assert "GB of memory" in lines[2] and "MB of disk" in lines[2]
    assert list(tmp_path.iterdir()) == []


def test_workers_shorten_the_forecast_until_the_encoder_is_the_limit():
    found = forecast.Trial(step_seconds=1.0, data_share=0.75, memory_bytes=10**9, state_bytes=10**6)
    said = [forecast.spoken(found, loop.Plan(steps=60, workers=n), patients=8, device="cpu") for n in (0, 1, 3)]
    assert "1.00 s a step" in said[0][0] and "75% of it waiting" in said[0][0] and "set workers=3" in said[0][-1]
    assert "0.75 s a step" in said[1][0] and "0.25 s a step" in said[2][0] and "0% of it waiting" in said[2][0]
    by_time = forecast.spoken(found, loop.Plan(minutes=10), patients=8, device="cpu")
    assert "about 600 steps, 4800 patients, 10 min" in by_time[1]


def test_a_finished_run_is_not_written_over(tmp_path):
    pretrain.run(asked(tmp_path / "r", "steps=1"))
    with pytest.raises(InputError, match="already exists"):
        pretrain.run(asked(tmp_path / "r", "steps=1"))


@pytest.mark.slow
def test_two_processes_through_torchrun(tmp_path):
    words = ["steps=2", "encoder=vit3d-tiny", "crops.size=16"]
    run = pretrain.run(asked(tmp_path / "r", *words, "devices=2"))
    assert run.metrics["steps"].value == 2
    alone = pretrain.run(asked(tmp_path / "one", *words))
    assert run.metrics["last-loss"].value == pytest.approx(alone.metrics["last-loss"].value, abs=1e-3)
    checkpoint.load(tmp_path / "r" / pretrain.ENCODER)


@pytest.mark.slow
def test_reports_are_read(tmp_path):
    words = ["steps=2", "reports=true", "objectives=[{name: align}, {name: concepts}]"]
    run = pretrain.run(asked(tmp_path / "r", *words))
    assert "last-align.found" in run.metrics and (tmp_path / "r" / pretrain.TOKENISER).is_file()
