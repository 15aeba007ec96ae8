"""Many tasks, each due at a known moment: how late is each, in what order do they come, and what CPU does that take?

Owns the measurement, inside a child process. A limiter starts with a debt of most of a second, so that all tasks stand in
its queue before the first is due; from then on one is due every 1/5000 s. The burst of a fifth of a second lets a limiter
that was late catch up, as it may.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from aiolimiter import AsyncLimiter

import ratekeeper as rk

_RATE = 5_000
_BURST = 1_000

#: Waits until the task of that number is due.
Wait = Callable[[int], Awaitable[None]]


async def _ratekeeper() -> tuple[Wait, float]:
    limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", _RATE, "second", burst=_BURST)))
    limiter.acquire(requests=_RATE).wait().close()
    empty_at = time.monotonic()

    async def wait(_: int) -> None:
        async with limiter.acquire():
            pass

    return wait, empty_at + (_RATE - _BURST) / _RATE


async def _sleep() -> tuple[Wait, float]:
    first_at = time.monotonic() + (_RATE - _BURST) / _RATE

    async def wait(number: int) -> None:
        await asyncio.sleep(first_at + (number + 1) / _RATE - time.monotonic())

    return wait, first_at


async def _aiolimiter() -> tuple[Wait, float]:
    limiter = AsyncLimiter(_BURST, _BURST / _RATE)
    await limiter.acquire(_BURST)
    first_at = time.monotonic()

    async def wait(_: int) -> None:
        async with limiter:
            pass

    return wait, first_at


_WAYS = {"ratekeeper": _ratekeeper, "asyncio.sleep, one timer a task": _sleep, "aiolimiter": _aiolimiter}


async def _run(way: str, tasks: int) -> dict[str, Any]:
    """Lateness is counted from the moment at which the quota allowed the n-th wake, whoever it was."""
    wait, first_at = await _WAYS[way]()
    woken: list[tuple[int, float]] = []

    async def task(number: int) -> None:
        await wait(number)
        woken.append((number, time.monotonic()))

    waiting = [asyncio.create_task(task(number)) for number in range(tasks)]
    await asyncio.sleep(0)
    cpu = time.process_time()
    await asyncio.wait(waiting)
    cpu = time.process_time() - cpu
    late = sorted(at - first_at - (place + 1) / _RATE for place, (_, at) in enumerate(woken))
    return {
        "p50_ms": late[tasks // 2] * 1e3,
        "p99_ms": late[tasks * 99 // 100] * 1e3,
        "cpu_us": cpu / tasks * 1e6,
        "inversions": sum(before > after for (before, _), (after, _) in pairwise(woken)),
    }


def measure(way: str, loop: str, tasks: int) -> Callable[[], dict[str, Any]]:
    """Lateness in ms, CPU in µs a wake, and neighbours that came in the wrong order."""
    made = _new_loop(loop)

    def run() -> dict[str, Any]:
        try:
            return made.run_until_complete(_run(way, tasks))
        finally:
            made.close()

    return run


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()
