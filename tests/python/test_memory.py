"""What is over leaves nothing behind, however often it happens."""

import asyncio
import gc
import sys
from pathlib import Path

import pytest

import ratekeeper as rk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
MEGABYTE = 1 << 20


def resident():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.fixture
def grows():
    """How many bytes more the process takes after a second round of the same, the first having warmed it up."""

    def measure(work):
        work(0)
        before = resident()
        work(1)
        return resident() - before

    return measure


def test_calls_that_are_over_take_no_memory(grows):
    limiter = rk.RateLimiter(rk.Quota(rpm=10**9, tpm=10**12, concurrency=4))

    def work(_):
        for _ in range(200_000):
            with limiter.acquire(tokens=9) as lease:
                lease.settle(tokens=5)

    assert grows(work) < 2 * MEGABYTE


def test_cancelled_waits_take_no_memory(grows, clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)
    held = limiter.try_acquire()

    async def wait_and_cancel():
        tasks = [asyncio.ensure_future(limiter.acquire()) for _ in range(5000)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def work(_):
        for _ in range(5):
            asyncio.run(wait_and_cancel())
            assert limiter.status()["waiting"] == 0

    assert grows(work) < 4 * MEGABYTE
    held.close()


def test_loops_closed_with_waiters_take_no_memory(grows, clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)

    async def wait():
        await limiter.acquire()

    def work(_):
        for _ in range(100):
            held = limiter.try_acquire()
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending!"
            for _ in range(10):
                loop.create_task(wait())
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            held.close()
            gc.collect(0)

    assert grows(work) < 2 * MEGABYTE


@pytest.mark.parametrize("caps", [None, {"*": rk.Quota(rpm=60, tpm=1000)}])
def test_idle_tenants_are_forgotten(grows, clock, caps):
    limiter = rk.RateLimiter(rk.Quota(concurrency=5), tenants=caps, clock=clock)

    def work(turn):
        for number in range(50_000):
            with limiter.acquire(tenant=f"{turn}-{number}"):
                pass
            clock.advance(0.1)

    assert grows(work) < 4 * MEGABYTE


def test_idle_keys_of_a_throttle_are_forgotten(grows, clock):
    throttle = rk.Throttle("10/s", clock=clock)

    def work(turn):
        for number in range(50_000):
            throttle.try_acquire(f"{turn}-{number}")
            clock.advance(0.01)

    assert grows(work) < 2 * MEGABYTE
    clock.advance(10)
    assert len(throttle) == 0
