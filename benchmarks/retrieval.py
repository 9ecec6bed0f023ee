"""Exact search among a million features: this project's, faiss's flat index and scikit-learn's brute force.

Run: python benchmarks/retrieval.py [--index 1000000] [--threads 2] [--to benchmarks/results/retrieval.json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from radfoundry import runs
from radfoundry.tasks import similar

WIDTH, QUERIES, COUNT = 64, 64, 10


def timed(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds on the clock and of the processor, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return {
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }, result


def main() -> None:
    """Measure all three on the same vectors and check that they agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--to", type=Path, default=Path("benchmarks/results/retrieval.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rng = np.random.default_rng(0)
    vectors = similar.unit(rng.standard_normal((given.index, WIDTH), dtype=np.float32))
    owners = rng.integers(0, given.index // 2, given.index)
    queries = vectors[:QUERIES]
    similar.nearest(vectors[:1000], queries, count=COUNT)  # libraries load
    found: dict[str, Any] = {}
    took, ours = timed(lambda: similar.nearest(vectors, queries, count=COUNT))
    found["exact"] = took
    took, apart = timed(lambda: similar.nearest(vectors, queries, count=COUNT, owners=(owners, owners[:QUERIES])))
    found["exact, own patients excluded"] = took
    if importlib.util.find_spec("faiss") is not None:
        found |= _faiss(vectors, queries, ours[0], given.threads)
    found |= _neighbours(vectors, queries, ours[0], given.threads)
    result = {
        "vectors": given.index,
        "width": WIDTH,
        "queries_at_once": QUERIES,
        "neighbours": COUNT,
        "threads": given.threads,
        "engines": found,
        "own_patients_given_back": int((owners[apart[0]] == owners[:QUERIES, None]).sum()),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores shared with other work",
        "load": round(os.getloadavg()[0], 1),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": runs.versions(),
    }
    given.to.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _faiss(vectors: np.ndarray, queries: np.ndarray, ours: np.ndarray, threads: int) -> dict[str, Any]:
    import faiss

    faiss.omp_set_num_threads(threads)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    built, _ = timed(lambda: flat.add(vectors))
    took, (_, places) = timed(lambda: flat.search(queries, COUNT))
    agree = float((places == ours).mean())
    return {
        f"faiss {faiss.__version__}, flat": {**took, "adding_wall_seconds": built["wall_seconds"], "agreement": agree}
    }


def _neighbours(vectors: np.ndarray, queries: np.ndarray, ours: np.ndarray, threads: int) -> dict[str, Any]:
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    model = NearestNeighbors(n_neighbors=COUNT, algorithm="brute").fit(vectors)
    with threadpool_limits(limits=threads):
        # Of vectors of length one the Euclidean order is that of the cosine.
        took, places = timed(lambda: model.kneighbors(queries, return_distance=False))
    return {"scikit-learn, brute force": {**took, "agreement": float((places == ours).mean())}}


if __name__ == "__main__":
    main()
