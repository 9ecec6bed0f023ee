"""Header and slices together against either alone, on real pixels beside real headers with damaged tags.

    RADFOUNDRY_DATA=FOLDER python benchmarks/series_types/slices.py [WEIGHTS.safetensors] [--looked-at]

Both readers learned from simulation alone and nothing is fitted here. Tested are the pairs of
benchmarks/curate_types.py: real pixels beside headers of the same type that were not looked at while rules and
simulators were written, a share of the tags missing or wrong. `--looked-at` takes the other headers, to develop with,
and writes nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
import compare
import real
from experts import header_expert

from curate_types import DAMAGES, _short, looked_at, paired_table
from radfoundry.data.series_types import SEQUENCES
from radfoundry.nets.series_pixels import pixel_features
from radfoundry.nets.series_slices import SliceNet, bundled, load, slice_answer, together
from radfoundry.stats.comparisons import mean_difference
from radfoundry.stats.proportions import clustered_proportion


def pictures(root: Path) -> list[tuple[real.RealSeries, np.ndarray]]:
    """The real images that can be described, and the features by which a pair knows its image again."""
    found = [item for item in real.images(root) if item.source != "msd_hippocampus"]
    items = [item for item in [*real.dicom(root), *found] if item.volume is not None]
    vectors = [pixel_features(item.volume) for item in items if item.volume is not None]
    return [(item, vector) for item, vector in zip(items, vectors, strict=True) if vector is not None]


def answers(kept: Sequence[tuple[real.RealSeries, np.ndarray]], net: SliceNet) -> np.ndarray:
    """`(images, types)` what the slices say; every type alike where they say nothing."""
    even = np.full(len(SEQUENCES), 1 / len(SEQUENCES))
    said = [slice_answer(item.volume, net=net) for item, _ in kept if item.volume is not None]
    return np.stack([even if one is None else one for one in said])


def main(root: Path, net: SliceNet, out: Path | None) -> None:
    """Pair, damage, ask, measure; write unless this is for development."""
    torch.set_num_threads(1)
    kept = pictures(root)
    seen = answers(kept, net)
    known = {vector.tobytes(): row for row, (_, vector) in enumerate(kept)}
    headers = [item for item in real.sidecars(root) if looked_at(item) is (out is None)]
    table, people = paired_table([item for item, _ in kept], headers, seed=1 if out is None else 0)
    slices = seen[[known[row.tobytes()] for row in table.pixels]]
    told: dict[str, Any] = {}
    hits: dict[str, list[np.ndarray]] = {"both": [], "header": [], "slices": []}
    for share in DAMAGES:
        header = header_expert(table, share=share, seed=1 if out is None else 0)
        ways = {"both": together(header, slices), "header": header, "slices": slices}
        right = {name: (said.argmax(axis=1) == table.sequence).astype(float) for name, said in ways.items()}
        row: dict[str, Any] = {name: clustered_proportion(hit > 0, people).to_dict() for name, hit in right.items()}
        told[f"{share:.0%}"] = row | differences(right, people)
        for name, hit in right.items():
            hits[name] += [hit] if share > 0 else []
    told["30 % to 50 % together"] = differences({name: np.mean(found, axis=0) for name, found in hits.items()}, people)
    for name, row in told.items():
        print(name, {key: [round(value[part], 3) for part in ("value", "low", "high")] for key, value in row.items()})
    if out is None:
        return
    single = [SEQUENCES[int(one.argmax())] == item.sequence for one, (item, _) in zip(seen, kept, strict=True)]
    about = {"about": {**compare.about(), "weights": "as shipped"}, "images": len(kept), "pairs": len(table)}
    about |= {"patients": len(set(people.tolist())), "images right by slices alone": sum(single), "damage": told}
    out.write_text(json.dumps(_short(about), indent=1) + "\n", encoding="utf-8")
    draw(told, out.with_suffix(".png"))


def differences(right: dict[str, np.ndarray], people: np.ndarray) -> dict[str, Any]:
    """How much oftener both together are right than either alone, paired."""
    found = {other: mean_difference(right["both"], right[other], patient=people) for other in ("header", "slices")}
    return {f"both minus {other}": one.to_dict() for other, one in found.items()}


def draw(told: dict[str, Any], out: Path) -> None:
    """Accuracy against the share of damaged tags, with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    names = {"both": "header and slices", "header": "header alone", "slices": "slices alone"}
    for number, (way, label) in enumerate(names.items()):
        rows = [told[f"{share:.0%}"][way] for share in DAMAGES]
        values = np.array([row["value"] for row in rows])
        reach = np.abs(np.array([[row["low"], row["high"]] for row in rows]).T - values)
        places = 100 * np.array(DAMAGES) + 0.6 * (number - 1)
        axes.errorbar(places, values, reach, fmt="o-", capsize=3, label=label)
    axes.set(xlabel="tags missing or wrong (%)", ylabel="type right (95 % interval)", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.3))
    figure.savefig(out, dpi=130)


if __name__ == "__main__":
    data = os.environ.get("RADFOUNDRY_DATA")
    if not data:
        sys.exit("set RADFOUNDRY_DATA to the folder with the real sets")
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    results = Path(__file__).parent.parent / "results" / "curate_types_slices.json"
    main(Path(data), load(words[0]).net if words else bundled().net, None if "--looked-at" in sys.argv else results)
