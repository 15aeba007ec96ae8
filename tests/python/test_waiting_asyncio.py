"""Tasks that wait: in order, each woken once, and nothing lost however they are cancelled."""

import asyncio
import random
import sys
import threading
import time

import pytest

import ratekeeper as rk


async def breathe(turns=4):
    for _ in range(turns):
        await asyncio.sleep(0)


def idle(limiter):
    status = limiter.status()
    return (status["in_flight"], status["waiting"], status["head"]) == (0, 0, None)


async def hold(limiter, log=None, name=None, **amounts):
    async with limiter.acquire(**amounts) as lease:
        if log is not None:
            log.append(name)
        await asyncio.sleep(0)
        return lease


def test_tasks_start_in_the_order_in_which_they_came(run):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 10_000, 1, burst=1), concurrency=3))
    log = []

    async def main():
        await asyncio.gather(*(hold(limiter, log, name) for name in range(500)))

    run(main())
    assert log == list(range(500))
    assert idle(limiter)


def test_a_timer_wakes_a_task_not_before_its_time(run):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 20, 1, burst=1)))
    limiter.try_acquire()

    async def main():
        start = time.monotonic()
        lease = await limiter.acquire()
        return time.monotonic() - start, lease.waited

    took, waited = run(main())
    assert 0.045 < waited <= took < 5


def test_a_lease_can_be_awaited_in_every_usual_way(run, clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)

    async def main():
        for wrap in (
            asyncio.ensure_future,
            asyncio.shield,
            asyncio.gather,
            lambda it: asyncio.wait_for(it, 10),
        ):
            held = limiter.try_acquire()
            waiting = asyncio.ensure_future(wrap(limiter.acquire()))
            await breathe()
            assert limiter.status()["waiting"] == 1
            held.close()
            got = await waiting
            [lease] = got if isinstance(got, list) else [got]
            assert lease.state == "held"
            lease.close()
            # A future keeps its result alive until it is dropped itself.
            del held, waiting, got, lease

    run(main())
    assert idle(limiter)


def test_a_timeout_of_asyncio_gives_up_the_place(run, clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)
    held = limiter.try_acquire()

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(limiter.acquire(), 0.01)
        assert limiter.status()["waiting"] == 0
        if sys.version_info >= (3, 11):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), limiter.acquire():
                    raise AssertionError("this never starts")

    run(main())
    held.close()
    assert idle(limiter)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="task groups came with 3.11")
def test_a_task_group_that_fails_takes_its_waiting_calls_along(run, clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)

    async def fail():
        await breathe()
        raise ZeroDivisionError

    async def main():
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(hold(limiter))
            group.create_task(fail())

    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: F821 (3.11 and newer only)
        run(main())
    assert caught.group_contains(ZeroDivisionError)
    assert idle(limiter)


@pytest.mark.parametrize("turns", range(4))
def test_a_task_cancelled_between_grant_and_resumption_hands_its_grant_on(run, clock, turns):
    limiter = rk.RateLimiter(rk.Quota(rpm=60, concurrency=1), clock=clock)
    log = []

    async def main():
        held = limiter.try_acquire()
        tasks = [asyncio.ensure_future(hold(limiter, log, name)) for name in ("first", "second")]
        await breathe()
        held.close()  # grants the first
        await breathe(turns)
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())
    assert log[-1] == "second"
    assert idle(limiter)
    assert limiter.status()["limits"][0]["remaining"] == 60 - 1 - len(log), "who never started used nothing"


def test_cancelling_the_head_lets_the_next_start_at_once(run, clock):
    limiter = rk.RateLimiter(rk.Quota(tpm=60), clock=clock)
    limiter.try_acquire(tokens=50)
    log = []

    async def main():
        head = asyncio.ensure_future(hold(limiter, log, "head", tokens=30))
        rest = asyncio.gather(*(hold(limiter, log, name, tokens=2) for name in range(5)))
        await breathe()
        assert log == []
        head.cancel()
        await rest

    run(main())
    assert log == [0, 1, 2, 3, 4]
    assert idle(limiter)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_when_thousands_are_cancelled_at_random(run, seed):
    chance = random.Random(seed)
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 20_000, 1, burst=20), rpd=10**6, concurrency=7))
    started = []

    async def call(number):
        async with limiter.acquire(tenant=chance.choice(["", "a", "b"])):
            started.append(number)
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)

    async def main():
        tasks = [asyncio.ensure_future(call(number)) for number in range(2000)]
        doomed = chance.sample(tasks, 1200)
        while doomed:
            for _ in range(chance.randrange(1, 40)):
                if doomed:
                    doomed.pop().cancel()
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert sum(result is None for result in results) >= 800

    run(main())
    assert len(started) == len(set(started)), "each is woken once"
    assert idle(limiter)
    assert limiter.status()["limits"][1]["remaining"] >= 10**6 - len(started), (
        "who never started used nothing"
    )


@pytest.mark.parametrize("seed", range(2))
def test_loops_and_threads_share_one_queue_and_lose_nothing(threads, eventually, seed):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 5000, 1, burst=5), concurrency=5))
    started = []

    async def call(chance):
        try:
            await asyncio.wait_for(hold(limiter, started, 1), chance.choice([0.001, 0.01, 20]))
        except (asyncio.TimeoutError, TimeoutError):
            pass

    async def many(chance):
        await asyncio.gather(*(call(chance) for _ in range(150)))

    def loop_thread(number):
        asyncio.run(many(random.Random(number)))

    def plain_thread(number):
        chance = random.Random(number)
        for _ in range(40):
            try:
                with limiter.acquire(timeout=chance.choice([0.001, 0.01, 20])):
                    started.append(1)
            except rk.QuotaExceededError:
                pass

    running = [threads(loop_thread, 10 * seed + number) for number in range(3)]
    running += [threads(plain_thread, 100 + 10 * seed + number) for number in range(4)]
    for thread in running:
        thread.join(30)
    assert started
    eventually(lambda: idle(limiter))


def test_a_blocked_loop_delays_nobody_else(threads, eventually):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 50, 1, burst=1)))
    limiter.try_acquire()
    free, blocked = threading.Event(), threading.Event()
    done = []

    async def stuck():
        task = asyncio.ensure_future(limiter.acquire())
        await breathe()
        blocked.set()
        free.wait(30)
        await task

    async def elsewhere():
        await limiter.acquire()
        done.append("loop")

    def thread():
        limiter.acquire().wait()
        done.append("thread")

    threads(lambda: asyncio.run(stuck()))
    assert blocked.wait(30)
    threads(lambda: asyncio.run(elsewhere()))
    threads(thread)
    try:
        eventually(lambda: len(done) == 2)
    finally:
        free.set()


def test_a_stopped_loop_goes_on_where_it_was(clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)
    held = limiter.try_acquire()
    loop = asyncio.new_event_loop()
    task = loop.create_task(hold(limiter))
    loop.run_until_complete(breathe())
    held.close()
    assert limiter.status()["in_flight"] == 1, "the grant waits for the loop"
    assert loop.run_until_complete(task).state == "closed"
    loop.close()
    assert idle(limiter)


def test_one_limiter_serves_one_loop_after_another(run):
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 2000, 1, burst=1), concurrency=1))

    async def main():
        leftover = asyncio.ensure_future(hold(limiter))
        await asyncio.gather(*(hold(limiter) for _ in range(5)))
        leftover.cancel()
        await asyncio.gather(leftover, return_exceptions=True)

    for _ in range(10):
        run(main())
    assert idle(limiter)


def test_a_blocking_wait_on_the_thread_of_a_loop_is_refused_and_leaves_nothing(run, clock):
    limiter = rk.RateLimiter(rk.Quota(tpm=60, concurrency=1), clock=clock)

    async def main():
        with limiter.acquire(tokens=1) as lease:
            before = limiter.status()
            assert lease.state == "held", "what need not wait may be entered"
            for enter in (limiter.acquire().wait, limiter.acquire().__enter__):
                with pytest.raises(rk.EventLoopBlockedError, match="async with"):
                    enter()
            assert limiter.status() == before

    run(main())
    assert idle(limiter)


def test_awaiting_outside_of_a_loop_is_refused_and_leaves_nothing(clock):
    limiter = rk.RateLimiter(rk.Quota(concurrency=1), clock=clock)
    held = limiter.try_acquire()
    with pytest.raises(TypeError, match="running asyncio event loop"):
        next(limiter.acquire().__await__())
    held.close()
    assert idle(limiter)
