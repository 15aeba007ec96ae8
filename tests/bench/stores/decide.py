"""Decisions in a process of its own: as fast as they come, or so many a second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import ratekeeper as rk

#: What nobody has to wait for.
_PLENTY = rk.Quota(rpm=10**9, tpm=10**12, concurrency=100_000)
_Times = list[float]


def measure(store: str, way: str, at_once: int, pace: float, seconds: float) -> Callable[[], dict[str, Any]]:
    """Decisions a second, and how long an acquire took, in milliseconds.

    Args:
        store: Its address.
        way: `try` calls `try_acquire` in one thread, `threads` parks, `tasks` awaits.
        at_once: Threads or tasks.
        pace: Calls a second by all of them; 0 for as many as can be.
        seconds: How long.
    """
    limiter = rk.RateLimiter(_PLENTY, store=store)
    limiter.acquire(tokens=100).wait().settle(tokens=80)

    def run() -> dict[str, Any]:
        times: _Times = []
        start = time.perf_counter()
        _WAYS[way](limiter, times, at_once, start + seconds, at_once / pace if pace else 0)
        taken = time.perf_counter() - start
        times.sort()
        of = {name: times[len(times) * part // 100] * 1e3 for name, part in (("p50", 50), ("p99", 99))}
        return {"rate": 2 * len(times) / taken, "decisions": 2 * len(times), **of}

    return run


def _try(limiter: rk.RateLimiter, times: _Times, _: int, end: float, __: float) -> None:
    clock = time.perf_counter
    while (before := clock()) < end:
        lease = limiter.try_acquire(tokens=100)
        times.append(clock() - before)
        assert lease is not None
        lease.settle(tokens=80)


def _threads(limiter: rk.RateLimiter, times: _Times, at_once: int, end: float, _: float) -> None:
    clock = time.perf_counter

    def work() -> None:
        while (before := clock()) < end:
            with limiter.acquire(tokens=100) as lease:
                times.append(clock() - before)
                lease.settle(tokens=80)

    workers = [threading.Thread(target=work) for _ in range(at_once)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _tasks(limiter: rk.RateLimiter, times: _Times, at_once: int, end: float, apart: float) -> None:
    clock = time.perf_counter

    async def work(number: int) -> None:
        due = clock() + apart * number / at_once
        while due < end:
            if apart:
                await asyncio.sleep(due - clock())
            before = clock()
            async with limiter.acquire(tokens=100) as lease:
                times.append(clock() - before)
                lease.settle(tokens=80)
            due = due + apart if apart else clock()

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(at_once)))

    asyncio.run(main())


_WAYS = {"try": _try, "threads": _threads, "tasks": _tasks}
