"""Public scans and tables through nested evaluation: frozen encoders beside radiomics, header and tuned rungs.

Run: RADFOUNDRY_DATA=FOLDER python benchmarks/real_scans.py NAME… --work FOLDER [--to FILE.json]
Names: films, mammograms, ultrasound, ultrasound-rungs, heart, hippocampus, breast-table, lung-table. Results are added
to the file; nothing of the scans is written there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from radfoundry import config as settings
from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.stages import benchmark
from radfoundry.tasks import nested, nested_board
from radfoundry.tasks.examples import Examples
from radfoundry.tasks.nested_pipeline import Pipeline, grid

FLAT = [{"name": "intensity", "dimensions": 2}, "radiomics"]
DATA = Path(os.environ.get("RADFOUNDRY_DATA", "."))


def prepared(work: Path, name: str, source: Path, table: pd.DataFrame, *, pattern: str, modality: str) -> str:
    """A cohort made once: read the files that the table names, and label them."""
    cohort = work / name
    if not (cohort / "labels.parquet").exists():
        links, labels = work / f"{name}-files", work / f"{name}.csv"
        for file in table["file"]:
            link = links / Path(file).name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                shrunk(source / file, link)
        shown = table.assign(file=[Path(file).name for file in table["file"]])
        shown.to_csv(labels, index=False)
        key = ["--key-file", str(work / "key")]
        words = ["ingest", str(links), "--to", str(cohort), *key, f"pattern={pattern}", f"modality={modality}"]
        if exit_code(words) or exit_code(["label", str(cohort), str(labels), "--on", "series", *key]):
            raise SystemExit(f"{name} could not be read")
    return str(cohort)


def shrunk(source: Path, place: Path) -> None:
    """A picture with 128 pixels on its longer side, so that all features see the same whole picture; else a link."""
    from PIL import Image

    if source.suffix not in (".jpg", ".png"):
        place.symlink_to(source.resolve())
        return
    with Image.open(source) as picture:
        grey = picture.convert("L")
        grey.thumbnail((128, 128), Image.Resampling.BOX)
        grey.save(place, quality=98) if source.suffix == ".jpg" else grey.save(place)


def compared(cohort: str, to: Path, **asked: Any) -> dict[str, str]:
    """The metrics of one benchmark run as text."""
    given = {"cohort": cohort, "inner_folds": 3, "draws": 1000, "to": str(to), **asked}
    run = benchmark.run(settings.check(benchmark.Config, given))
    return {name: value.text(3) for name, value in run.metrics.items()} | {"notes": "; ".join(run.notes)}


def films(work: Path, to: Path) -> dict[str, str]:
    """Pneumonia, effusion, infiltration and atelectasis on chest films, beside view, age, sex and visit alone."""
    source = DATA / "nih_cxr"
    table = pd.read_csv(source / "manifest.csv")
    findings = ["Pneumonia", "Effusion", "Infiltration", "Atelectasis"]
    table = table[["file", "followup", "age", "sex", "view", *findings]]
    cohort = prepared(work, "films", source, table, pattern=r"(?P<patient>\d{8})_(?P<case>\d{3})", modality="CR")
    known = {"name": "header", "also": ["view", "age", "sex", "followup"]}
    tasks = [{"name": "classify", "target": name} for name in findings]
    return compared(cohort, to, tasks=tasks, encoders=["vit2d-tiny"], against=[*FLAT, known])


def mammograms(work: Path, to: Path) -> dict[str, str]:
    """Density and any abnormality on screening mammograms, two views of a woman together."""
    source = DATA / "mini_mias_mammo"
    table = pd.read_csv(source / "manifest.csv").drop_duplicates("file")
    table["abnormal"] = (table["abnormality"] != "NORM").astype(int)
    # mdb001 and mdb002 are one woman: the number of the pair names her.
    table["dense"] = (table["density"] == "D").astype(int)
    table["file"] = table["file"].astype(str)
    kept = table[["file", "subject", "dense", "abnormal", "side"]]
    renamed = _renamed(work, "mammograms", source, kept)
    cohort = prepared(
        work, "mammograms", renamed[0], renamed[1], pattern=r"(?P<patient>mias\d+)_(?P<case>mdb\d+)", modality="MG"
    )
    tasks = [{"name": "classify", "target": name} for name in ("dense", "abnormal")]
    return compared(cohort, to, tasks=tasks, encoders=["vit2d-tiny"], against=FLAT)


def _renamed(work: Path, name: str, source: Path, table: pd.DataFrame) -> tuple[Path, pd.DataFrame]:
    """Links whose names begin with the patient."""
    folder = work / f"{name}-named"
    folder.mkdir(parents=True, exist_ok=True)
    named = []
    for file, subject in zip(table["file"], table["subject"], strict=True):
        link = folder / f"{subject}_{Path(file).name}"
        if not link.exists():
            link.symlink_to((source / file).resolve())
        named.append(link.name)
    return folder, table.assign(file=named)


def _breasts() -> tuple[Path, pd.DataFrame]:
    source = DATA / "busi_breast_us"
    table = pd.read_csv(source / "manifest.csv")
    table = table[table["near_duplicate_of"].isna() & (table["label"] != "normal")]
    table["malignant"] = (table["label"] == "malignant").astype(int)
    # The files are named by their class, which no pattern may see.
    return source, table[["file", "malignant"]]


def ultrasound(work: Path, to: Path) -> dict[str, str]:
    """Malignant or benign on breast ultrasound; patients are not published, so every image counts as one."""
    source, table = _breasts()
    cohort = prepared(work, "ultrasound", source, table, pattern=r"(?P<patient>\w+_\d+)", modality="US")
    task = {"name": "classify", "target": "malignant"}
    choices = {"head": ["linear", "knn", "svm"], "scaling": ["zscore", "none"]}
    return compared(cohort, to, task=task, encoders=["vit2d-tiny"], against=FLAT, choices=choices)


def ultrasound_rungs(work: Path, to: Path) -> dict[str, str]:
    """The same question climbed: frozen, head, Mona, full and from scratch, two folds, 40 steps."""
    source, table = _breasts()
    cohort = prepared(work, "ultrasound", source, table, pattern=r"(?P<patient>\w+_\d+)", modality="US")
    return compared(
        cohort,
        to,
        task={"name": "classify", "target": "malignant"},
        encoders=["vit2d-tiny"],
        against=["radiomics"],
        choices={"head": ["linear", "head", "mona", "full", "scratch"]},
        tune={"steps": 40, "batch": 12, "inner_folds": 0},
        folds=2,
    )


def heart(work: Path, to: Path) -> dict[str, str]:
    """Failing or not, from single cine slices of 20 patients: what so few patients can show."""
    source = DATA / "cardiac_cine_sunnybrook"
    table = pd.read_csv(source / "manifest.csv")
    table["failing"] = table["group"].str.startswith("HF").astype(int)
    table = table.groupby("subject").head(6)[["file", "failing", "lv_pixels"]]
    pattern = r"(?P<patient>SC-\w+-(?:\w+-)?\d+)-IM-\d+-(?P<case>\d+)"
    cohort = prepared(work, "heart", source, table, pattern=pattern, modality="MR")
    tasks = [{"name": "classify", "target": "failing"}, {"name": "regress", "target": "lv_pixels"}]
    return compared(cohort, to, tasks=tasks, encoders=["vit2d-tiny"], against=FLAT, folds=4)


def hippocampus(work: Path, to: Path) -> dict[str, str]:
    """A small hippocampus, and a large anterior share, from the image alone; labels come from the masks."""
    source = DATA / "msd_hippocampus"
    table = pd.read_csv(source / "manifest.csv")
    total = table["vol_anterior_mm3"] + table["vol_posterior_mm3"]
    table = table.assign(small=(total < total.median()).astype(int), anterior=table["vol_anterior_mm3"] / total)
    table = table[["file", "small", "anterior"]].iloc[::3]
    cohort = prepared(work, "hippocampus", source, table, pattern=r"(?P<patient>hippocampus_\d+)", modality="MR")
    tasks = [{"name": "classify", "target": "small"}, {"name": "regress", "target": "anterior"}]
    bright = {"name": "intensity", "spacing_mm": 1.0}
    return compared(cohort, to, tasks=tasks, encoders=["radfoundry-mri"], against=[bright, "radiomics"])


def columns(table: pd.DataFrame, numbers: list[str], words: list[str]) -> np.ndarray:
    """Numbers with the median where they are missing and a column that says so, and one column per word."""
    made = []
    for name in numbers:
        values = pd.to_numeric(table[name], errors="coerce")
        made += [values.fillna(values.median()).to_numpy(float), values.isna().to_numpy(float)]
    for name in words:
        said = table[name].astype(object).where(table[name].notna(), "unknown").astype(str)
        made += [(said == value).to_numpy(float) for value in sorted(said.unique()) if (said == value).sum() >= 10]
    return np.stack(made, axis=1)


def asked_of(name: str, task: str, kind: str, parts: Mapping[str, np.ndarray], answer: np.ndarray) -> nested.Rows:
    ids = np.array([f"{name}-{number:04d}" for number in range(len(answer))])
    features = np.concatenate(list(parts.values()), axis=1)
    rows = Examples(features, answer, ids, ids, ids, np.arange(len(ids)), ids)
    return nested.Rows("+".join(parts), task, kind, 2 if kind == "binary" else 0, rows, nested.mark_of(rows), {})


def tabled(asked: list[nested.Rows], pipelines: list[Pipeline]) -> dict[str, str]:
    """Nested evaluation of tables: the figure of each group of columns, and what the richest adds to the others."""
    found = nested.evaluate(asked, pipelines, design=nested.Design(folds=5, repeats=2, inner_folds=3))
    said = {}
    for task in dict.fromkeys(one.task for one in asked):
        here = {key: one for key, one in found.items() if key[1] == task}
        own = [one for one in asked if one.task == task]
        truth = {task: (own[0].kind, nested.cases_of(own[0].rows))}
        board = nested_board.board(here, truth, pipelines, draws=1000, seed=0)
        names = [one.encoder for one in own]
        figures = {f"{name}/{board.figure}@{task}": board.estimate((name, "base")) for name in names}
        figures |= {
            f"{names[-1]}-minus-{other}/{board.figure}@{task}": board.difference((names[-1], "base"), (other, "base"))
            for other in names[:-1]
        }
        said |= {key: value.text(3) for key, value in figures.items()}
        said[f"patients@{task}"] = str(len(truth[task][1]))
    return said


def breast_table(work: Path, to: Path) -> dict[str, str]:
    """Triple-negative and recurrence from how the MRI was made, from the patient, and from both."""
    table = pd.read_csv(DATA / "duke_breast_mri_clinical" / "clinical.csv")
    scan = columns(
        table, ["Field Strength (Tesla)", "TR (Repetition Time)", "TE (Echo Time)", "Slice Thickness"], ["Manufacturer"]
    )
    clinical = columns(
        table,
        ["Date of Birth (Days)", "Staging(Tumor Size)# [T]", "Nottingham grade"],
        [
            "Menopause (at diagnosis)",
            "Histologic type",
            "Multicentric/Multifocal",
            "Lymphadenopathy or Suspicious Nodes",
        ],
    )
    parts = {"scanner": scan, "clinical": clinical}
    made = []
    for task, values in (
        ("triple-negative", table["Mol Subtype"] == 3),
        ("recurrence", table["Recurrence event(s)"] == 1),
    ):
        answer = values.to_numpy(int)
        made += [asked_of("duke", task, "binary", {name: part}, answer) for name, part in parts.items()]
        made.append(asked_of("duke", task, "binary", parts, answer))
    return tabled(made, grid({"head": ["linear"]}))


def lung_table(work: Path, to: Path) -> dict[str, str]:
    """Survival of lung cancer from age and sex, from stage, and from both with histology."""
    table = pd.read_csv(DATA / "nsclc_survival" / "lung1_clinical.csv")
    answer = table[["Survival.time", "deadstatus.event"]].to_numpy(float)
    person = columns(table, ["age"], ["gender"])
    stage = columns(table, ["clinical.T.Stage", "Clinical.N.Stage"], ["Overall.Stage", "Histology"])
    made = [
        asked_of("lung", "survival", "survival", parts, answer)
        for parts in ({"person": person}, {"stage": stage}, {"person": person, "stage": stage})
    ]
    return tabled(made, grid({"head": ["linear"]}))


RUNS: dict[str, Callable[[Path, Path], dict[str, str]]] = {
    "films": films,
    "mammograms": mammograms,
    "ultrasound": ultrasound,
    "ultrasound-rungs": ultrasound_rungs,
    "heart": heart,
    "hippocampus": hippocampus,
    "breast-table": breast_table,
    "lung-table": lung_table,
}


def main() -> None:
    """Run the named ones and add what they gave to the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=list(RUNS))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, default=Path("benchmarks/results/real_scans.json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        start = time.process_time()
        to = runs.free_folder(name, within=given.work / "runs")
        said = RUNS[name](given.work, to)
        found = json.loads(given.to.read_text()) if given.to.exists() else {}
        found[name] = {
            "about": (RUNS[name].__doc__ or "").strip(),
            "metrics": said,
            "cpu_seconds": round(time.process_time() - start),
            "machine": f"{platform.machine()}, one thread",
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "versions": runs.versions(),
        }
        given.to.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(name, json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
