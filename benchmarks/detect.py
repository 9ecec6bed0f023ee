"""Detection on real films: boxes of pneumonia on chest films, circles of lesions on mammograms.

    RADFOUNDRY_DATA=FOLDER python benchmarks/detect.py [films|mammograms …] --work FOLDER [--steps 150] [--seeds 0 1]

A network from scratch learns from half of the patients' boxes, and the same network from their image labels; both mark
the films of the other half. Every seed draws the halves anew. Results are added to the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from radfoundry import config as settings
from radfoundry import runs
from radfoundry.cli.main import exit_code
from radfoundry.stages import adapt

DATA = Path(os.environ.get("RADFOUNDRY_DATA", "."))
OTHERS = 120
PATTERNS = {"films": r"(?P<patient>nih\d+)_(?P<case>\d+)", "mammograms": r"(?P<patient>mias\d+)_(?P<case>mdb\d+)"}


def text_of(rows: pd.DataFrame) -> str:
    """Boxes as a label states them."""
    return "; ".join(" ".join(f"{value:.1f}" for value in row) for row in rows.to_numpy(float)) or "normal"


def films() -> pd.DataFrame:
    """Films with a box of pneumonia, and films of other patients without pneumonia: patient, file, boxes."""
    source = DATA / "nih_cxr"
    table, boxes = pd.read_csv(source / "manifest.csv"), pd.read_csv(source / "boxes.csv")
    boxes = boxes[boxes["finding"] == "Pneumonia"]
    corners = pd.DataFrame({"file": boxes["file"], "x0": boxes["x_288"], "y0": boxes["y_288"]})
    corners["x1"], corners["y1"] = corners["x0"] + boxes["w_288"], corners["y0"] + boxes["h_288"]
    said = {file: text_of(rows.drop(columns="file").clip(0, 288)) for file, rows in corners.groupby("file")}
    ill = table[table["file"].isin(list(said))]
    clear = table[(table["Pneumonia"] == 0) & ~table["subject"].isin(ill["subject"])]
    clear = clear.drop_duplicates("subject").sample(OTHERS, random_state=0)
    chosen = pd.concat([ill, clear])
    named = "nih" + chosen["file"].str.extract(r"(\d+)_")[0] + "_" + chosen["file"].str.extract(r"_(\d+)\.")[0]
    kept = chosen.assign(named=named + ".jpg", boxes=[said.get(file, "normal") for file in chosen["file"]])
    return kept.assign(source=[source / file for file in kept["file"]])[["source", "named", "boxes"]]


def mammograms() -> pd.DataFrame:
    """Mammograms with a circle round a lesion, and normal ones: patient, file, the squares round the circles."""
    from PIL import Image

    source = DATA / "mini_mias_mammo"
    table = pd.read_csv(source / "manifest.csv")
    table = table[(table["abnormality"] == "NORM") | table["radius"].notna()]
    rows = []
    for file, own in table.groupby("file"):
        with Image.open(source / str(file)) as picture:
            width, height = picture.size
        drawn = own.dropna(subset=["radius"])
        corners = pd.DataFrame(
            {
                "x0": (drawn["cx"] - drawn["radius"]).clip(0, width - 1),
                "y0": (drawn["cy"] - drawn["radius"]).clip(0, height - 1),
                "x1": (drawn["cx"] + drawn["radius"]).clip(1, width),
                "y1": (drawn["cy"] + drawn["radius"]).clip(1, height),
            }
        )
        rows.append(
            {
                "source": source / str(file),
                "named": f"{own['subject'].iloc[0]}_{Path(str(file)).name}",
                "boxes": text_of(corners),
            }
        )
    return pd.DataFrame(rows)


SETS = {"films": films, "mammograms": mammograms}


def prepared(work: Path, name: str) -> str:
    """A cohort with boxes as labels, made once."""
    cohort = work / f"{name}-boxes"
    if (cohort / "labels.parquet").exists():
        return str(cohort)
    table = SETS[name]()
    links = work / f"{name}-boxes-files"
    links.mkdir(parents=True, exist_ok=True)
    for source, named in zip(table["source"], table["named"], strict=True):
        if not (links / named).exists():
            (links / named).symlink_to(Path(source).resolve())
    labels = work / f"{name}-boxes.csv"
    table.rename(columns={"named": "file"})[["file", "boxes"]].to_csv(labels, index=False)
    key = ["--key-file", str(work / "key")]
    modality = "CR" if name == "films" else "MG"
    words = ["ingest", str(links), "--to", str(cohort), *key, f"pattern={PATTERNS[name]}", f"modality={modality}"]
    if exit_code(words) or exit_code(["label", str(cohort), str(labels), "--on", "case", *key]):
        raise SystemExit(f"{name} could not be read")
    return str(cohort)


def measured(cohort: str, to: Path, *, steps: int, seed: int) -> dict[str, str]:
    """One training on half of the patients, tested on the others."""
    given: dict[str, Any] = {
        "cohort": cohort,
        "task": {"name": "detect", "boxes": "boxes", "grid": {"side": 128}},
        "head": "trunk",
        "rung": "full",
        "tune": {"steps": steps, "batch": 16},
        "folds": 2,
        "seed": seed,
        "to": str(to),
    }
    run = adapt.run(settings.check(adapt.Config, given))
    return {name: value.text(3) for name, value in run.metrics.items()} | {"notes": "; ".join(run.notes)}


def main() -> None:
    """Every set and seed named; what is in the file already is not computed again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "detect.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names:
        cohort = prepared(given.work, name)
        for seed in given.seeds:
            entry = f"{name}, {given.steps} steps, seed {seed}"
            found = json.loads(given.to.read_text()) if given.to.exists() else {}
            if entry in found:
                continue
            start = time.process_time()
            to = runs.free_folder(f"detect-{name}-{seed}", within=given.work / "runs")
            said = measured(cohort, to, steps=given.steps, seed=seed)
            found[entry] = {
                "metrics": said,
                "cpu_seconds": round(time.process_time() - start),
                "machine": f"{platform.machine()}, one thread",
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "versions": runs.versions(),
            }
            runs.write_json(given.to, found)
            print(entry, json.dumps(said, indent=1))


if __name__ == "__main__":
    main()
