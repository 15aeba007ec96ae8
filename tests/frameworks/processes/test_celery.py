"""Real Celery prefork workers, recycled by tasks and by memory, killed, and ended in peace: one quota.

The tests follow one another on one worker, which the last one ends. The limiter is made before its children are forked.
"""

from __future__ import annotations

import os
import signal

import pytest
from billiard.exceptions import WorkerLostError
from servers import until

from ratekeeper.testing import Reply

CHILDREN, TASKS_EACH, KILOBYTES_EACH = 3, 12, 300_000
#: Longer than a killed process is believed to be there.
MISSED = 12.0
#: Seconds that a call takes which is to be in flight at the same time as others: a child may be about to be replaced.
LONG = 3.0
#: Seconds within which all tasks of a test are done.
PATIENCE = 60


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """The application, as those see it who give it work."""
    folder = tmp_path_factory.mktemp("queue")
    for name in ("messages", "control"):
        (folder / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUEUE", str(folder))
        import tasks

        yield tasks


@pytest.fixture(scope="module")
def worker(tasks, started):
    limits = ("--max-tasks-per-child", TASKS_EACH, "--max-memory-per-child", KILOBYTES_EACH)
    options = ("--concurrency", CHILDREN, *limits, "--loglevel", "info")
    worker = started("-m", "celery", "-A", "tasks", "worker", *options, QUEUE=str(tasks.FOLDER))
    until(lambda: "ready." in worker.said, "the worker is ready", 60)
    return worker


def done(results):
    """The ids of the processes that did these tasks; an exception instead of one that failed."""
    return [result.get(timeout=PATIENCE, interval=0.05, propagate=False) for result in results]


def give(task, count):
    return [task.delay(f"Question {number}?") for number in range(count)]


def test_all_children_together_stay_within_one_quota(worker, tasks, within_one_quota):
    answered = done(give(tasks.answer, 60))
    within_one_quota(60)
    assert len(set(answered)) > CHILDREN
    assert max(answered.count(pid) for pid in answered) <= TASKS_EACH


def test_children_that_are_replaced_are_not_counted_any_more(worker, scope):
    # The worker itself, and this process. One that has not said so is counted until it is missed.
    until(lambda: scope.status()["store"]["processes"] <= CHILDREN + 2, "they are gone", 4)


def test_a_killed_childs_task_is_lost_alone(worker, tasks, provider, scope):
    provider.script(Reply(latency=LONG, times=CHILDREN))
    slow = give(tasks.answer, CHILDREN)
    until(lambda: scope.status()["in_flight"] == CHILDREN, "all children call")
    os.kill(max(worker.children), signal.SIGKILL)
    lost = [answer for answer in done(slow) if isinstance(answer, WorkerLostError)]
    assert len(lost) == 1
    until(lambda: len(worker.children) == CHILDREN, "another child is born")


def test_children_that_are_replaced_for_their_memory_share_the_quota_too(worker, tasks, within_one_quota):
    answered = done(give(tasks.answer_and_hoard, 12))
    within_one_quota(12)
    # Each child keeps a tenth of a gigabyte a task.
    assert max(answered.count(pid) for pid in answered) <= KILOBYTES_EACH // 100_000


def test_what_the_killed_child_held_comes_back(scope):
    until(lambda: scope.status()["in_flight"] == 0, "the permits are back", MISSED)


def test_a_task_that_is_terminated_gives_its_permit_back_at_once(worker, tasks, provider, scope):
    provider.script(Reply(latency=5.0))
    (slow,) = give(tasks.answer, 1)
    until(lambda: provider.report().in_flight == 1, "it calls")
    before = worker.children
    tasks.app.control.revoke(slow.id, terminate=True, signal="SIGTERM")
    until(lambda: not provider.report().in_flight, "its process is gone", 3)
    until(lambda: scope.status()["in_flight"] == 0, "its permit is back", 1)
    until(lambda: len(worker.children) == CHILDREN and worker.children != before, "another child is born")


def test_an_end_in_peace_finishes_what_was_begun_and_gives_all_back_at_once(worker, tasks, provider, scope):
    provider.script(Reply(latency=LONG, times=None))
    slow = give(tasks.answer, CHILDREN)
    until(lambda: scope.status()["in_flight"] == CHILDREN, "all children call")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(30) == 0
    until(lambda: scope.status()["in_flight"] == 0, "nothing is held", 1)
    assert all(isinstance(pid, int) for pid in done(slow))


#: What happens in a child, in its order: the keeper is made in `worker_process_init`, then the pool takes SIGTERM over.
CHILD = """
import os, signal, time
from billiard.common import reset_signals
from celery.signals import task_prerun
from plan import SCOPE, keeper

limiter = keeper().limiter(SCOPE)
reset_signals()
task_prerun.send(None)
held = limiter.acquire().wait()
print("held", flush=True)
try:
    time.sleep(30)
except SystemExit:
    print("unwinding", flush=True)
    time.sleep(30)
"""


def test_the_second_sigterm_gives_back_what_the_first_has_not_come_to(started, scope):
    child = started("-c", CHILD)
    for said in ("held", "unwinding"):
        until(lambda said=said: said in child.said, said)
        assert scope.status()["in_flight"] == 1
        child.signal(signal.SIGTERM)
    assert child.process.wait(10) == -signal.SIGTERM
    assert scope.status()["in_flight"] == 0
