"""Real uvicorn workers, each an interpreter of its own, under real requests: one quota."""

from __future__ import annotations

import signal

import pytest
from servers import until
from sites import PORT, served

from ratekeeper.testing import Reply

WORKERS = 2


@pytest.fixture(scope="module")
def site(started):
    with served(
        started, "uvicorn", "app:app", "--log-level", "warning", "--port", PORT, workers=WORKERS
    ) as site:
        yield site


def test_calls_of_all_workers_stay_within_one_quota(site, within_one_quota):
    answered = site.ask_many(80)
    assert None not in answered
    assert len(set(answered)) == WORKERS
    within_one_quota(80)


def test_an_end_in_peace_finishes_what_was_begun_and_gives_all_back_at_once(site, provider, scope):
    provider.script(Reply(latency=1.5, times=None))
    asked = site.pool.map(site.ask, range(6))
    until(lambda: scope.status()["in_flight"] == 6, "all are in flight")
    site.program.signal(signal.SIGTERM)
    assert None not in list(asked)
    site.program.process.wait(30)
    until(lambda: scope.status()["in_flight"] == 0, "nothing is held", 1)
