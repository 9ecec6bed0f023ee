"""An index of features on disk: a folder that finds the most alike images of other patients for a new scan."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radfoundry import registry, runs
from radfoundry.config import Component
from radfoundry.nets import embedding
from radfoundry.nets.embedding import Embeddings
from radfoundry.records import Cohort, InputError, counted
from radfoundry.tasks import similar

FOLDER, RECORD = "index", "index.json"
VECTORS, ROWS, ENCODER = "vectors.safetensors", "rows.parquet", "encoder.safetensors"
FORMAT = 1
ENGINES = ("exact", "faiss")
KEYS = ("series", "case", "patient", "site", "sequence", "content")
LABEL = "label "


@dataclass(frozen=True, eq=False)
class Index:
    """Features of length one, what scaled them, and whose they are.

    `vectors` (n, width); `centre`, `spread` (width,); `rows`: columns of n (series, case, patient, site, sequence,
    content and `label NAME`); `about`: encoder, fingerprints and versions.
    """

    vectors: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    rows: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.vectors)

    def scaled(self, features: np.ndarray) -> np.ndarray:
        """(n, width) raw features as unit vectors on the index's scale; refused when the width is another."""
        if features.ndim != 2 or features.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"features {features.shape} for an index of width {self.vectors.shape[1]}",
                remedy="use the encoder the index was made with",
            )
        return similar.unit((features - self.centre) / self.spread)


def build(cohort: Cohort, table: Embeddings, component: Component) -> Index:
    """The index of a cohort's features, with its labels beside; refused for fewer than two images."""
    if len(table.series) < 2:
        raise InputError(
            counted(len(table.series), "image"), where="index", remedy="index at least two", finding="too-few"
        )
    features = table.vectors.astype(np.float32)
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0).astype(np.float32)
    fields = {"series": "key", **{name: name for name in KEYS[1:]}}
    rows = {
        name: np.array([str(getattr(item, field) or "") for item in table.series]) for name, field in fields.items()
    }
    labels = {case.key: case.labels for case in cohort.cases}
    for name in sorted({name for known in labels.values() for name in known}):
        known = [labels[item.case].get(name) for item in table.series]
        rows[f"{LABEL}{name}"] = np.array(["" if value is None else str(value) for value in known])
    about = {
        "format": FORMAT,
        "encoder": {"name": component.name, "options": component.options, "called": table.encoder},
        "fingerprint": table.fingerprint,
        "preparation": table.plan,
        "cohort": cohort.fingerprint,
        "images": len(table.series),
        "width": int(features.shape[1]),
        "versions": runs.versions(),
    }
    return Index(similar.unit((features - centre) / spread), centre, spread, rows, about)


def write(index: Index, folder: Path) -> None:
    """Write an index into a folder that is there only when it is whole; an encoder that came from a file goes along."""
    import pandas as pd
    from safetensors.numpy import save_file

    if folder.exists():
        raise InputError("already exists", where=str(folder), remedy="choose another name", finding="exists")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    about = dict(index.about)
    if about["encoder"]["name"].endswith(".safetensors"):
        shutil.copyfile(about["encoder"]["name"], partial / ENCODER)
        about["encoder"] = {**about["encoder"], "name": ENCODER}
    save_file({"vectors": index.vectors, "centre": index.centre, "spread": index.spread}, str(partial / VECTORS))
    pd.DataFrame(dict(index.rows)).to_parquet(partial / ROWS, index=False)
    about["files"] = {path.name: runs.digest_file(path) for path in sorted(partial.iterdir())}
    runs.write_json(partial / RECORD, about)
    partial.rename(folder)


def read(path: str | Path) -> Index:
    """The index in a folder, or in the run folder of `radfoundry embed`; refuses missing and changed files."""
    import pandas as pd
    from safetensors.numpy import load_file

    folder = Path(path)
    folder = folder / FOLDER if (folder / FOLDER / RECORD).is_file() else folder
    about = _record(folder)
    runs.check_files(folder, about["files"], remedy="make it again")
    arrays = load_file(str(folder / VECTORS))
    table = pd.read_parquet(folder / ROWS)
    rows = {str(name): table[name].to_numpy(str) for name in table.columns}
    return Index(arrays["vectors"], arrays["centre"], arrays["spread"], rows, {**about, "folder": str(folder)})


def _record(folder: Path) -> dict[str, Any]:
    remedy = "give the folder that radfoundry embed wrote"
    try:
        about = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        known, _ = about["format"], about["files"]
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("no index here", where=str(folder), remedy=remedy, finding="not-an-index") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise InputError("its record is damaged", where=str(folder / RECORD), remedy=remedy) from None
    if known != FORMAT:
        raise InputError(f"index format {known} is not {FORMAT}", where=str(folder), remedy="make it again")
    return about


def open_encoder(index: Index) -> Any:
    """The encoder an index was made with; refused when its weights are no longer the same."""
    from radfoundry.nets import checkpoint

    asked = index.about["encoder"]
    name = str(Path(index.about["folder"]) / ENCODER) if asked["name"] == ENCODER else asked["name"]
    encoder = embedding.open_encoder(Component(name=name, **asked["options"]))
    if checkpoint.fingerprint(encoder) != index.about["fingerprint"]:
        raise InputError(
            f"encoder {asked['called']} has other weights than when the index was made",
            where=index.about["folder"],
            remedy="make the index again",
            finding="encoder",
        )
    return encoder


@dataclass(frozen=True, eq=False)
class Asked:
    """New images: raw features (n, width), and what tells their own patient: pseudonym and content of the pixels."""

    features: np.ndarray
    patient: np.ndarray
    content: np.ndarray


def search(index: Index, asked: Asked, *, count: int, engine: str = "exact") -> tuple[np.ndarray, np.ndarray]:
    """(n, count) places in the index and cosines, best first; -1 where too few others are left.

    Images of the same patient are never given back, nor an image with the same pixels (a patient under another name).
    `engine`: exact compares with every vector here; faiss does the same in its library (extra `retrieval`).
    """
    if engine not in ENGINES:
        raise registry.unknown("engine", engine, ENGINES)
    if count < 1:
        raise InputError(f"{count} neighbours", where="nearest", remedy="at least 1")
    queries = index.scaled(asked.features)
    own = np.unique(np.concatenate([index.rows["patient"], asked.patient]), return_inverse=True)[1]
    owners = own[: len(index)], own[len(index) :]
    # Room for images that are then left out: the same pixels may lie in the index more than once.
    content = index.rows["content"]
    same = [np.flatnonzero(content == own) if own else np.zeros(0, int) for own in asked.content]
    room = count + max((len(places) for places in same), default=0)
    find = _by_faiss if engine == "faiss" else similar.nearest
    places, likeness = find(index.vectors, queries, count=min(room, len(index)), owners=owners)
    kept = [~np.isin(row, copies) & (row >= 0) for row, copies in zip(places, same, strict=True)]
    width = min(count, places.shape[1])
    found = np.full((len(queries), width), -1), np.full((len(queries), width), -np.inf, np.float32)
    for number, keep in enumerate(kept):
        chosen = np.flatnonzero(keep)[:width]
        found[0][number, : len(chosen)] = places[number, chosen]
        found[1][number, : len(chosen)] = likeness[number, chosen]
    return found


def _by_faiss(
    vectors: np.ndarray, queries: np.ndarray, *, count: int, owners: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The same answer from the library faiss, asked for as many more as a patient has images."""
    if importlib.util.find_spec("faiss") is None:
        raise InputError(
            "the library faiss is not installed",
            where="engine=faiss",
            remedy="pip install 'radfoundry[retrieval]', or engine=exact",
            finding="missing-extra",
        )
    faiss = importlib.import_module("faiss")

    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(np.ascontiguousarray(vectors))
    sizes = np.bincount(owners[0], minlength=int(max(owners[0].max(), owners[1].max())) + 1)
    room = min(len(vectors), count + int(sizes[owners[1]].max()))
    likeness, places = flat.search(np.ascontiguousarray(queries), room)
    foreign = (owners[0][places] != owners[1][:, None]) & (places >= 0)
    order = np.lexsort((places, -likeness, ~foreign), axis=1)[:, :count]
    there = np.take_along_axis(foreign, order, axis=1)
    return (
        np.where(there, np.take_along_axis(places, order, axis=1), -1),
        np.where(there, np.take_along_axis(likeness, order, axis=1), -np.inf),
    )
