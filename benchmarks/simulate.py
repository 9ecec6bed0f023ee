"""How fast images are varied for training, against MONAI and TorchIO, and how fast whole patients are simulated.

    python benchmarks/simulate.py [--rounds 5] [--repeats 6] [--patients 24] [--peers FOLDER]
        [--skip-patients] [--skip-varied]

Varied: one 128³ image with its label, moved by one affine and elastic displacement, then shading, Gaussian noise and a
k-space spike, one thread each. Every library runs in a process of its own, all of them in turn, round after round;
the table has the median of the rounds in processor time, because wall time measures the neighbours. The peers are
installed into an environment of their own (FOLDER, made when it is not there). Patients: `brain-multisequence` with
the default settings, DICOM on disk, two worker processes. Writes benchmarks/results/simulate.json and simulate.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SIZE = 128
PEERS = ("torch==2.13.0", "monai==1.6.1", "torchio==1.2.1")
HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "simulate"
WAYS = {
    "radfoundry": "radfoundry",
    "MONAI, affine and elastic in one (Rand3DElasticd)": "monai",
    "TorchIO, affine and elastic in one": "torchio-fused",
    "TorchIO, affine then elastic": "torchio",
}


# --- what is measured: each gives a function that varies the image and label once ----------------------------------


def pair():  # noqa: ANN201
    """A smooth ball with texture and its mask."""
    import torch

    axis = torch.linspace(-1, 1, SIZE)
    away = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    image = (1.2 - away).clamp_min(0) + 0.05 * torch.rand(SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return image[None], (away < 0.5).to(torch.uint8)[None]


def ours() -> Callable[[], object]:
    import numpy as np

    from radfoundry.simulate.augment import Variation, draw_variation, vary

    image, label = pair()
    rng = np.random.default_rng(0)
    variation = Variation(spike_rate=1.0)
    return lambda: vary(image, draw_variation(variation, rng=rng), spacing_mm=(1.0, 1.0, 1.0), labels=label)


def monai_chain() -> Callable[[], object]:
    import numpy as np
    from monai import transforms as t

    image, label = pair()
    both = ["image", "label"]
    chain = t.Compose(
        [
            t.Rand3DElasticd(
                both,
                sigma_range=(5, 7),
                magnitude_range=(50, 150),
                prob=1.0,
                rotate_range=(0.26,) * 3,
                scale_range=(0.15,) * 3,
                translate_range=(8,) * 3,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            t.RandBiasFieldd("image", degree=3, coeff_range=(-0.3, 0.3), prob=1.0),
            t.RandGaussianNoised("image", std=0.05, prob=1.0),
            t.RandKSpaceSpikeNoised("image", prob=1.0),
        ]
    )
    chain.set_random_state(state=np.random.RandomState(0))
    return lambda: chain({"image": image, "label": label})


def torchio_chain(*, fused: bool) -> Callable[[], object]:
    import torch
    import torchio as tio

    torch.manual_seed(0)
    image, label = pair()
    affine = {"scales": 0.15, "degrees": 15, "translation": 8}
    elastic = {"num_control_points": 7, "max_displacement": 7}
    moved = [tio.RandomAffine(**affine), tio.RandomElasticDeformation(**elastic)]
    if fused:
        moved = [tio.RandomAffineElasticDeformation(affine_kwargs=affine, elastic_kwargs=elastic)]
    chain = tio.Compose(
        [
            *moved,
            tio.RandomBiasField(0.3, order=3),
            tio.RandomNoise(std=0.05),
            tio.RandomSpike(num_spikes=1, intensity=0.3),
        ]
    )
    return lambda: chain(tio.Subject(image=tio.ScalarImage(tensor=image), label=tio.LabelMap(tensor=label)))


def measure(way: str, repeats: int) -> None:
    import torch

    torch.set_num_threads(1)
    made = {
        "radfoundry": ours,
        "monai": monai_chain,
        "torchio": lambda: torchio_chain(fused=False),
        "torchio-fused": lambda: torchio_chain(fused=True),
    }[way]()
    made()
    used, wall = time.process_time(), time.perf_counter()
    for _ in range(repeats):
        made()
    print(
        json.dumps(
            {
                "processor_s": (time.process_time() - used) / repeats,
                "wall_s": (time.perf_counter() - wall) / repeats,
            }
        ),
        flush=True,
    )


# --- around it -------------------------------------------------------------------------------------------------------


def peers_python(folder: Path) -> Path:
    """The interpreter of the peers' environment; made when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(PEERS)} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "-q", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, PEERS[0]], check=True)
        subprocess.run([*pip, *PEERS[1:]], check=True)
    return python


def run_one(python: str, way: str, repeats: int) -> dict[str, float]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    }
    done = subprocess.run(
        [python, "-W", "ignore", str(HERE), "--measure", way, "--repeats", str(repeats)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise SystemExit(f"{way} did not finish: {done.stderr[-800:]}")
    return json.loads(lines[-1])


def patients(count: int) -> dict[str, float]:
    """Simulate a cohort with the command a user gives; wall and processor time of it and all its workers."""
    import resource

    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("radfoundry")), "simulate", "--cohort", "brain-multisequence"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        subprocess.run(
            [*command, "--cases", str(count), "--to", f"{folder}/cohort", "workers=2"],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "patients": count,
        "wall_s": wall,
        "processor_s": used,
        "processor_s_per_patient": used / count,
        "patients_per_minute": 60 * count / wall,
        "patients_per_minute_if_both_cores_are_free": 60 * count / (used / 2),
    }


def versions(python: str) -> dict[str, str]:
    names = ["numpy", "torch", "monai", "torchio", "radfoundry"]
    code = (
        "import importlib.metadata as m, json, sys\nfound = {}\nfor n in sys.argv[1:]:\n"
        "    try: found[n] = m.version(n)\n    except m.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    return json.loads(subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True).stdout)


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--patients", type=int, default=24)
    parser.add_argument("--skip-patients", action="store_true")
    parser.add_argument("--skip-varied", action="store_true")
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "radfoundry-peers")
    parser.add_argument("--measure")
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.measure, chosen.repeats)
        return
    old = json.loads(RESULTS.with_suffix(".json").read_text()) if RESULTS.with_suffix(".json").exists() else {}
    found = {**old} if chosen.skip_varied else varied(chosen.rounds, chosen.repeats, str(peers_python(chosen.peers)))
    found["patients"] = old.get("patients") if chosen.skip_patients else patients(chosen.patients)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page(found))
    print(page(found))


def varied(count: int, repeats: int, peers: str) -> dict[str, Any]:
    """Every way in turn, round after round."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(count):
        for name, way in WAYS.items():
            rounds[name].append(run_one(sys.executable if way == "radfoundry" else peers, way, repeats))
    table = {
        name: {key: statistics.median(one[key] for one in values) for key in values[0]}
        for name, values in rounds.items()
    }
    best = min((name for name in WAYS if name != "radfoundry"), key=lambda name: table[name]["processor_s"])
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load_average": os.getloadavg(),
        "versions": {"ours": versions(sys.executable), "peers": versions(peers)},
        "varied": table,
        "rounds": rounds,
        "faster_peer": best,
        "times_faster": table[best]["processor_s"] / table["radfoundry"]["processor_s"],
    }


def page(found: dict[str, Any]) -> str:
    mine = found["varied"]["radfoundry"]["processor_s"]
    lines = ["# Varying images and simulating patients", ""]
    lines.append("| 128³ image and label, one thread | processor s | wall s | times ours |")
    lines.append("| --- | ---: | ---: | ---: |")
    for name, row in found["varied"].items():
        lines.append(f"| {name} | {row['processor_s']:.3f} | {row['wall_s']:.3f} | {row['processor_s'] / mine:.1f} |")
    made = found["patients"]
    if made:
        lines += [
            "",
            f"Whole patients (`brain-multisequence`, {made['patients']} of them, DICOM written, 2 workers):",
            f"{made['processor_s_per_patient']:.2f} processor s each, start-up included; {made['wall_s']:.0f} s wall,",
            f"{made['patients_per_minute']:.0f} a minute on this machine at the time,",
            f"{made['patients_per_minute_if_both_cores_are_free']:.0f} a minute if both cores are free.",
        ]
    lines += ["", f"{found['machine']}; load {found['load_average'][0]:.1f}; {found['made']}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
