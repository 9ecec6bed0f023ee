"""Independent tasks over worker processes: a task that fails or kills its worker costs nobody else anything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

TaskType = TypeVar("TaskType")
ResultType = TypeVar("ResultType")
LOCAL = "local"
WAITING_PER_WORKER = 3  # tasks handed over ahead of need; more would only hold memory


@dataclass(frozen=True)
class Answer(Generic[TaskType, ResultType]):
    """What became of one task: a result, or the error it ended with (BrokenProcessPool: its process died)."""

    task: TaskType
    result: ResultType | None = None
    error: BaseException | None = None


def worker_count(asked: int, *, engine: str = LOCAL) -> int:
    """The number of processes to use; 0 asks for one per processor core that this process may use.

    A cluster (`ray`) counts its own cores: 0 stays 0. Refuses an engine whose library is not installed.
    """
    if engine != LOCAL:
        from radfoundry.data import ray_engine

        ray_engine.check()
        return asked
    if asked > 0:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(
    function: Callable[[TaskType], ResultType], tasks: Iterable[TaskType], *, workers: int, engine: str = LOCAL
) -> Iterator[Answer[TaskType, ResultType]]:
    """Run a function over tasks and give the answers as they come, in any order; tasks are drawn lazily.

    With one worker everything runs in this process, in order. When a worker process dies, the tasks it and
    its neighbours had in hand are tried again one at a time, so that only the guilty one is answered with
    an error. Worker processes end by themselves when this process is killed. With the engine `ray` the tasks go to
    a cluster (`data.ray_engine`); answers are the same.
    """
    if engine != LOCAL:
        from radfoundry.data import ray_engine

        yield from (Answer(*item) for item in ray_engine.answers(function, tasks, workers=workers))
        return
    if workers <= 1:
        with ThreadPoolExecutor(1) as here:
            yield from (_answer(task, here.submit(function, task)) for task in tasks)
        return
    remaining = iter(tasks)
    finished = False
    while not finished:
        suspects: list[TaskType] = []
        finished = yield from _until_broken(function, remaining, workers, suspects)
        for task in suspects:
            with _pool(1) as pool:
                yield _answer(task, pool.submit(function, task))


def _answer(task: TaskType, future: Future[ResultType]) -> Answer[TaskType, ResultType]:
    error = future.exception()  # waits until the task has ended
    return Answer(task, None if error else future.result(), error)


def _until_broken(
    function: Callable[[TaskType], ResultType], tasks: Iterator[TaskType], workers: int, suspects: list[TaskType]
) -> Generator[Answer[TaskType, ResultType], None, bool]:
    """Answers until the tasks run out (returns True) or the pool breaks (False, with what was in hand in suspects)."""
    pending: dict[Future[ResultType], TaskType] = {}
    pool = _pool(workers)
    try:
        while True:
            for task in islice(tasks, workers * WAITING_PER_WORKER - len(pending)):
                pending[pool.submit(function, task)] = task
            if not pending:
                return True
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            broken = False
            for future in done:
                broken = broken or isinstance(future.exception(), BrokenProcessPool)
                if not isinstance(future.exception(), BrokenProcessPool):
                    yield _answer(pending.pop(future), future)
            if broken:
                suspects.extend(pending.values())
                return False
    except BrokenProcessPool:  # it broke while tasks were being handed over
        suspects.extend([*pending.values(), task])
        return False
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Forked copies of a process with running threads can hang (SimpleITK, OpenMP), so workers start afresh.
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_watch_parent)


def _watch_parent() -> None:
    """A killed parent must not leave workers behind that go on writing; Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
