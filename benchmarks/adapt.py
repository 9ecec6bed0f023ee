"""How long adaptation takes: a probe from features at hand, each rung as a share of full tuning, and exact search.

Run: python benchmarks/adapt.py [--images 48] [--index 1000000] [--to benchmarks/results/adapt.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radfoundry import runs
from radfoundry.data.store import content_hash
from radfoundry.nets import embedding, vit
from radfoundry.records import Acquisition, Case, Cohort, Series
from radfoundry.tasks import heads, similar
from radfoundry.tasks.examples import examples
from radfoundry.tasks.tuned import Tuning
from radfoundry.tasks.tuning import train
from radfoundry.tasks.views import Views
from radfoundry.volume import Volume

STEPS, WIDTH, QUERIES = 10, 64, 20


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of this process, which other programs on the machine do not change much, and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def kept_mb(work: Callable[[], Any]) -> float:
    """MB that some training keeps at most from the way forward for the way back; weights are not counted."""
    holders: dict[int, int] = {}
    held, most = 0, 0

    def pack(value: torch.Tensor) -> torch.Tensor:
        nonlocal held, most
        weight = isinstance(value, torch.nn.Parameter) or isinstance(value._base, torch.nn.Parameter)
        place = 0 if weight else value.untyped_storage().data_ptr()
        holders[place] = holders.get(place, 0) + 1
        if holders[place] == 1 and not weight:
            held += value.untyped_storage().nbytes()
            most = max(most, held)
        return value

    def unpack(value: torch.Tensor) -> torch.Tensor:
        nonlocal held
        weight = isinstance(value, torch.nn.Parameter) or isinstance(value._base, torch.nn.Parameter)
        place = 0 if weight else value.untyped_storage().data_ptr()
        holders[place] -= 1
        if holders[place] == 0 and not weight:
            held -= value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        work()
    return most / 1024**2


def probe_seconds() -> dict[str, float]:
    """Head and strength chosen by inner folds, on 300 patients and 288 features already computed."""
    rng = np.random.default_rng(0)
    features, patients = rng.normal(size=(300, 288)), np.arange(300).astype(str)
    answers = (features[:, 0] + rng.normal(size=300) > 0).astype(int)
    found = {}
    for head, answer, kind in ((heads.logistic(), answers, "binary"), (heads.ridge(), features[:, 0], "regression")):
        heads.fit(head, features, answer, patients, kind=kind)  # once unmeasured: libraries load
        seconds, _ = timed(lambda h=head, a=answer, k=kind: heads.fit(h, features, a, patients, kind=k))
        found[head.name] = round(seconds, 3)
    return found


def rung_seconds(images: int) -> dict[str, dict[str, float]]:
    """One fit of a few steps per rung on pictures of 128 x 128, beside full tuning."""
    rng = np.random.default_rng(0)
    volumes = {f"s{n}": Volume.of(rng.normal(size=(128, 128)).astype(np.float32), np.eye(4)) for n in range(images)}
    cases = []
    for number, (key, volume) in enumerate(volumes.items()):
        series = Series(
            key,
            f"p{number}",
            f"c{number}",
            Acquisition(modality="US"),
            (1, 128, 128, 1),
            (1.0, 1.0, 1.0),
            content=content_hash(volume),
            loader=lambda item: volumes[item.key],
        )
        cases.append(Case(f"c{number}", f"p{number}", (series,)))
    cohort, encoder = Cohort(tuple(cases)), vit.tiny_2d()
    table = embedding.embed(cohort, encoder)
    views = Views(table.series, encoder, None)
    rows = examples(table, {case.key: float(rng.normal()) for case in cases}, {}, views=views)
    views.places(rows.row)
    rungs = ("head", "lora", "mona", "partial", "full")
    train(Tuning("full", steps=1), rows, kind="regression", classes=0)  # once unmeasured: libraries load

    def fit(rung: str, steps: int) -> None:
        train(Tuning(rung, steps=steps), rows, kind="regression", classes=0)

    taken = {rung: (timed(lambda r=rung: fit(r, STEPS))[0], kept_mb(lambda r=rung: fit(r, 1))) for rung in rungs}
    seconds, megabytes = taken["full"]
    return {
        rung: {
            "seconds": round(one, 2),
            "of_full": round(one / seconds, 3),
            "kept_mb": round(more, 1),
            "kept_of_full": round(more / megabytes, 3),
        }
        for rung, (one, more) in taken.items()
    }


def search_seconds(rows: int) -> dict[str, float]:
    """Exact search of ten neighbours among many vectors, own patients excluded."""
    rng = np.random.default_rng(0)
    index = similar.unit(rng.standard_normal((rows, WIDTH), dtype=np.float32))
    owners = rng.integers(0, rows // 2, rows)
    work = timed(lambda: similar.nearest(index, index[:QUERIES], count=10, owners=(owners, owners[:QUERIES])))
    return {"vectors": rows, "width": WIDTH, "seconds_per_query": round(work[0] / QUERIES, 4)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--index", type=int, default=1_000_000)
    parser.add_argument("--to", type=Path, default=Path("benchmarks/results/adapt.json"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        "probe_seconds": probe_seconds(),
        "rungs": rung_seconds(asked.images),
        "search": search_seconds(asked.index),
        "threads": 1,
        "machine": platform.machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": runs.versions(),
    }
    found["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    asked.to.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
