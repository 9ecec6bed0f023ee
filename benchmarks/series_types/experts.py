"""Header and pixels as a product of experts, calibrated on real images with the tested set left out.

python benchmarks/series_types/experts.py BANK.npz …    (banks: make_bank.py; RADFOUNDRY_DATA names the real sets)

The header's expert is the shipped classifier without pixels. The pixels' expert is a logistic reader of style, tissue
brightness and statistics, taught by simulated images and by the real images of all other sets, so that no set, vendor
or patient that is tested has taught it. Its answer under equal shares of the types multiplies the header's, to a power
that is set on pairs of the other sets' images with headers looked at before. Tested are the pairs of
benchmarks/curate_types.py: real pixels beside headers that were not looked at, a share of the tags missing or wrong.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
import compare
import real
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from curate_types import DAMAGES, _short, looked_at, paired_table
from radfoundry.data.series_types import SEQUENCES
from radfoundry.nets.series_pixels import PARTS, pixel_features
from radfoundry.nets.series_typing import bundled_judge
from radfoundry.simulate.series_headers import listed
from radfoundry.stats.comparisons import mean_difference
from radfoundry.stats.proportions import clustered_proportion
from radfoundry.train.series_bank import SeriesTable, read_banks
from radfoundry.train.series_types import damaged, inputs_of

USED = PARTS["style"] + PARTS["tissues"] + PARTS["statistics"]  # what is left out is the anatomy
POWERS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
PENALTY, SHARE_OF_REAL, LEAST = 0.1, 0.5, 0.1
FAR = 4.0


@dataclass(frozen=True, eq=False)
class Pictures:
    """Real images: features `(n, WIDTH)`, the type, the set and the patient of each."""

    features: np.ndarray
    kind: np.ndarray
    source: np.ndarray
    patient: np.ndarray


def simulated(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Features of the banks and the type that most series with such an image have."""
    bank, kinds = read_banks(paths), dict[str, Counter[str]]()
    for plan in listed()["protocols"].values():
        for image in plan["images"]:
            kinds.setdefault(image, Counter())[plan["type"]] += plan["weight"]
    return bank.features, np.array([kinds[name].most_common(1)[0][0] for name in bank.protocol.tolist()])


def pixel_expert(taught: tuple[np.ndarray, np.ndarray], pictures: Pictures) -> np.ndarray:
    """`(n, types)` answers under equal shares of the types, each set judged by a reader that has not seen it."""
    answers = np.zeros((len(pictures.kind), len(SEQUENCES)))
    for source in np.unique(pictures.source):
        rest = pictures.source != source
        groups = list(zip(pictures.source[rest], pictures.kind[rest], strict=True))
        count = Counter(groups)
        real_weight = np.array([1 / count[group] for group in groups])
        features = np.concatenate([taught[0], pictures.features[rest]])[:, :USED]
        kinds = np.concatenate([taught[1], pictures.kind[rest]])
        weight = np.concatenate(
            [
                np.full(len(taught[1]), (1 - SHARE_OF_REAL) / len(taught[1])),
                SHARE_OF_REAL * real_weight / real_weight.sum(),
            ]
        )
        scale = StandardScaler().fit(features, sample_weight=weight)
        near = np.clip(scale.transform(features), -FAR, FAR)
        reader = LogisticRegression(C=PENALTY, max_iter=600).fit(near, kinds, sample_weight=2000 * weight)
        seen = np.clip(scale.transform(pictures.features[~rest][:, :USED]), -FAR, FAR)
        ratio = reader.predict_proba(seen) / np.array([weight[kinds == kind].sum() for kind in reader.classes_])
        columns = [SEQUENCES.index(kind) for kind in reader.classes_]
        answers[np.ix_(~rest, columns)] = ratio / ratio.sum(axis=1, keepdims=True)
    return answers


def product(header: np.ndarray, pixels: np.ndarray, power: float | np.ndarray) -> np.ndarray:
    """Both experts multiplied, the pixels' to a power; each keeps a little doubt."""
    log = np.log(header + 1e-3) + power * np.log((1 - LEAST) * pixels + LEAST / len(SEQUENCES))
    log = log - log.max(axis=1, keepdims=True)
    return np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)


def header_expert(table: SeriesTable, *, share: float, seed: int) -> np.ndarray:
    """What the shipped classifier says of headers a share of whose tags is missing or wrong."""
    rng = np.random.default_rng([seed, int(share * 100)])
    broken = damaged(table, missing=share / 2, wrong=share / 2, rng=rng)
    alone = replace(broken, has_pixels=np.zeros(len(table), bool))
    with torch.no_grad():
        return bundled_judge().net.probabilities(inputs_of(alone))["sequence"].numpy()


def powers(pictures: Pictures, place: np.ndarray, table: SeriesTable, pixels: np.ndarray) -> dict[str, float]:
    """For every set the power that fits the pairs of the other sets best (log score, damaged headers)."""
    rows = np.arange(len(table))
    score = np.zeros((len(POWERS), len(table)))
    for share in DAMAGES[1:]:
        said = header_expert(table, share=share, seed=1)
        for index, power in enumerate(POWERS):
            score[index] += np.log(product(said, pixels[place], power)[rows, table.sequence])
    source = pictures.source[place]
    return {str(name): POWERS[int(score[:, source != name].mean(axis=1).argmax())] for name in np.unique(source)}


def measured(table: SeriesTable, people: np.ndarray, pixels: np.ndarray, power: np.ndarray) -> dict[str, Any]:
    """Accuracy of the product, the header and the pixels at each damage, and the paired differences."""
    told: dict[str, Any] = {}
    for share in DAMAGES:
        header = header_expert(table, share=share, seed=0)
        ways = {"fused": product(header, pixels, power[:, None]), "header": header, "pixels": pixels}
        right = {name: (said.argmax(axis=1) == table.sequence).astype(float) for name, said in ways.items()}
        row: dict[str, Any] = {name: clustered_proportion(hit > 0, people).to_dict() for name, hit in right.items()}
        for other in ("header", "pixels"):
            row[f"fused minus {other}"] = mean_difference(right["fused"], right[other], patient=people).to_dict()
        told[f"{share:.0%}"] = row
    return told


def main(banks: Sequence[str], root: Path, out: Path) -> None:
    """Teach, set the powers, test, write."""
    torch.set_num_threads(1)
    found = [item for item in real.images(root) if item.source != "msd_hippocampus"]
    items = [item for item in [*real.dicom(root), *found] if item.volume is not None]
    vectors = [pixel_features(item.volume) for item in items if item.volume is not None]
    kept = [(item, vector) for item, vector in zip(items, vectors, strict=True) if vector is not None]
    pictures = Pictures(
        np.stack([vector for _, vector in kept]),
        np.array([item.sequence for item, _ in kept]),
        np.array([item.source for item, _ in kept]),
        np.array([item.cluster for item, _ in kept]),
    )
    pixels = pixel_expert(simulated(banks), pictures)
    known = {pictures.features[row].tobytes(): row for row in range(len(kept))}
    said = list(real.sidecars(root))

    def pairs(headers: Sequence[real.RealSeries], seed: int) -> tuple[np.ndarray, SeriesTable, np.ndarray]:
        table, people = paired_table([item for item, _ in kept], headers, seed=seed)
        return np.array([known[row.tobytes()] for row in table.pixels]), table, people

    place, table, _ = pairs([item for item in said if looked_at(item)], 1)
    power = powers(pictures, place, table, pixels)
    place, table, people = pairs([item for item in said if not looked_at(item)], 0)
    each = np.array([power[name] for name in pictures.source[place]])
    told = {
        "about": {**compare.about(), "header": "shipped classifier", "banks": [Path(name).name for name in banks]},
        "images": len(pictures.kind),
        "pairs": len(table),
        "patients": len(set(people.tolist())),
        "powers": power,
        "damage": measured(table, people, pixels[place], each),
    }
    out.write_text(json.dumps(_short(told), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    data = os.environ.get("RADFOUNDRY_DATA")
    if not data or len(sys.argv) < 2:
        sys.exit("set RADFOUNDRY_DATA to the folder with the real sets and name the banks of make_bank.py")
    main(sys.argv[1:], Path(data), Path(__file__).parent.parent / "results" / "curate_types_experts.json")
