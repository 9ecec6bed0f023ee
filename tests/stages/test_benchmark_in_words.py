"""From pretraining with reports to questions in words, on unseen simulated studies and on a cohort with reports."""

import shutil

import pytest

from radfoundry import config, runs
from radfoundry.data import report_files
from radfoundry.nets import aligned
from radfoundry.records import InputError
from radfoundry.stages import benchmark, pretrain

pytestmark = pytest.mark.slow
CROPS = {"size": 16, "spacing_mm": [6.0, 6.0], "views": 1, "protocols": ["FLAIR"], "lesion_rate": 0.9, "patients": 8}
SMALL = {
    "encoder": "vit3d-tiny",
    "crops": CROPS,
    "text": {"width": 32, "depth": 1, "length": 48, "tokens": 300},
    "batch": 4,
    "steps": 2,
    "check_steps": 0,
    "reports": True,
}


def learned(folder, *objectives, **more):
    asked = {**SMALL, "objectives": list(objectives), "to": str(folder), **more}
    return pretrain.run(config.check(pretrain.Config, asked, where="pretrain"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("in-words")
    learned(place / "1-pretrain", {"name": "align", "width": 16}, {"name": "concepts", "width": 16})
    learned(place / "2-pretrain", {"name": "align", "width": 16}, encoder=str(place / "1-pretrain/encoder.safetensors"))
    return place


def ask(folder, to, **more):
    encoders = [str(folder / name / "encoder.safetensors") for name in ("1-pretrain", "2-pretrain")]
    asked = {"cohort": "simulated", "encoders": encoders[:1], "against": encoders[1:], "patients": 24, "crops": CROPS}
    return benchmark.run(config.check(benchmark.Config, {**asked, "to": str(to), **more}, where="benchmark"))


def test_the_text_side_lies_beside_the_encoder_and_is_gone_on_from(folder):
    first, second = (
        aligned.open_aligned(folder / name / "encoder.safetensors") for name in ("1-pretrain", "2-pretrain")
    )
    assert first.side.sizes.local == 16 and second.side.sizes.local == 0
    assert first.tokeniser == second.tokeniser and second.side.sizes.text_width == 32
    fresh = aligned.TextSide(second.side.sizes)
    gap = [(first.said(["mass"]) - side).abs().max() for side in (second.said(["mass"]),)]
    assert gap[0] < 0.5 and fresh.sizes.length == 48


@pytest.mark.parametrize("task", ["retrieve", "zero-shot", "point"])
def test_unseen_studies_are_asked_and_encoders_compared(folder, tmp_path, task):
    run = ask(folder, tmp_path / "run", task=task)
    main = {"retrieve": "recall@10", "zero-shot": "zero-shot-auroc", "point": "pointing-hit"}[task]
    for name in (f"1-pretrain/{main}", f"2-pretrain/{main}", f"1-pretrain-minus-2-pretrain/{main}"):
        assert run.metrics[name].low <= run.metrics[name].high
    assert runs.read(tmp_path / "run").metrics.keys() == run.metrics.keys()
    again = ask(folder, tmp_path / "again", task=task)
    assert again.metrics[f"1-pretrain/{main}"] == run.metrics[f"1-pretrain/{main}"]


def test_an_encoder_without_a_text_side_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="no text side"):
        ask(folder, tmp_path / "run", task="retrieve", against=["intensity"])


def test_a_cohorts_own_reports_are_learned_from_and_asked_about(simulated_cohort, tmp_path):
    cohort = str(shutil.copytree(simulated_cohort / "cohort", tmp_path / "cohort"))
    with pytest.raises(InputError, match="no reports"):
        learned(tmp_path / "none", {"name": "align"}, cohort=cohort, simulated=0.0)
    texts = simulated_cohort / "simulation" / "reports"
    found = report_files.add(cohort, texts, key_file=simulated_cohort / "key")
    assert found["exams"] == 12 and found["unplaced"] == 0
    for name, shuffled in (("1-pretrain", False), ("2-pretrain", True)):
        learned(tmp_path / name, {"name": "align", "width": 16}, cohort=cohort, simulated=0.0, shuffle_reports=shuffled)
    task = {"name": "zero-shot", "findings": {"tumour": "lesion_present"}}
    run = ask(tmp_path, tmp_path / "run", cohort=cohort, task=task, test_on={"sequence": "FLAIR"})
    assert run.metrics["1-pretrain/zero-shot-auroc"].n == 12
    with pytest.raises(InputError, match="too few"):
        ask(tmp_path, tmp_path / "other", cohort=cohort, task="retrieve")
