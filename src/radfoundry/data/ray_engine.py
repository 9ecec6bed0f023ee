"""Independent tasks over a Ray cluster: the same answers as the local pool, from many machines."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from radfoundry.records import InputError

TaskType = TypeVar("TaskType")
ResultType = TypeVar("ResultType")
WAITING_PER_CORE = 3  # tasks handed over ahead of need; more would only hold memory
AGAIN = 1  # a task whose machine or process dies is tried once more, then answered with an error
STORE_BYTES = 128 << 20  # of shared memory: tasks and answers are small


def check() -> None:
    """Refuse the engine ray where its library is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InputError(
            "the engine ray needs the library ray, which is not installed",
            where="engine",
            remedy="pip install 'radfoundry[scale]', or leave engine=local",
            finding="missing-extra",
        )


def answers(
    function: Callable[[TaskType], ResultType], tasks: Iterable[TaskType], *, workers: int
) -> Iterator[tuple[TaskType, ResultType | None, BaseException | None]]:
    """Run a function over tasks on a Ray cluster: (task, result, error) as they come; tasks are drawn lazily.

    The cluster is the one that RAY_ADDRESS names; without it one is started on this machine and ended afterwards.
    `workers` is the largest number of tasks at work at once, 0 for as many as the cluster has cores. Every machine
    needs this package and the same paths to the scans. Nothing is reported to anybody outside.
    """
    check()
    waiting = iter(tasks)
    first = list(islice(waiting, 1))
    if not first:
        return
    # Ray counts its users over the network unless told not to; hospitals' machines must not call out.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    begun = not ray.is_initialized()
    if begun:
        ray.init(**_place(workers))
    try:
        most = workers or WAITING_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
        yield from _spread(ray, function, chain(first, waiting), most)
    finally:
        if begun:
            ray.shutdown()


def _place(workers: int) -> dict[str, Any]:
    """How to reach the cluster, or to start one of so many processes on this machine."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if os.environ.get("RAY_ADDRESS"):
        return quiet
    own = {"address": "local", "include_dashboard": False, "object_store_memory": STORE_BYTES}
    return quiet | own | ({"num_cpus": workers} if workers else {})


def _spread(
    ray: Any, function: Callable[[TaskType], ResultType], tasks: Iterator[TaskType], most: int
) -> Generator[tuple[TaskType, ResultType | None, BaseException | None], None, None]:
    """Keep at most so many tasks in hand, and give each answer when it is there."""
    remote = ray.remote(num_cpus=1, max_retries=AGAIN)(_called)
    shared = ray.put(function)
    pending: dict[Any, TaskType] = {}
    try:
        while True:
            for task in islice(tasks, most - len(pending)):
                pending[remote.remote(shared, task)] = task
            if not pending:
                return
            done, _ = ray.wait(list(pending), num_returns=1)
            for reference in done:
                yield pending.pop(reference), *_outcome(ray, reference)
    finally:
        for reference in pending:  # the caller has stopped asking
            ray.cancel(reference, force=True)


def _called(function: Callable[[TaskType], ResultType], task: TaskType) -> ResultType:
    return function(task)


def _outcome(ray: Any, reference: Any) -> tuple[Any, BaseException | None]:
    """The result, or the error the task ended with; BrokenProcessPool where its process or machine died."""
    try:
        return ray.get(reference), None
    except ray.exceptions.RayTaskError as error:
        return None, error.cause if isinstance(error.cause, BaseException) else error
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError):
        return None, BrokenProcessPool("the process of this task died twice")
