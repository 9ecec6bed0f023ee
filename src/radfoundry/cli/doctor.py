"""`radfoundry doctor`: is this installation fit for use?"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click

from radfoundry.cli import talk

# Each of these imports torchvision, whose only builds break beside a CPU torch: one import and
# every model of transformers fails as well.
HARMFUL = ("torchvision", "timm", "open_clip", "pytorch_grad_cam")
# JPEG lossless is decoded by radfoundry itself; plain JPEG by Pillow.
DECODERS = {"openjpeg": "JPEG 2000", "rle": "RLE", "jpeg_ls": "JPEG-LS", "PIL": "JPEG"}
LEAST_FREE_GIB = 1.0


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def doctor(as_json: bool) -> int:
    """Check versions, decoders, disk and packages that break others; exit 2 when something must be mended."""
    rows = list(checks())
    if as_json:
        talk.show_json([{"check": name, "good": good, "found": found} for name, good, found in rows])
    else:
        talk.show_table(
            [[name, "good" if good else "MEND", found] for name, good, found in rows],
            header=("check", "state", "found"),
        )
    return 0 if all(good for _, good, _ in rows) else 2


def checks() -> Iterator[tuple[str, bool, str]]:
    """Each check: its name, whether it is good, and what was found."""
    for name in ("radfoundry", "torch", "numpy", "pandas", "scikit-learn", "SimpleITK", "pydicom", "blosc2"):
        try:
            yield name, True, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, False, "not installed; pip install radfoundry"
    harmful = [name for name in HARMFUL if importlib.util.find_spec(name) is not None]
    yield "no torchvision", not harmful, f"pip uninstall {' '.join(harmful)}" if harmful else "absent, as it must be"
    for module, purpose in DECODERS.items():
        there = importlib.util.find_spec(module) is not None
        yield f"decoder {purpose}", there, module if there else f"missing module {module}"
    maps = importlib.util.find_spec("nilearn")
    yield "head template", maps is not None, "nilearn" if maps else "pip install nilearn"
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield "disk", free > LEAST_FREE_GIB, f"{free:.0f} GiB free here"
    yield "processors", True, str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
