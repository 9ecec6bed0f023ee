"""Files a second and peak memory of `radfoundry deidentify` on a stream of small DICOM files.

python benchmarks/deidentify.py [COUNT …]: writes that many MR slices of 32 x 32 pixels (250 a patient) into a temporary
folder and de-identifies them in one process of its own, whose peak resident memory is read at the end.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

RESULT = Path(__file__).parent / "results" / "deidentify.json"
COUNTS = (1000, 10000)
SLICES = 250
CHILD = """
import resource, sys, time
from radfoundry.config import load
from radfoundry.stages import deidentify
started, cpu = time.time(), time.process_time()
run = deidentify.run(load(deidentify.Config, {"sources": [sys.argv[1]], "to": sys.argv[2], "workers": 1}))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.time() - started, time.process_time() - cpu, peak, "|", "; ".join(run.notes))
"""


def write(folder: Path, count: int) -> None:
    """Small series with a patient, dates and a place in each header."""
    import numpy as np

    from radfoundry.data.dicom_write import Identity, write_series
    from radfoundry.records import Acquisition
    from radfoundry.volume import Volume

    rng = np.random.default_rng(0)
    for number in range(count // SLICES):
        volume = Volume.of(rng.integers(0, 900, (32, 32, SLICES)).astype(np.float32), np.diag([1.0, 1.0, 1.0, 1.0]))
        identity = Identity(
            patient_id=f"4711{number:06d}",
            patient_name=f"Person{number:05d}^Given",
            birth_date="19500101",
            study_date="20200227",
            institution="General Hospital",
            accession=f"A{number:07d}",
        )
        write_series(volume, folder / f"{number:05d}", acquisition=Acquisition(modality="MR"), identity=identity)


def measure(count: int) -> dict[str, float | int | str]:
    """One run over `count` files."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        write(source, count)
        command = [sys.executable, "-c", CHILD, str(source), str(Path(folder) / "out")]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    numbers, notes = told.split("|")
    seconds, cpu_seconds, peak_mib = map(float, numbers.split())
    return {
        "files": count,
        "files_per_second": round(count / seconds, 1),
        "files_per_cpu_second": round(count / cpu_seconds, 1),
        "peak_mib": round(peak_mib, 1),
        "notes": notes.strip(),
    }


def main() -> None:
    counts = tuple(map(int, sys.argv[1:])) or COUNTS
    started = time.time()
    found = [measure(count) for count in counts]
    RESULT.write_text(json.dumps({"runs": found, "seconds": round(time.time() - started)}, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
