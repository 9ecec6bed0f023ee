"""The recipe ct-embedding-ablation runs from DICOM to judged claims; so few patients decide none of them."""

import pytest

from radfoundry import runs
from radfoundry.cli.main import exit_code

FEW = ["scales.tiny.cases=14", "settings.folds=2", "settings.inner_folds=2"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_claim_of_the_ablation_is_judged(tmp_path):
    words = ["run", "ct-embedding-ablation", "--scale", "tiny", *FEW, "--to", str(tmp_path / "run")]
    assert exit_code(words) in (0, 1)
    found = runs.read(tmp_path / "run")
    assert all(found.metrics[f"claim {number}"].defined for number in range(1, 5))
    assert found.metrics["benchmark: radiomics:best-minus-chosen/auroc"].defined
