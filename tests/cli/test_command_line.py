"""The command line: answers at once, says one clear line, and ends with the right code."""

import json
import subprocess
import sys

import pytest

from radfoundry.cli import main as entry
from radfoundry.cli.main import COMMANDS, exit_code
from radfoundry.records import InputError


def test_help_lists_every_command_and_loads_nothing_heavy():
    code = (
        "import sys; from radfoundry.cli.main import exit_code; exit_code(['--help']); "
        "print([m for m in ('torch', 'numpy', 'pandas', 'pydantic', 'yaml') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in COMMANDS)
    assert done.stderr.strip() == "[]"


def test_help_of_a_verb_does_not_load_torch():
    code = (
        "import sys; from radfoundry.cli.main import exit_code; exit_code(['adapt', '--help']); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"
    assert "permute_labels=False" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    assert exit_code([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "did you mean 'list'"),
        (["adapt", "folds=1", "hed=knn"], "4 to mend"),
        (["adapt", "nowhere.yaml"], "no such file"),
        (["adapt", "cohort=nowhere", "task=age"], "nowhere"),
        (["adapt", "--tto", "x"], "--tto"),
        (["run", "frozen-prob"], "did you mean 'frozen-probe'"),
        (["run", "frozen-probe", "--scale", "tinny"], "did you mean 'tiny'"),
        (["run", "frozen-probe", "--scale", "full"], "cohort.path"),
        (["check", "frozen-probe", "settings.folds=one"], "folds"),
        (["rerun", "nowhere"], "not a run folder"),
        (["compare", "nowhere", "nowhere"], "not a run folder"),
        (["show", "cohort", "nowhere"], "nowhere"),
        (["list", "encoder"], "did you mean 'encoders'"),
        (["stats", "nowhere.csv", "--target", "a", "--score", "b"], "no such file"),
        (["ingest", "nowhere", "--to", "x"], "nowhere"),
        (["label", "nowhere", "labels.csv"], "nowhere"),
        (["split", "nowhere", "--by", "site", "--test", "0.2"], "--test does not go with --by site"),
        (["split", "nowhere", "--by", "site"], "--by site: --test-sites is missing"),
        (["split", "nowhere", "--by", "date"], "--by date: --test-from is missing"),
        (["simulate", "--cohort", "brain", "--to", "x"], "brain"),
    ],
)
def test_mistakes_are_one_clear_line_and_exit_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exit_code(words) == 2
    shown = capsys.readouterr().err.strip()
    assert said in shown and len(shown.splitlines()) == 1 and shown.startswith("radfoundry: ")
    assert list(tmp_path.iterdir()) == []


def failing(error):
    def command(**_):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("gap", where="series 1", remedy="repair it"), 2, "radfoundry: series 1: gap; repair it"),
        (OSError(28, "No space left on device", "x.json"), 2, "x.json: no space left to write"),
        (PermissionError(13, "Permission denied", "x.json"), 2, "x.json: permission denied"),
        (KeyboardInterrupt(), 130, "the same command again goes on from what is finished"),
        (ZeroDivisionError("secret patient name"), 3, "internal error at test_command_line.py"),
    ],
)
def test_errors_become_codes(error, code, said, capsys, monkeypatch):
    monkeypatch.setattr(entry.group, "main", failing(error))
    assert exit_code(["list"]) == code
    shown = capsys.readouterr().err
    assert said in shown and "secret" not in shown and "Traceback" not in shown


def test_lists_as_json(capsys):
    assert exit_code(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert "frozen-probe" in listed["recipes"] and "vit3d-tiny" in listed["encoders"]


def test_doctor_sees_this_installation(capsys):
    assert exit_code(["doctor", "--json"]) == 0
    checks = {row["check"]: row for row in json.loads(capsys.readouterr().out)}
    assert checks["no torchvision"]["good"]


def test_doctor_names_a_harmful_package(capsys, monkeypatch):
    from radfoundry.cli import doctor

    real = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: object() if name == "timm" else real(name))
    assert exit_code(["doctor"]) == 2
    assert "pip uninstall timm" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell, capsys):
    assert exit_code(["completion", shell]) == 0
    assert "_RADFOUNDRY_COMPLETE" in capsys.readouterr().out


def test_stats_prints_numbers_with_their_doubt(tmp_path, capsys):
    path = tmp_path / "p.csv"
    rows = "".join(f"{i % 2},{(i * 7 % 10) / 10 + (i % 2) * 0.3},{(i * 3 % 10) / 10},p{i // 2}\n" for i in range(60))
    path.write_text("truth,first,second,patient\n" + rows)
    words = ["stats", str(path), "--target", "truth", "--score", "first", "--against", "second", "--patient", "patient"]
    assert exit_code(words) == 0
    shown = capsys.readouterr().out
    assert "auroc" in shown and "first minus second" in shown
    assert exit_code([*words, "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert all({"value", "low", "high", "n"} <= row.keys() for row in parsed["rows"])


@pytest.mark.parametrize(
    ("content", "said"), [("truth,score\n", "no rows"), ("truth,score\n1,a\n", "numbers"), ("x\n1\n", "no column")]
)
def test_stats_refuses_tables_it_cannot_judge(content, said, tmp_path, capsys):
    path = tmp_path / "p.csv"
    path.write_text(content)
    assert exit_code(["stats", str(path), "--target", "truth", "--score", "score"]) == 2
    assert said in capsys.readouterr().err


def test_short_options_of_simulate_keep_the_options_of_the_cohort(tmp_path, capsys):
    command = ["simulate", "--cohort", "knee-mri", "cohort.findings=[fractur]", "--cases", "1", "--to"]
    assert exit_code([*command, str(tmp_path / "made")]) == 2
    assert "no region here has fractur" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_stats_reads_tables_as_spreadsheets_write_them(tmp_path, capsys):
    rows = "".join(f"{number % 2};0,{number + 10}\n" for number in range(20))
    (tmp_path / "t.csv").write_text(f"\ufefftruth;score\n{rows}", encoding="utf-8")
    assert exit_code(["stats", str(tmp_path / "t.csv"), "--target", "truth", "--score", "score"]) == 0
    assert "auroc" in capsys.readouterr().out


def test_two_runs_without_a_common_measure_say_so(tmp_path, capsys):
    from radfoundry import runs
    from radfoundry.records import Estimate

    for name, measure in (("a", "auroc"), ("b", "mae")):
        with runs.writing("adapt", {"what": name}, to=tmp_path / name) as writer:
            writer.metrics[measure] = Estimate(0.5, 0.4, 0.6)
    assert exit_code(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert "no measure stands in both" in said and "setting what: a against b" in said
