"""Forks: the child works at once, what it inherited is harmless, and the parent notices nothing."""

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import time
import warnings

import pytest

import ratekeeper as rk

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def in_child(check):
    """Runs the check in a forked child, which dies with exit code 0 if it returns True, and in time."""
    with warnings.catch_warnings():
        # CPython 3.12 warns of forks with threads around, which is just what is tried here.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        code = 1
        try:
            code = 0 if check() is True else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status


def numbers(limiter):
    status = limiter.status()
    return (status["in_flight"], status["waiting"], [limit["remaining"] for limit in status["limits"]])


@pytest.fixture
def limiter():
    return rk.RateLimiter(rk.Quota(rpd=100, concurrency=2))


def test_a_child_has_permits_of_its_own_and_the_parent_keeps_its(limiter):
    held = [limiter.try_acquire(), limiter.try_acquire()]
    before = numbers(limiter)

    def check():
        with limiter.acquire(), limiter.acquire(timeout=5):
            return numbers(limiter)[:2] == (2, 0)

    assert in_child(check) == 0
    assert numbers(limiter) == before
    for lease in held:
        lease.settle()


@pytest.mark.parametrize("end", ["settle", "close", "release", "renew"])
def test_an_inherited_lease_ends_in_the_child_without_effect(limiter, end):
    held = limiter.try_acquire(tokens=10)

    def check():
        mine = [limiter.try_acquire(), limiter.try_acquire()]
        before = numbers(limiter)
        getattr(held, end)()
        return all(mine) and numbers(limiter) == before

    assert in_child(check) == 0
    held.settle()
    assert numbers(limiter)[0] == 0


def test_an_inherited_lease_that_is_dropped_frees_nobodys_permit(limiter):
    leases = [limiter.try_acquire()]

    def check():
        mine = limiter.try_acquire()
        leases.clear()
        gc.collect()
        return mine.state == "held" and numbers(limiter)[0] == 1

    assert in_child(check) == 0
    leases.pop().settle()


def test_a_lease_asked_for_before_the_fork_works_in_the_child(limiter):
    lease = limiter.acquire()

    def check():
        with lease:
            held = numbers(limiter)[0]
        return (held, numbers(limiter)[0]) == (1, 0)

    assert in_child(check) == 0
    assert lease.state == "new"


def test_those_who_wait_in_the_parent_do_not_wait_in_the_child(limiter, threads, eventually):
    held = [limiter.try_acquire(), limiter.try_acquire()]
    for _ in range(3):
        threads(lambda: limiter.acquire().wait().close())
    threads(lambda: asyncio.run(asyncio.wait_for(limiter.acquire(), 30)))
    eventually(lambda: limiter.status()["waiting"] == 4)

    def check():
        limiter.set_quota(rk.Quota(rpd=100, concurrency=1))
        with limiter.acquire(timeout=5):
            return numbers(limiter)[:2] == (1, 0)

    for _ in range(3):
        assert in_child(check) == 0
    assert numbers(limiter)[:2] == (2, 4)
    for lease in held:
        lease.close()
    eventually(lambda: numbers(limiter)[:2] == (0, 0))


def test_a_child_runs_loops_and_threads_of_its_own(limiter, threads):
    held = [limiter.try_acquire(), limiter.try_acquire()]

    async def work():
        async with limiter.acquire():
            await asyncio.sleep(0)
            return True

    async def main():
        return all(await asyncio.gather(*(work() for _ in range(20))))

    def check():
        thread = threads(lambda: limiter.acquire().wait().close())
        thread.join(10)
        return asyncio.run(main()) and not thread.is_alive()

    assert in_child(check) == 0
    for lease in held:
        lease.close()


def test_a_child_of_a_child_works_too(limiter):
    held = limiter.try_acquire()

    def check():
        mine = limiter.try_acquire()

        def again():
            held.settle()
            mine.settle()
            with limiter.acquire(), limiter.acquire(timeout=5):
                return True

        return in_child(again) == 0 and mine.state == "held"

    assert in_child(check) == 0
    held.settle()


def test_a_semaphore_and_a_throttle_work_in_a_child(threads, eventually):
    semaphore, throttle = rk.Semaphore(1), rk.Throttle("1/h")
    held = semaphore.try_acquire()
    assert throttle.try_acquire("key")

    def check():
        with semaphore.acquire(timeout=5):
            return throttle.acquire("other", timeout=0).wait().state == "held" and not throttle.try_acquire(
                "key"
            )

    assert in_child(check) == 0
    held.close()


def test_many_forks_under_load_all_work_and_the_parent_goes_on(threads):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 20_000, 1, burst=50), concurrency=3))
    end = []

    def churn():
        while not end:
            try:
                with limiter.acquire(timeout=0.5):
                    time.sleep(0)
            except rk.QuotaExceededError:
                pass

    async def churn_async():
        while not end:
            async with limiter.acquire():
                await asyncio.sleep(0)

    running = [threads(churn) for _ in range(3)] + [threads(lambda: asyncio.run(churn_async()))]

    def check():
        for _ in range(20):
            with limiter.acquire(timeout=10):
                pass
        return numbers(limiter)[:2] == (0, 0)

    try:
        for _ in range(25):
            assert in_child(check) == 0
    finally:
        end.append(True)
    for thread in running:
        thread.join(30)
    assert numbers(limiter)[:2] == (0, 0)


def work_in_pool(limiter, number):
    with limiter.acquire(timeout=10):
        return number


@pytest.mark.skipif(sys.platform != "linux", reason="fork is the way of Linux")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_processes_of_multiprocessing_inherit_a_working_limiter(limiter):
    held = [limiter.try_acquire(), limiter.try_acquire()]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work_in_pool, args=(limiter, number)) for number in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 4
    assert numbers(limiter)[0] == len(held)
