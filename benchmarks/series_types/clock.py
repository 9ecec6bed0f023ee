"""Seconds a series of `radfoundry curate types` by the clock and of processor time, with one and with two processes.

python benchmarks/series_types/clock.py [PATIENTS]

A simulated cohort of several patients and one of a single patient are typed by the command a user gives; what the
larger takes beyond the smaller, over the series it has more, is the time of one series: start and page aside, reading
included. The load of the machine beforehand stands beside the result, for the clock feels it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import compare

CALL = "import sys; from radfoundry.cli.main import exit_code; sys.exit(exit_code(sys.argv[1:]))"
OUT = Path(__file__).parent.parent / "results" / "curate_types_clock.json"


def command(*words: object) -> tuple[float, float]:
    """Seconds by the clock and of processor time of one command in a process of its own."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", CALL, *map(str, words)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, busy


def cohort_of(folder: Path, patients: int) -> tuple[Path, int]:
    """A simulated cohort and the number of its series."""
    made, cohort = folder / f"made-{patients}", folder / f"cohort-{patients}"
    command("simulate", "--cohort", "brain-multisequence", "--cases", patients, "--to", made)
    command("ingest", made / "dicom", "--to", cohort, "--key-file", folder / "key")
    return cohort, len(list((cohort / "volumes").glob("*.b2nd")))


def main(patients: int) -> None:
    """Type both cohorts with one process and with two, from nothing each time."""
    os.environ["OMP_NUM_THREADS"] = "1"
    told: dict[str, object] = {"about": compare.about(), "cores": os.cpu_count(), "patients": patients}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, few = cohort_of(folder, 1)
        large, many = cohort_of(folder, patients)
        told |= {"series": [few, many], "load of the machine before": round(os.getloadavg()[0], 1)}
        for workers in (1, 2):
            rows = {}
            for cohort in (small, large):
                rows[cohort] = command(
                    "curate", "types", f"cohort={cohort}", f"workers={workers}", "--to", f"{cohort}-typed-{workers}"
                )
                for path in (cohort / ".types").rglob("*.json"):
                    path.unlink()
            clock, busy = ((rows[large][k] - rows[small][k]) / (many - few) for k in (0, 1))
            told[f"{workers} processes"] = {
                "whole command, one patient, s": round(rows[small][0], 2),
                "whole command, all patients, s": round(rows[large][0], 2),
                "a series by the clock, s": round(clock, 3),
            }
            if workers == 1:  # what a pool's processes used is not told to the process that asks
                told["a series of processor time, s"] = round(busy, 3)
    OUT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(OUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
