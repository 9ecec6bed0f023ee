"""What a training run will cost here, from a few steps of it: time, waiting, memory and disk."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from radfoundry.train import loop
from radfoundry.train.learner import Learner
from radfoundry.train.processes import Place
from radfoundry.train.sources import Source

TRIAL_STEPS = 3


@dataclass(frozen=True)
class Trial:
    """Seconds of one step and the share of them spent on data, bytes of memory at the peak, bytes of a state."""

    step_seconds: float
    data_share: float
    memory_bytes: int
    state_bytes: int


def trial(learner: Learner, source: Source, plan: loop.Plan, *, place: Place) -> Trial:
    """Train a few steps in a folder that is thrown away; the first is not counted, it warms things up.

    Data are made in this process, so that with `workers` the time of a step is at most what is found here.
    """
    short = replace(plan, steps=TRIAL_STEPS + 1, minutes=None, workers=0, log_steps=1, save_minutes=1e9)
    with tempfile.TemporaryDirectory() as folder:
        course = loop.begin(learner, short, place=place, folder=Path(folder))
        begun: list[tuple[float, float]] = []

        def note(_step: int, under_way: loop.Course) -> bool:
            begun.append((time.perf_counter(), under_way.waited))
            return False

        loop.run(course, source, check=note)
        size = (Path(folder) / loop.STATE).stat().st_size
    seconds = (begun[-1][0] - begun[0][0]) / TRIAL_STEPS
    waited = (begun[-1][1] - begun[0][1]) / TRIAL_STEPS
    return Trial(seconds, min(1.0, waited / max(seconds, 1e-9)), peak_bytes(place), size)


def peak_bytes(place: Place) -> int:
    """The most memory used so far: on the GPU where training runs there, else by this process."""
    if place.device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# A state and the one that replaces it are on disk at the same time for a moment; then come encoder and pictures.
def spoken(found: Trial, plan: loop.Plan, *, patients: int, device: str) -> list[str]:
    """The forecast in lines: speed, duration or steps, memory and disk."""
    data = found.step_seconds * found.data_share
    compute = found.step_seconds - data
    # With workers, data are made beside the step; the slower of the two sets the pace.
    step = max(compute, data / plan.workers) if plan.workers else found.step_seconds
    waiting = max(0.0, 1 - compute / step)
    pace = f"{step:.2f} s a step of {patients} patients on {device}, {waiting:.0%} of it waiting for data"
    ends = []
    if plan.steps:
        ends.append(plan.steps * step)
    if plan.minutes:
        ends.append(plan.minutes * 60)
    seconds = min(ends)
    steps = round(seconds / step)
    lines = [
        f"forecast: {pace}",
        f"forecast: about {steps} steps, {steps * patients} patients, {duration(seconds)}",
        f"forecast: {found.memory_bytes / 1e9:.1f} GB of memory, {2.5 * found.state_bytes / 1e6:.0f} MB of disk",
    ]
    if waiting > 0.2:
        enough = max(1, -(-data // compute)) if compute > 0 else 1
        lines.append(f"forecast: set workers={int(enough)} to keep the encoder busy (needs as many free cores)")
    return lines


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use.

    >>> duration(40), duration(600), duration(90000)
    ('40 s', '10 min', '25.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
