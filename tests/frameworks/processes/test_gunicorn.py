"""Real gunicorn workers under real requests: one quota, whatever becomes of a worker.

The tests follow one another on one server, which the last one ends. The limiter is made before the workers are forked.
"""

from __future__ import annotations

import os
import signal
import threading
from statistics import mode

import pytest
from plan import PER_SECOND
from servers import until
from sites import AT_ONCE, PORT, served

from ratekeeper.testing import Reply

WORKERS = 3
#: Longer than a killed process is believed to be there.
MISSED = 12.0
COMMAND = ("gunicorn", "app:app", "--preload", "--worker-class", "uvicorn_worker.UvicornWorker")


@pytest.fixture(scope="module")
def site(started):
    with served(started, *COMMAND, "--bind", f"127.0.0.1:{PORT}", workers=WORKERS) as site:
        yield site


def test_calls_of_all_workers_on_threads_stay_within_one_quota(site, within_one_quota):
    assert None not in site.ask_many(50, "/ask-in-a-thread")
    within_one_quota(50)


def test_calls_of_all_workers_on_event_loops_stay_within_one_quota_and_use_it(site, within_one_quota):
    answered = site.ask_many(120)
    assert None not in answered
    assert len(set(answered)) == WORKERS
    arrivals = within_one_quota(120).arrivals()
    # A quarter of a second of the bucket is held back.
    ideal = (120 - PER_SECOND * 0.75) / PER_SECOND
    assert arrivals[-1] - arrivals[0] < ideal * 2 + 2


def test_a_killed_worker_is_replaced_and_only_its_own_calls_are_lost(site, within_one_quota, provider):
    # So long that every worker always has some of the calls that the quota allows at once.
    provider.script(Reply(latency=0.5, times=None))
    asked = [site.pool.submit(site.ask, number) for number in range(100)]
    until(lambda: sum(each.done() for each in asked) >= 30, "a part is answered")
    # The busiest has calls in the air.
    victim = mode(each.result() for each in asked if each.done())
    os.kill(victim, signal.SIGKILL)
    lost = [each.result() for each in asked].count(None)
    assert 0 < lost <= AT_ONCE
    until(lambda: victim not in site.workers() and len(site.workers()) == WORKERS, "a worker is born")
    # An answer may have been on its way when its reader was killed.
    assert 100 - lost <= within_one_quota(provider.report().answered).answered <= 100


def test_a_reload_replaces_all_workers_under_load_and_finishes_what_was_begun(site, within_one_quota):
    before = site.workers()
    threading.Timer(0.3, site.program.signal, (signal.SIGHUP,)).start()
    # A worker that ends hangs up on who is connected and has not been heard yet.
    answered = [worker for worker in site.ask_many(60) if worker]
    assert within_one_quota(len(answered)).requests == len(answered)
    until(lambda: not before & site.workers() and len(site.workers()) == WORKERS, "all are new")


def test_what_the_killed_worker_held_comes_back(scope):
    until(lambda: scope.status()["in_flight"] == 0, "the permits are back", MISSED)


def test_an_end_in_peace_finishes_what_was_begun_and_gives_all_back_at_once(site, provider, scope):
    provider.script(Reply(latency=1.5, times=None))
    asked = site.pool.map(site.ask, range(6))
    until(lambda: scope.status()["in_flight"] == 6, "all are in flight")
    site.program.signal(signal.SIGTERM)
    assert None not in list(asked)
    assert site.program.process.wait(30) == 0
    until(lambda: scope.status()["in_flight"] == 0, "nothing is held", 1)
