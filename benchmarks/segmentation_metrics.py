"""HD95 and surface Dice on 128³ masks: radfoundry against MONAI, one thread, both sides in one run.

Run `.venv/bin/python benchmarks/segmentation_metrics.py`. MONAI is installed into an environment of its own under
`.benchmarks/` (without its dependencies, which it finds in the project's environment) and never into the project's.
Results go to `benchmarks/results/segmentation_metrics.json`. Exit 1 when a value differs or a speed-up is below 3.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".benchmarks" / "monai"
RESULTS = Path(__file__).parent / "results" / "segmentation_metrics.json"
MONAI = "monai==1.6.1"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
SPACINGS = {"isotropic 1 mm": (1.0, 1.0, 1.0), "anisotropic 3 x 0.7 x 0.7 mm": (3.0, 0.7, 0.7)}
TOLERANCE_MM = 1.0
REPEATS = 9
LEAST_SPEED_UP = 3.0
# MONAI interpolates percentiles in single precision; ours are double.
EQUAL_WITHIN = 1e-4


def environment() -> Path:
    """The Python of the environment that holds MONAI, made on the first run."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        site = next((ENVIRONMENT / "lib").glob("python3.*/site-packages"))
        (site / "project.pth").write_text(str(next((Path(sys.prefix) / "lib").glob("python3.*/site-packages"))) + "\n")
    probe = subprocess.run([str(python), "-c", "import monai"], capture_output=True)
    if probe.returncode:
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", MONAI], check=True)
    return python


def masks() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Pairs of lumpy bodies in 128³: a lesion, an organ, and an organ whose surface is rough all over."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    grid = np.indices((128,) * 3) - 64.0
    radius = np.sqrt((grid**2).sum(axis=0))
    moved = np.sqrt(((grid - 2) ** 2).sum(axis=0))

    def noise(sigma: float) -> np.ndarray:
        field = gaussian_filter(rng.normal(size=radius.shape), sigma)
        return field / field.std()

    for name, size, width in (("lesion", 20, 8), ("organ", 40, 8), ("rough organ", 50, 3)):
        shape = 4 * noise(width)
        yield f"{name}, radius {size}", radius + shape < size, moved + shape + 1.5 * noise(width) < size


def both_sides(here: Callable[[], float], there: Callable[[], float]) -> dict[str, float]:
    """Both values, and the median milliseconds of each side, taken in turns so that load falls on both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    values = [0.0, 0.0]
    for _ in range(REPEATS):
        for side, function in enumerate((here, there)):
            start = time.perf_counter()
            values[side] = function()
            times[side].append(1000 * (time.perf_counter() - start))
    milliseconds = [statistics.median(side) for side in times]
    return {
        "radfoundry": values[0],
        "monai": values[1],
        "equal": abs(values[0] - values[1]) <= EQUAL_WITHIN * max(1.0, abs(values[1])),
        "radfoundry_ms": round(milliseconds[0], 2),
        "monai_ms": round(milliseconds[1], 2),
        "speed_up": round(milliseconds[1] / milliseconds[0], 2),
    }


def sides(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]
) -> dict[str, tuple[Callable[[], float], Callable[[], float]]]:
    """The measures to compare on one pair of masks: ours and theirs."""
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    from radfoundry.stats.surface import hausdorff, surface_dice

    one, two = (torch.from_numpy(mask)[None, None].float() for mask in (first, second))
    theirs = {"include_background": True, "spacing": spacing}
    ours = {"spacing_mm": spacing, "tolerance_mm": TOLERANCE_MM}

    def nsd(subvoxels: bool) -> float:
        return float(compute_surface_dice(two, one, [TOLERANCE_MM], use_subvoxels=subvoxels, **theirs))

    return {
        "HD95": (
            lambda: hausdorff(first, second, spacing_mm=spacing).value,
            lambda: float(compute_hausdorff_distance(two, one, percentile=95, **theirs)),
        ),
        "surface Dice (voxels)": (
            lambda: surface_dice(first, second, definition="voxels", **ours).value,
            lambda: nsd(False),
        ),
        "surface Dice (areas)": (
            lambda: surface_dice(first, second, definition="areas", **ours).value,
            lambda: nsd(True),
        ),
    }


def measure() -> dict[str, object]:
    """Compare all measures on all masks and spacings; runs inside the MONAI environment."""
    warnings.simplefilter("ignore")
    import monai
    import scipy
    import torch

    torch.set_num_threads(1)
    rows = [
        {"measure": measure_name, "masks": mask_name, "spacing": spacing_name} | both_sides(*pair)
        for mask_name, first, second in masks()
        for spacing_name, spacing in SPACINGS.items()
        for measure_name, pair in sides(first, second, spacing).items()
    ]
    versions = {"monai": monai.__version__, "torch": torch.__version__, "numpy": np.__version__}
    return {
        "shape": [128, 128, 128],
        "threads": 1,
        "repeats": REPEATS,
        "statistic": "median",
        "tolerance_mm": TOLERANCE_MM,
        "versions": versions | {"scipy": scipy.__version__, "python": sys.version.split()[0]},
        "rows": rows,
    }


def main() -> int:
    """Run the comparison and say whether the promise holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().inside:
        json.dump(measure(), sys.stdout)
        return 0
    paths = {"PYTHONPATH": str(ROOT / "src")}
    command = [str(environment()), str(Path(__file__).resolve()), "--inside"]
    done = subprocess.run(command, env=os.environ | ONE_THREAD | paths, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout[done.stdout.index("{") :])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    for row in found["rows"]:
        print(
            f"{row['measure']:22} {row['masks']:24} {row['spacing']:30} "
            f"{row['radfoundry_ms']:7.1f} ms  {row['monai_ms']:7.1f} ms  {row['speed_up']:5.1f}x  "
            f"{'equal' if row['equal'] else 'DIFFERENT'}"
        )
    slow = [row for row in found["rows"] if row["speed_up"] < LEAST_SPEED_UP or not row["equal"]]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
