"""How well the rules of `radfoundry.text` read real chest radiograph reports, finding by finding.

The folder is taken from RADFOUNDRY_DATA: `iu_cxr_reports` with reports.parquet and findings_gold14.csv (the Indiana
University reports with gold labels of 14 findings, published with NegBio). The words and rules were written on the
reports that are neither flagged as NegBio's test set nor in the part `val` (1,680). Those flagged (552) and the others
of `val` (584) were not looked at; the figures are theirs. What is said with doubt counts as absent, as in NegBio.
Hernia has no positive label although reports name hiatal hernias, so that it is left out.
"""

import json
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

from radfoundry import runs
from radfoundry.tasks.drafts_scores import finding_scores
from radfoundry.text.compare import table
from radfoundry.text.findings import read, verdicts

RESULT = Path(__file__).parent / "results" / "reports.json"
FINDINGS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Effusion": "pleural-effusion",
    "Infiltration": "infiltration",
    "Mass": "mass",
    "Nodule": "lung-nodule",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Consolidation": "consolidation",
    "Edema": "pulmonary-oedema",
    "Emphysema": "emphysema",
    "Fibrosis": "fibrosis",
    "Pleural_Thickening": "pleural-thickening",
}


def said(row: pd.Series) -> dict:
    """What the rules read in one report."""
    text = f"FINDINGS: {row.findings or ''}\nIMPRESSION: {row.impression or ''}"
    return verdicts(read(text, region="chest"))


def main() -> None:
    folder = os.environ.get("RADFOUNDRY_DATA")
    if not folder:
        print("set RADFOUNDRY_DATA; the committed result stays as it is")
        return
    place = Path(folder) / "iu_cxr_reports"
    reports = pd.read_parquet(place / "reports.parquet").set_index("uid")
    gold = pd.read_csv(place / "findings_gold14.csv").set_index("uid")
    flagged, held = gold.negbio_testset == 1, gold.split == "val"
    parts = {
        "written on": gold[~flagged & ~held],
        "NegBio test set": gold[flagged],
        "other reports not looked at": gold[held & ~flagged],
    }
    result: dict = {"counts": {name: len(rows) for name, rows in parts.items()}, "scores": {}}
    for name, rows in parts.items():
        started = time.process_time()
        found = [said(reports.loc[uid]) for uid in rows.index]
        seconds = time.process_time() - started
        columns = list(FINDINGS)
        scores = finding_scores(
            rows[columns].to_numpy() == 1, table(found, list(FINDINGS.values()), roll_up=False), columns
        )
        result["scores"][name] = scores
        result.setdefault("milliseconds a report", {})[name] = round(1000 * seconds / len(rows), 2)
        print(name, len(rows), {key: str(value["f1"]) for key, value in scores.items()})
    result["versions"] = runs.versions()
    RESULT.write_text(json.dumps(runs.plain(result), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
