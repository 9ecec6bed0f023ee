"""Embedding whole volumes, from the file to the vector: radfoundry against MONAI's sliding window.

    python benchmarks/encode.py [--volumes 3] [--repeats 2] [--only NAME ...]

Every way runs in a process of its own with one thread; the figure is processor time, which other programs on the
machine disturb least, and volumes per minute on two cores are 120 divided by it. The volumes are the ICBM-152
T1-weighted head that nilearn ships (197 x 233 x 189 at 1 mm) with a bias field and noise of its own each, written as
int16 `.nii.gz`. Every way reads the same files, prepares them as its encoder asks, and ends with one vector a volume.
The networks have fresh weights: this is about time alone. Needs `radfoundry[monai]`.
Writes benchmarks/results/encode.json and encode.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results" / "encode"
OURS = {
    "radfoundry-mri": "the bundled network, windows of 96 mm at 3 mm",
    "vit3d-tiny": "64³ voxels of 3 mm at once",
    "conv3d-tiny": "64³ voxels of 3 mm at once",
    "vit3d-small": "96³ voxels of 2 mm at once",
    "vit3d-tiny, windows": "the whole image at 1.5 mm, 64³ windows with overlap 0.25",
}
VARIANTS = {
    "radfoundry-mri, bf16": "autocast to bfloat16",
    "vit3d-tiny, bf16": "autocast to bfloat16",
    "vit3d-tiny, int8": "linear maps in int8, dynamic",
    "vit3d-small, bf16": "autocast to bfloat16",
    "vit3d-small, int8": "linear maps in int8, dynamic",
    "vit3d-small, compiled": "torch.compile, the first call not counted",
    "conv3d-tiny, bf16": "autocast to bfloat16",
    "conv3d-tiny, channels last": "memory in the order of channels",
}
THEIRS = {
    "MONAI SwinUNETR-24": "encoder, windows of 96³ at 1.5 mm, overlap 0.25",
    "MONAI ResNet18-3D": "as MONAI builds it, windows of 96³ at 1.5 mm, overlap 0.25",
    "MONAI ResNet18-3D, stride 2": "first stride 2, windows of 96³ at 1.5 mm, overlap 0.25",
    "MONAI ResNet18-3D, once": "as MONAI builds it, 64³ voxels of 3 mm at once",
}
SLOW = ("MONAI SwinUNETR-24", "MONAI ResNet18-3D", "conv3d-tiny, bf16")
ONCE = ("vit3d-small", "MONAI ResNet18-3D, stride 2", "conv3d-tiny, channels last")
Way = Callable[[Path], Any]


def write_volumes(folder: Path, count: int) -> None:
    """Heads that differ: each with a bias field and noise of its own."""
    import nibabel
    import numpy as np
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=1)
    head = np.asarray(template.dataobj, np.float32)
    head /= head.max()
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in head.shape), indexing="ij", sparse=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        field = np.exp(0.2 * sum(float(rng.normal()) * axis for axis in axes))
        noisy = np.abs(head * field * 900 + rng.normal(0, 12, head.shape).astype(np.float32))
        image = nibabel.Nifti1Image(noisy.astype(np.int16), template.affine)
        nibabel.save(image, folder / f"head-{index}.nii.gz")


# --- the ways: each returns a function from a file to its vector -----------------------------------------------------


def our_way(name: str) -> Way:
    import torch

    from radfoundry import registry
    from radfoundry.data import prepare
    from radfoundry.data.image_files import read_image
    from radfoundry.nets import bundled, embedding, windows

    base, _, variant = name.partition(", ")
    encoder = bundled.build(untrained_seed=0) if base == "radfoundry-mri" else registry.build("encoders", base)
    plan = embedding.plan_for(encoder.spec)
    if variant == "windows":
        plan = prepare.Plan(orientation=plan.orientation, spacing_mm=(1.5, 1.5, 1.5), intensity=plan.intensity)
    if variant == "int8":
        encoder = torch.ao.quantization.quantize_dynamic(encoder, {torch.nn.Linear}, dtype=torch.qint8)
    if variant == "channels last":
        encoder = encoder.to(memory_format=torch.channels_last_3d)

    encode = torch.compile(encoder.encode) if variant == "compiled" else encoder.encode

    def run(path: Path) -> Any:
        ready = torch.from_numpy(prepare.prepare(read_image(path).volume, plan).array)
        if variant == "windows":
            return windows.encode_windows(encoder, ready, overlap=0.25, batch=1).pooled
        batch = ready[None].contiguous(memory_format=torch.channels_last_3d) if "last" in variant else ready[None]
        with torch.autocast("cpu", torch.bfloat16, enabled=variant == "bf16"):
            return encode(batch).pooled

    return run


def their_way(name: str) -> Way:
    from monai import transforms
    from monai.inferers import sliding_window_inference
    from monai.networks import nets

    once = name.endswith("once")
    spacing = 3.0 if once else 1.5
    steps = [
        transforms.LoadImage(image_only=True),
        transforms.EnsureChannelFirst(),
        transforms.Orientation(axcodes="RAS", labels=None),
        transforms.Spacing(pixdim=(spacing,) * 3),
        transforms.NormalizeIntensity(nonzero=True),
    ]
    if once:
        steps.append(transforms.ResizeWithPadOrCrop((64, 64, 64)))
    prepare = transforms.Compose(steps)
    if "Swin" in name:
        net = nets.SwinUNETR(in_channels=1, out_channels=2, feature_size=24).eval()
        look = lambda x: net.swinViT(x, net.normalize)[4]  # noqa: E731
    else:
        first = 2 if "stride 2" in name else 1
        net = nets.resnet18(spatial_dims=3, n_input_channels=1, feed_forward=False, conv1_t_stride=first).eval()

        def look(x: Any) -> Any:
            x = net.maxpool(net.act(net.bn1(net.conv1(x))))
            return net.layer4(net.layer3(net.layer2(net.layer1(x))))

    def run(path: Path) -> Any:
        ready = prepare(path).as_tensor()[None]
        places = look(ready) if once else sliding_window_inference(ready, (96,) * 3, 1, look, overlap=0.25)
        return places.mean(dim=(2, 3, 4))

    return run


def measure(name: str, folder: Path, repeats: int) -> None:
    """One process, one way: processor seconds a volume, the fastest of the repeats for each volume."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    files = sorted(folder.glob("*.nii.gz"))
    if name in SLOW:
        files, repeats = files[:1], 1
    repeats = 1 if name.startswith(ONCE) else repeats
    with torch.no_grad():
        run = their_way(name) if name.startswith("MONAI") else our_way(name)
        if name not in SLOW:
            run(files[0])
        times, walls, vector = [], [], None
        for path in files:
            tries = []
            for _ in range(repeats):
                began, clock = time.process_time(), time.perf_counter()
                vector = run(path)
                tries.append((time.process_time() - began, time.perf_counter() - clock))
            times.append(min(tries)[0])
            walls.append(min(wall for _, wall in tries))
    found = {"processor_s": sum(times) / len(times), "lowest_s": min(times), "highest_s": max(times)}
    found |= {"wall_s": sum(walls) / len(walls), "length": int(vector.numel()), "volumes": len(files)}
    found["vector"] = [float(value) for value in vector.flatten()[:512].float()]
    print(json.dumps(found))


# --- the table -------------------------------------------------------------------------------------------------------


def collect(folder: Path, names: list[str], repeats: int) -> dict[str, dict[str, Any]]:
    found = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    for name in names:
        command = [sys.executable, str(HERE), "--measure", name, "--folder", str(folder), "--repeats", str(repeats)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            continue
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{name}: {found[name]['processor_s']:.2f} s", file=sys.stderr)
    return found


def agreement(one: list[float], other: list[float]) -> float:
    """The correlation of two vectors."""
    import numpy as np

    return float(np.corrcoef(one, other)[0, 1])


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    ratios = {}
    for ours in [name for name in OURS if name in found]:
        for theirs in [name for name in THEIRS if name in found]:
            ratios[f"{theirs} / {ours}"] = found[theirs]["processor_s"] / found[ours]["processor_s"]
    agree = {}
    for name in [name for name in VARIANTS if name in found]:
        base = name.partition(", ")[0]
        if base in found:
            agree[name] = {
                "speed": found[base]["processor_s"] / found[name]["processor_s"],
                "correlation": agreement(found[base]["vector"], found[name]["vector"]),
            }
    return {"ratios": ratios, "variants": agree}


def page(result: dict[str, Any]) -> str:
    found, about = result["ways"], {**OURS, **VARIANTS, **THEIRS}
    lines = ["# Whole volumes, from file to vector", ""]
    lines += [
        f"{result['date']}, {result['machine']}, load {result['load'][0]:.1f} at the start, {result['load'][1]:.1f} at "
        "the end of the last part. One thread; processor time a volume (user and system): the mean over the volumes, "
        "of each the faster of at most two runs, files in the page cache. Ways marked * had no first run to warm up. "
        "Volumes a minute are for two cores that have nothing else to do: 120 s of processor time.",
        "",
        "| way | what it does | processor s a volume | volumes a minute, 2 cores | features | volumes |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(found, key=lambda key: found[key]["processor_s"]):
        row, star = found[name], "*" if name in SLOW else ""
        spent = f"{row['processor_s']:.2f} ({row['lowest_s']:.2f}-{row['highest_s']:.2f})"
        cells = [name + star, about[name], spent, f"{120 / row['processor_s']:.1f}", row["length"], row["volumes"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| how many times faster | value |", "|---|---|"]
    lines += [f"| {name} | {value:.1f} |" for name, value in result["ratios"].items()]
    lines += ["", "| variant | times as fast as without | correlation of the vectors |", "|---|---|---|"]
    lines += [f"| {k} | {v['speed']:.2f} | {v['correlation']:.5f} |" for k, v in result["variants"].items()]
    absent = [name for name in about if name not in found]
    lines += [
        "",
        *([f"Not measured: {', '.join(absent)}.", ""] if absent else []),
        "The windows of MONAI look at the head in 1.5 mm, ours at once in 2 or 3 mm: the ratios compare how the "
        "networks are used, not equal numbers of voxels. At equal numbers: `vit3d-tiny` and `MONAI ResNet18-3D, once` "
        "(64³ voxels of 3 mm); `vit3d-tiny, windows` and the two MONAI ResNets (the whole head in 1.5 mm).",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="measure only these ways; the others are kept")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.folder, given.repeats)
        return
    load = [os.getloadavg()[0]]
    stored = RESULTS.with_suffix(".json")
    before = json.loads(stored.read_text())["ways"] if given.only and stored.is_file() else {}
    names = given.only or [*OURS, *VARIANTS, *THEIRS]
    with tempfile.TemporaryDirectory() as folder:
        write_volumes(Path(folder), given.volumes)
        found = {**before, **collect(Path(folder), names, given.repeats)}
    load.append(os.getloadavg()[0])
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": load,
        "volumes": given.volumes,
        "repeats": given.repeats,
        "ways": found,
        "versions": {name: metadata.version(name) for name in ("radfoundry", "torch", "monai", "numpy")},
        **summary(found),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    stored.write_text(json.dumps(result, indent=1) + "\n")
    RESULTS.with_suffix(".md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
