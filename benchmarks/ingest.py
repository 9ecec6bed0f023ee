"""Header inventory per file: ours against a plain pydicom loop, MONAI's reader and dicom2nifti's, in one run.

python benchmarks/ingest.py [--files 1000] [--to benchmarks/results/ingest.json]

The peers are installed into a cache folder of their own and never touch the project's environment. Times are
processor seconds of one process (they do not depend on what else the machine is doing), files in the page
cache, the best of several alternating rounds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

PEERS = ("monai==1.6.1", "dicom2nifti==2.6.2")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "radfoundry-bench" / "ingest-peers"
SLICES = 50
PRIVATE_BYTES = 60_000  # as vendors add: protocols and calibration tables
ROUNDS = 3

READERS = {
    "radfoundry: header of each file": """
from radfoundry.data.dicom_header import read_instance
from radfoundry.data.sources import Source, walk
def go(folder):
    return len([read_instance(source) for source in walk([folder])])
""",
    "radfoundry: whole inventory (walk, pseudonyms, Parquet)": """
import tempfile
from radfoundry.data.identity import Rules
from radfoundry.data.inventory import seen, take_inventory
from radfoundry.data.pseudonyms import Pseudonyms
def go(folder):
    with tempfile.TemporaryDirectory() as place:
        return len(list(take_inventory(seen([folder]), Rules(Pseudonyms(b"0" * 32)), place)))
""",
    "pydicom: dcmread without pixels": """
from pathlib import Path
import pydicom
def go(folder):
    return len([pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(Path(folder).rglob("*.dcm"))])
""",
    "pydicom: dcmread of the same fields": """
from pathlib import Path
import pydicom
from radfoundry.data.dicom_values import FIELDS
TAGS = [tag for tag, _ in FIELDS.values()]
def go(folder):
    read = lambda path: pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
    found = [read(path) for path in sorted(Path(folder).rglob("*.dcm"))]
    return len([[item.get(tag).value if tag in item else None for tag in TAGS] for item in found])
""",
    "MONAI: PydicomReader.read": """
from pathlib import Path
from monai.data import PydicomReader
READER = PydicomReader()
def go(folder):
    return len([READER.read(str(path)) for path in sorted(Path(folder).rglob("*.dcm"))])
""",
    "dicom2nifti: read_dicom_directory": """
from pathlib import Path
from dicom2nifti.common import read_dicom_directory
def go(folder):
    return sum(len(read_dicom_directory(str(path))) for path in sorted(Path(folder).iterdir()))
""",
}
NOTE = """
The fields kept are the same for the first, second and fourth reader; `dcmread` without asking for values leaves them
undecoded. MONAI's and dicom2nifti's readers also read the bytes of the pixels, which a header inventory does not need:
that is how they offer headers. What limits ours: of some 230 µs a file, opening and reading it takes 50, stepping
through the header 60, and decoding, checking and building the record the rest; the whole inventory adds a second
opening (to find archives by their content), keyed pseudonyms, JSON and Parquet.
"""
TIMER = """
import json, sys, time
{reader}
go(sys.argv[1])
begin, wall = time.process_time(), time.perf_counter()
count = go(sys.argv[1])
print(json.dumps([count, time.process_time() - begin, time.perf_counter() - wall]))
"""


def write_scans(folder: Path, files: int, *, private_bytes: int) -> None:
    """Series of 50 slices of 256 x 256 pixels, with or without a large private element."""
    import pydicom

    from radfoundry.data.dicom_write import Identity, write_series
    from radfoundry.records import Acquisition
    from radfoundry.volume import Volume

    acquisition = Acquisition(
        modality="MR", manufacturer="Maker", scanning_sequence=("SE",), repetition_time_ms=500.0, echo_time_ms=10.0
    )
    rng = np.random.default_rng(0)
    for number in range(files // SLICES):
        volume = Volume.of(rng.integers(0, 1000, (256, 256, SLICES)).astype(np.int16), np.diag([0.9, 0.9, 3.0, 1.0]))
        place = folder / f"series{number:03d}"
        paths = write_series(volume, place, acquisition=acquisition, identity=Identity(f"P{number}", seed=number))
        for path in paths if private_bytes else ():
            item = pydicom.dcmread(path)
            block = item.private_block(0x0029, "BENCHMARK", create=True)
            block.add_new(0x10, "OB", rng.bytes(private_bytes))
            item.save_as(path)


def install_peers() -> None:
    """The peers' own code into the cache; what they need (numpy, pydicom, torch …) is shared, so versions are equal."""
    wanted = " ".join(PEERS)
    mark = CACHE / "installed.txt"
    if mark.exists() and mark.read_text() == wanted:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(CACHE), *PEERS]
    subprocess.run(command, check=True)
    mark.write_text(wanted)


def measure(reader: str, folder: Path) -> list[float]:
    """Files, processor seconds and wall seconds of one reading in a fresh process, after one to warm up."""
    environment = {**os.environ, "PYTHONPATH": str(CACHE), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", TIMER.format(reader=READERS[reader]), str(folder)]
    output = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def compare(folder: Path) -> dict[str, dict[str, float]]:
    """Microseconds per file of every reader: the best of alternating rounds."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(ROUNDS):
        for reader in READERS:
            count, processor, wall = measure(reader, folder)
            found = {"files": count, "cpu_us_per_file": 1e6 * processor / count, "wall_us_per_file": 1e6 * wall / count}
            if reader not in best or found["cpu_us_per_file"] < best[reader]["cpu_us_per_file"]:
                best[reader] = found
    return best


def machine() -> dict[str, str]:
    """Which machine and versions the numbers belong to."""
    from importlib.metadata import version

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
    return {
        "processor": f"{name}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "pydicom": version("pydicom"),
        "numpy": version("numpy"),
        "peers": ", ".join(PEERS),
        "date": datetime.now(UTC).date().isoformat(),
    }


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The comparison as Markdown."""
    ours = "radfoundry: header of each file"
    lines = ["| reader | headers | µs per file (processor) | times ours |", "| --- | --- | ---: | ---: |"]
    for kind, found in results.items():
        for reader, values in found.items():
            ratio = values["cpu_us_per_file"] / found[ours]["cpu_us_per_file"]
            lines.append(f"| {reader} | {kind} | {values['cpu_us_per_file']:.0f} | {ratio:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Write scans, run every reader on them, print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "results" / "ingest.json")
    options = parser.parse_args()
    install_peers()
    results = {}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        for kind, size in (("plain", 0), ("with 60 kB private", PRIVATE_BYTES)):
            folder = Path(place) / kind.replace(" ", "-")
            write_scans(folder, options.files, private_bytes=size)
            results[kind] = compare(folder)
    text = table(results)
    print(text)
    record = {"machine": machine(), "files": options.files, "results": results, "seconds": time.perf_counter() - begin}
    options.to.parent.mkdir(parents=True, exist_ok=True)
    options.to.write_text(json.dumps(record, indent=1) + "\n")
    about = "\n".join(f"- {name}: {value}" for name, value in record["machine"].items())
    options.to.with_suffix(".md").write_text(
        f"# Header inventory\n\n{text}\n{NOTE}\n{about}\n- files: {options.files}\n"
    )


if __name__ == "__main__":
    main()
