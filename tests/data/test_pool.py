"""Laws of the task pool: every task is answered once, whatever the number of workers and whoever dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radfoundry.data.pool import BrokenProcessPool, each, worker_count


def double_or_fail(number):
    if number == 13:
        raise ValueError("thirteen")
    if number == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_answered_once_and_errors_stay_with_their_task(workers):
    tasks = [number for number in range(40) if number != 17]
    answers = {answer.task: answer for answer in each(double_or_fail, tasks, workers=workers)}
    assert sorted(answers) == tasks
    assert {task for task, answer in answers.items() if answer.error} == {13}
    assert all(answer.result == 2 * task for task, answer in answers.items() if task != 13)


def test_a_task_that_kills_its_worker_is_the_only_one_blamed():
    answers = [(a.task, a.result, a.error) for a in each(double_or_fail, iter(range(24)), workers=2)]
    assert sorted(task for task, _, _ in answers) == list(range(24))
    assert {task: type(error) for task, _, error in answers if error} == {13: ValueError, 17: BrokenProcessPool}


def test_tasks_are_drawn_as_needed():
    drawn = []

    def endless():
        number = 100
        while True:
            drawn.append(number)
            yield number
            number += 1

    answers = each(double_or_fail, endless(), workers=2)
    next(answers)
    answers.close()
    assert len(drawn) < 20


def test_worker_count():
    assert worker_count(3) == 3 and worker_count(0) >= 1


SCRIPT = """
import sys, time
from pathlib import Path
from radfoundry.data.pool import each

def work(folder):
    import os
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    list(each(work, [sys.argv[1]] * 2, workers=2))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "pids"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(folder)])
    try:
        wait_for(lambda: len(list(folder.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(path.name) for path in folder.iterdir()]
    wait_for(lambda: not any(running(pid) for pid in workers))


def running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(condition, seconds=30):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)
