"""The training loop: every step of every run goes through here, on one process or many."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from radfoundry import runs
from radfoundry.records import InputError
from radfoundry.train import optimiser as optimisers
from radfoundry.train import state as states
from radfoundry.train.batches import Batch
from radfoundry.train.learner import Learner
from radfoundry.train.processes import Place, agreed, averaged
from radfoundry.train.sources import Source, ahead

LOG = "log.jsonl"
STATE = "state.safetensors"
MOST_SKIPPED_IN_A_ROW = 10
Check = Callable[[int, "Course"], bool]


@dataclass(frozen=True)
class Plan:
    """How long and how to train; at least one of `steps` and `minutes` bounds the run, whichever is reached first.

    accumulate: micro-batches whose gradients make one step · clip_norm: longest gradient · average: decay of the slow
    average of the encoder · precision: `fp32` or `bf16` · shard: spread weights over processes (FSDP2) · workers: of
    the source · save_minutes between states on disk · log_steps between lines of the log.
    """

    steps: int | None = None
    minutes: float | None = None
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    clip_norm: float = 1.0
    average: float = 0.999
    precision: str = "fp32"
    shard: bool = False
    compiled: bool = False
    workers: int = 0
    save_minutes: float = 5.0
    log_steps: int = 10

    def progress(self, step: int, seconds: float) -> float:
        """The share of the run that is over, from 0 to 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_steps, by_time))


@dataclass(eq=False)
class Course:
    """A run under way: what is trained, how far it is, and what has been seen."""

    trained: states.Trained
    module: nn.Module
    plan: Plan
    place: Place
    folder: Path
    settings: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    stopped: str = ""
    skipped_in_a_row: int = 0
    waited: float = 0.0

    @property
    def learner(self) -> Learner:
        """The encoder with its objectives."""
        return self.trained.learner

    @property
    def at(self) -> states.Progress:
        """How far the run is."""
        return self.trained.at

    @property
    def progress(self) -> float:
        """The share of the run that is over."""
        return self.plan.progress(self.at.step, self.at.seconds)

    def save(self) -> None:
        """Put the whole state on disk; the first process writes."""
        states.save(self.folder / STATE, self.trained, settings=self.settings, write=self.place.first)


def begin(learner: Learner, plan: Plan, *, place: Place, folder: Path, settings: str = "") -> Course:
    """A run at its start, or where its folder says it was left; `settings` has to be the same then."""
    if plan.steps is None and plan.minutes is None:
        raise InputError("neither steps nor minutes bound the run", remedy="set steps=1000 or minutes=20")
    learner.to(place.device)
    module = _spread(learner, plan, place)
    optimiser = optimisers.adamw(learner, learning_rate=plan.learning_rate, weight_decay=plan.weight_decay)
    average = optimisers.SlowAverage(learner.encoder, decay=plan.average)
    course = Course(states.Trained(learner, optimiser, average), module, plan, place, folder, settings)
    if (folder / STATE).is_file():
        states.load(folder / STATE, course.trained, settings=settings)
        course.history = _read_log(folder / LOG, up_to=course.at.step)
        if place.first:
            with runs.atomic(folder / LOG) as partial:
                partial.write_text("".join(json.dumps(line) + "\n" for line in course.history), encoding="utf-8")
    return course


def _spread(learner: Learner, plan: Plan, place: Place) -> nn.Module:
    """The learner as it is called: alone, copied to every process, or cut into parts over the processes."""
    if plan.compiled:
        for block in getattr(learner.encoder, "blocks", ()):
            block.compile()
    if place.world == 1:
        return learner
    if plan.shard:
        from torch.distributed.fsdp import fully_shard

        for block in getattr(learner.encoder, "blocks", ()):
            fully_shard(block)
        fully_shard(learner)
        return learner
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(learner, broadcast_buffers=False, find_unused_parameters=True)


def run(
    course: Course,
    source: Source,
    *,
    check: Check | None = None,
    progress: Callable[..., None] | None = None,
) -> Course:
    """Train until the budget is used, a check asks to stop, or the user does; the state is saved in every case.

    check: called after every step with its number; True ends the run. Raises KeyboardInterrupt after saving when the
    user interrupts.
    """
    plan, at = course.plan, course.at
    interrupted = threading.Event()
    clock = _Clock(course)
    with (
        _catching(interrupted),
        ahead(source, start=at.step * plan.accumulate, workers=plan.workers) as batches,
        _Log(course) as log,
    ):
        while course.progress < 1 and not course.stopped:
            terms, norm = _step(course, batches)
            # A signal or a clock may reach processes in different steps; they have to act in the same one.
            wishes = (clock.seconds(), float(interrupted.is_set()), float(clock.save_due()))
            at.seconds, ending, saving = agreed(wishes, course.place)
            log.add(terms, norm)
            if progress is not None and course.place.first:
                progress("pretrain", *_done(course), log.line)
            if check is not None and check(at.step, course):
                course.stopped = course.stopped or "the check asked to stop"
            if ending or saving:
                course.save()
                clock.saved = time.perf_counter()
            if ending:
                raise KeyboardInterrupt
    course.save()
    return course


def _step(course: Course, batches: Iterator[Batch]) -> tuple[dict[str, torch.Tensor], float]:
    """Gradients of all micro-batches, one move of the weights; a gradient that is not finite moves nothing."""
    plan, at = course.plan, course.at
    rate = plan.learning_rate * optimisers.schedule(at.step, course.progress, warmup_steps=plan.warmup_steps)
    for group in course.trained.optimiser.param_groups:
        group["lr"] = rate
    course.trained.optimiser.zero_grad(set_to_none=True)
    summed: dict[str, torch.Tensor] = {}
    for micro in range(plan.accumulate):
        started = time.perf_counter()
        batch = next(batches).to(course.place.device)
        course.waited += time.perf_counter() - started
        with _sync(course, last=micro == plan.accumulate - 1), _autocast(course):
            terms = course.module(batch, course.progress)
            (terms["loss"] / plan.accumulate).backward()
        for name, value in terms.items():
            part = value.detach().float() / plan.accumulate
            summed[name] = summed[name] + part if name in summed else part
    moving = [weight for weight in course.learner.parameters() if weight.grad is not None]
    norm = float(states.whole(nn.utils.clip_grad_norm_(moving, plan.clip_norm)))
    if math.isfinite(norm):
        course.trained.optimiser.step()
        course.trained.average.update(course.learner.encoder, at.step)
        course.learner.after_step(course.progress)
        course.skipped_in_a_row = 0
    else:
        _skip(course, summed)
    at.step += 1
    return summed, norm


def _skip(course: Course, terms: dict[str, torch.Tensor]) -> None:
    """Count a step whose gradient was not finite; too many in a row end the run with the last good state kept."""
    course.at.skipped += 1
    course.skipped_in_a_row += 1
    if course.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
        broken = [name for name, value in terms.items() if not bool(torch.isfinite(value))] or ["the gradient"]
        raise InputError(
            f"{course.skipped_in_a_row} steps in a row gave no finite number ({', '.join(broken)})",
            where=f"step {course.at.step}",
            remedy="lower learning_rate, or set precision=fp32",
            finding="not-finite",
        )


def _sync(course: Course, *, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Gradients travel between processes only with the last micro-batch of a step."""
    alone: Any = getattr(course.module, "no_sync", None)
    return contextlib.nullcontext() if last or alone is None else alone()


def _autocast(course: Course) -> contextlib.AbstractContextManager[Any]:
    kind = course.place.device.split(":")[0]
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=course.plan.precision == "bf16")


def _done(course: Course) -> tuple[int, int]:
    """Steps done and in all; for a run bounded by time, the steps it will come to at this speed."""
    share = course.progress
    expected = course.plan.steps or course.at.step
    if share > 0:
        expected = min(expected, round(course.at.step / share)) if course.plan.steps else round(course.at.step / share)
    return course.at.step, max(course.at.step, expected)


class _Clock:
    """Seconds of training, those before an interruption included."""

    def __init__(self, course: Course) -> None:
        self.before = course.at.seconds
        self.started = self.saved = time.perf_counter()
        self.every = course.plan.save_minutes * 60

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def save_due(self) -> bool:
        return time.perf_counter() - self.saved >= self.every


class _Log:
    """Means of the terms over a few steps, one JSON line each, written by the first process."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.sums: dict[str, torch.Tensor] = {}
        self.counts: dict[str, int] = {}
        self.norms: list[float] = []
        self.line = ""
        self.last_seconds, self.last_waited, self.last_step = course.at.seconds, course.waited, course.at.step

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, terms: dict[str, torch.Tensor], norm: float) -> None:
        """Take a step in; every few steps write a line."""
        for name, value in terms.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.norms.append(norm)
        if self.course.at.step % self.course.plan.log_steps == 0:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered since the last line."""
        course, steps = self.course, self.course.at.step - self.last_step
        if steps == 0 or not self.sums:
            return
        names = sorted(self.sums)
        stacked = averaged(torch.stack([self.sums[name] / self.counts[name] for name in names]), course.place)
        seconds = max(1e-9, course.at.seconds - self.last_seconds)
        entry = {
            "step": course.at.step,
            "seconds": round(course.at.seconds, 3),
            "terms": dict(zip(names, (float(value) for value in stacked), strict=True)),
            "gradient_norm": max(self.norms),
            "learning_rate": course.trained.optimiser.param_groups[0]["lr"],
            "steps_per_second": steps / seconds,
            "waiting_share": min(1.0, (course.waited - self.last_waited) / seconds),
            "skipped": course.at.skipped,
        }
        course.history.append(entry)
        self.line = spoken(entry)
        if course.place.first:
            course.folder.mkdir(parents=True, exist_ok=True)
            with (course.folder / LOG).open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(runs.plain(entry)) + "\n")
        self.sums, self.counts, self.norms = {}, {}, []
        self.last_seconds, self.last_waited, self.last_step = course.at.seconds, course.waited, course.at.step


def spoken(entry: dict[str, Any]) -> str:
    """A line of the log in a few words."""
    terms = entry["terms"]
    parts = [f"loss {terms['loss']:.3f}"] + [f"{name} {value:.3f}" for name, value in terms.items() if name != "loss"]
    parts += [f"{entry['steps_per_second']:.2f} steps/s", f"waiting {entry['waiting_share']:.0%}"]
    return ", ".join(parts)


def _read_log(path: Path, *, up_to: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
    return [line for line in lines if line["step"] <= up_to]


@contextlib.contextmanager
def _catching(interrupted: threading.Event) -> Generator[None]:
    """Let the first interruption finish the step under way, so that what is saved is a whole number of steps."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(_number: int, _frame: object) -> None:
        interrupted.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
