"""Random 96³ patches from 20 volumes: radfoundry's store against MONAI, TorchIO and nibabel on `.nii.gz`.

    python benchmarks/patches.py [--seconds 8] [--rounds 3] [--peers FOLDER]

Every way of reading runs in a process of its own, all of them in turn, round after round; the table has the
median of the rounds. The peers are installed into an environment of their own (FOLDER, made when it is not
there). Writes benchmarks/results/patches.json and patches.md.

The volumes are the ICBM-152 T1-weighted head that nilearn ships (197x233x189 at 1 mm), each turned into another head by
a random affine map, a bias field, a gain of its own and Rician noise, stored as int16 as a scanner would.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

SIZE, BATCH, VOLUMES = 96, 8, 20
QUEUE_PER_VOLUME, QUEUE_LENGTH = 8, 80
PEERS = ("torch==2.13.0", "monai==1.6.1", "torchio==1.2.1", "nibabel==5.4.2")
HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "patches"
OURS = {
    "radfoundry, all volumes decoded": "radfoundry:1024:2",
    "radfoundry, 256 MiB of decoded volumes": "radfoundry:256:2",
    "radfoundry, read from disk": "radfoundry:0:2",
}
THEIRS = {
    "MONAI CacheDataset": "cache:0:1",
    "MONAI CacheDataset without copies": "uncopied:0:1",
    "MONAI CacheDataset without copies, 2 workers": "uncopied:2:1",
    "MONAI CacheDataset without copies, 8 patches a volume": "uncopied:0:8",
    "MONAI PersistentDataset": "persistent:0:1",
    "MONAI PersistentDataset, 2 workers": "persistent:2:1",
    "MONAI PersistentDataset, 8 patches a volume": "persistent:0:8",
    "TorchIO Queue, 8 patches a volume": "queue:0",
    "TorchIO Queue, 8 patches a volume, 2 workers": "queue:2",
    "nibabel, whole volume per patch": "nibabel",
}
Source = Callable[[Path], Iterator[int]]


# --- what is measured: each yields the number of patches in every batch it delivers, for ever -----------------------


def radfoundry_batches(folder: Path, memory_mib: str, threads: str) -> Iterator[int]:
    import numpy as np

    from radfoundry.data.patches import PatchReader, patch_batches

    paths = sorted(folder.glob("*.b2nd"))
    reader = PatchReader.open(paths, (SIZE,) * 3, memory_bytes=int(memory_mib) << 20, threads=int(threads))
    for batch in patch_batches(reader, batches=10**9, batch=BATCH, rng=np.random.default_rng(os.getpid())):
        assert batch.array.shape == (BATCH, 1, SIZE, SIZE, SIZE)
        yield len(batch)


def monai_batches(folder: Path, kind: str, workers: str, samples: str) -> Iterator[int]:
    import torch
    from monai import data, transforms

    count = int(samples)
    chosen = (
        transforms.RandSpatialCropSamples((SIZE,) * 3, num_samples=count, random_size=False)
        if count > 1
        else transforms.RandSpatialCrop((SIZE,) * 3, random_size=False)
    )
    steps = transforms.Compose([transforms.LoadImage(image_only=True), transforms.EnsureChannelFirst(), chosen])
    files = sorted(str(path) for path in folder.glob("*.nii.gz"))
    if kind != "persistent":
        # By default every volume is copied before it is cropped; a crop changes nothing, so it need not be.
        dataset = data.CacheDataset(files, steps, num_workers=2, progress=False, copy_cache=kind == "cache")
    else:
        dataset = data.PersistentDataset(files, steps, cache_dir=folder / "persistent")
    sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**9)
    loader = data.DataLoader(dataset, batch_size=BATCH // count, num_workers=int(workers), sampler=sampler)
    for batch in loader:
        assert batch.shape == (BATCH, 1, SIZE, SIZE, SIZE) and batch.dtype == torch.float32
        yield len(batch)


def torchio_batches(folder: Path, workers: str) -> Iterator[int]:
    import torch
    import torchio

    subjects = [torchio.Subject(image=torchio.ScalarImage(path)) for path in sorted(folder.glob("*.nii.gz"))]
    queue = torchio.Queue(
        torchio.SubjectsDataset(subjects),
        max_length=QUEUE_LENGTH,
        samples_per_volume=QUEUE_PER_VOLUME,
        sampler=torchio.UniformSampler(SIZE),
        num_workers=int(workers),
        shuffle_subjects=True,
        shuffle_patches=True,
    )
    while True:
        for batch in torchio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0):
            patches = batch["image"][torchio.DATA].to(torch.float32)
            assert patches.shape[1:] == (1, SIZE, SIZE, SIZE)
            yield len(patches)


def nibabel_batches(folder: Path) -> Iterator[int]:
    import nibabel
    import numpy as np

    rng = np.random.default_rng(os.getpid())
    files = sorted(folder.glob("*.nii.gz"))
    while True:
        array = np.asanyarray(nibabel.load(files[rng.integers(len(files))]).dataobj)
        start = [rng.integers(0, n - SIZE + 1) for n in array.shape]
        window = tuple(slice(a, a + SIZE) for a in start)
        assert np.ascontiguousarray(array[window], np.float32).shape == (SIZE,) * 3
        yield 1


def batches_of(what: str, folder: Path) -> Iterator[int]:
    name, *options = what.split(":")
    if name == "radfoundry":
        return radfoundry_batches(folder, *options)
    if name in ("cache", "uncopied", "persistent"):
        return monai_batches(folder, name, *options)
    return torchio_batches(folder, *options) if name == "queue" else nibabel_batches(folder)


def measure(what: str, folder: Path, seconds: float) -> None:
    """One process, one way: time to the first batch, two patches a volume to warm up, then the steady rate."""
    began = time.perf_counter()
    batches = batches_of(what, folder)
    next(batches)
    first = time.perf_counter() - began
    warm = 0
    while warm < 2 * VOLUMES and time.perf_counter() - began < 60:
        warm += next(batches)
    started, used = time.perf_counter(), processor_s(os.getpid())
    count = 0
    while time.perf_counter() - started < seconds:
        count += next(batches)
    found = {
        "patches_per_s": count / (time.perf_counter() - started),
        "processor_ms": 1000 * (processor_s(os.getpid()) - used) / count,
        "first_batch_s": first,
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # loaders with 10**9 patches still to come have nothing to tidy up


# --- around it: data, environment, memory, table --------------------------------------------------------------------


def make_volumes(folder: Path) -> dict[str, float]:
    """Twenty different heads as `.nii.gz` and as stored volumes; how long the conversion took and what both weigh."""
    import numpy as np
    from scipy import ndimage

    from radfoundry.data import nifti, resample, store
    from radfoundry.volume import Geometry, Volume

    package = subprocess.run(
        [
            sys.executable,
            "-c",
            "import importlib.util as u; print(u.find_spec('nilearn').submodule_search_locations[0])",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    template = nifti.read_nifti(Path(package, "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")).volume
    head = template.with_array(template.array.astype(np.float32) * (1000 / template.array.max()))
    seconds = 0.0
    for number in range(VOLUMES):
        rng = np.random.default_rng(number)
        move = np.eye(4)
        move[:3, :3] += rng.normal(0, 0.06, (3, 3))  # turned, scaled and sheared by a few per cent
        move[:3, 3] = rng.normal(0, 4, 3)
        other = resample.resample_to(head, Geometry(head.shape, move @ head.affine))
        bias = np.exp(ndimage.zoom(rng.normal(0, 0.15, (4, 4, 4)), np.array(head.shape) / 4, order=1))
        clean = other.array[0] * bias * rng.uniform(0.5, 1.5)
        noisy = np.hypot(clean + rng.normal(0, 15, head.shape), rng.normal(0, 15, head.shape))
        volume = Volume.of(noisy.astype(np.int16), template.affine)
        nifti.write_nifti(volume, folder / f"{number:02d}.nii.gz")
        started = time.perf_counter()
        store.write_volume(folder / f"{number:02d}.b2nd", nifti.read_nifti(folder / f"{number:02d}.nii.gz").volume)
        seconds += time.perf_counter() - started
    weight = {
        end: sum(p.stat().st_size for p in folder.glob(f"*.{end}")) / VOLUMES / 2**20 for end in ("nii.gz", "b2nd")
    }
    raw = float(np.prod(head.shape) * 2 / 2**20)
    return {
        "convert_s_per_volume": seconds / VOLUMES,
        "nii_gz_mib": weight["nii.gz"],
        "b2nd_mib": weight["b2nd"],
        "raw_mib": raw,
    }


def peers_python(folder: Path) -> Path:
    """The interpreter of the peers' environment; made when it is not there. torchvision must not come along."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(PEERS)} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "-q", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, PEERS[0]], check=True)  # first and alone, so that nothing chooses another build
        subprocess.run([*pip, *PEERS[1:]], check=True)
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('torchvision') is not None)"
    subprocess.run([str(python), "-c", code], check=True)
    return python


def process_tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    tree = [root]
    for process in tree:
        tree.extend(children.get(process, []))
    return tree


def processor_s(root: int) -> float:
    """Processor time that a process and all below it have used so far."""
    ticks = 0
    for process in process_tree(root):
        try:
            ticks += sum(
                int(word) for word in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
            )
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(root: int) -> float:
    """Proportional set size of a process and all below it: shared pages count once."""
    total = 0
    for process in process_tree(root):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def run_one(python: str, what: str, folder: Path, seconds: float) -> dict[str, float]:
    command = [python, "-W", "ignore", str(HERE), "--measure", what, "--data", str(folder), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        peak, stop = [0.0], threading.Event()

        def watch() -> None:
            while not stop.wait(0.5):
                peak[0] = max(peak[0], memory_mib(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        lines = process.stdout.read().splitlines() if process.stdout else []
        stop.set()
        watcher.join()
    if not lines or not lines[-1].startswith("{"):
        raise SystemExit(f"{what} did not finish")
    return {**json.loads(lines[-1]), "memory_mib": peak[0]}


def versions(python: str) -> dict[str, str]:
    names = ["numpy", "torch", "monai", "torchio", "nibabel", "blosc2", "isal", "radfoundry"]
    code = (
        "import importlib.metadata as m, json, sys\nfound = {}\nfor n in sys.argv[1:]:\n"
        "    try: found[n] = m.version(n)\n    except m.PackageNotFoundError: pass\nprint(json.dumps(found))"
    )
    return json.loads(subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True).stdout)


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "?")
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def summary(rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    table = {}
    for name, values in rounds.items():
        rates = [value["patches_per_s"] for value in values]
        table[name] = {
            "patches_per_s": statistics.median(rates),
            "slowest": min(rates),
            "fastest": max(rates),
            "processor_ms": statistics.median(value["processor_ms"] for value in values),
            "first_batch_s": statistics.median(value["first_batch_s"] for value in values),
            "memory_mib": max(value["memory_mib"] for value in values),
        }
    return table


def ratios(table: dict[str, dict[str, float]]) -> dict[str, object]:
    peers = [name for name in THEIRS if name in table and not name.startswith("nibabel")]
    independent = [name for name in peers if "a volume" not in name]
    best, best_independent = (max(names, key=lambda n: table[n]["patches_per_s"]) for names in (peers, independent))
    rate = {name: row["patches_per_s"] for name, row in table.items()}
    memory = {name: row["memory_mib"] for name, row in table.items()}
    leanest = min((name for name in peers if "Persistent" in name), key=lambda n: memory[n])
    found: dict[str, object] = {
        "best peer": best,
        "best peer with independent patches": best_independent,
        "leanest PersistentDataset": leanest,
    }
    for name in OURS:
        found[f"{name} / best peer"] = rate[name] / rate[best]
        found[f"{name} / best peer with independent patches"] = rate[name] / rate[best_independent]
        cheapest = min(table[peer]["processor_ms"] for peer in peers)
        found[f"processor time: cheapest peer / {name}"] = cheapest / table[name]["processor_ms"]
        found[f"{name} / nibabel"] = rate[name] / rate["nibabel, whole volume per patch"]
        found[f"memory: {name} / MONAI PersistentDataset"] = memory[name] / memory["MONAI PersistentDataset"]
        found[f"memory: {name} / leanest PersistentDataset"] = memory[name] / memory[leanest]
    return found


def markdown(result: dict) -> str:
    data = result["data"]
    lines = [
        f"# Random {SIZE}³ patches from {VOLUMES} volumes",
        "",
        f"{result['date']}, {result['machine']}, load {result['load']} at the start, {result['load_end']} at the end. "
        f"{result['rounds']} rounds of {result['seconds']:g} s each, all ways in turn; median (slowest-fastest). "
        "Batches of 8 float32 patches. Memory is the peak proportional set size of the process and its workers, "
        "sampled twice a second, interpreter and libraries included.",
        "",
        "| way | patches/s | processor ms a patch | to first batch, s | memory, MiB |",
        "|---|---|---|---|---|",
    ]
    for name, row in sorted(result["table"].items(), key=lambda item: -item[1]["patches_per_s"]):
        rate = f"{row['patches_per_s']:.0f} ({row['slowest']:.0f}-{row['fastest']:.0f})"
        cost = f"{row['processor_ms']:.2f} | {row['first_batch_s']:.1f}"
        lines.append(f"| {name} | {rate} | {cost} | {row['memory_mib']:.0f} |")
    lines += ["", "| ratio | value |", "|---|---|"]
    lines += [
        f"| {k} | {v if isinstance(v, str) else format(v, '.2f' if k.startswith('memory') else '.1f')} |"
        for k, v in result["ratios"].items()
    ]
    lines += [
        "",
        f"A volume is {data['raw_mib']:.1f} MiB of int16; {data['nii_gz_mib']:.1f} MiB as .nii.gz, "
        f"{data['b2nd_mib']:.1f} MiB in the store, into which it is converted once in "
        f"{data['convert_s_per_volume']:.2f} s.",
        "",
        "What limits it: with all volumes decoded, copying 0.9 million voxels and turning them into float32, at the "
        "pace of the memory; from disk, Zstandard, because Blosc2 holds Python's lock while it decompresses. On a "
        "busy machine the processor time is the figure to trust.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(result["versions"].items())),
        "",
    ]
    return "\n".join(lines)


def compare(seconds: float, rounds: int, peers: Path) -> dict:
    theirs = str(peers_python(peers))
    folder = Path(tempfile.mkdtemp(prefix="radfoundry-patches-"))
    try:
        load = os.getloadavg()[0]
        data = make_volumes(folder)
        seen: dict[str, list[dict[str, float]]] = {}
        for number in range(rounds):
            for names, python in ((OURS, sys.executable), (THEIRS, theirs)):
                for name, what in names.items():
                    found = run_one(python, what, folder, seconds)
                    seen.setdefault(name, []).append(found)
                    print(f"round {number + 1}: {name}: {found['patches_per_s']:.0f} patches/s", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table = summary(seen)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "load": round(load, 1),
        "load_end": round(os.getloadavg()[0], 1),
        "seconds": seconds,
        "rounds": rounds,
        "data": data,
        "table": table,
        "ratios": ratios(table),
        "versions": {**versions(theirs), **versions(sys.executable)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=Path(tempfile.gettempdir()) / "radfoundry-peers-patches")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.data, options.seconds)
        return
    result = compare(options.seconds, options.rounds, options.peers)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
