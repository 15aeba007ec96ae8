"""What it costs to join a queue and to be let go, by how many stand in it.

Owns the measurement, inside a child process. A clock that is moved by hand lets exactly one go each time one joins, so
that the queue keeps its length; the leases are driven directly, without tasks, so that the loop's own work is not in it.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from statistics import median
from time import perf_counter
from typing import Any

import ratekeeper as rk

_STEPS = 200
_ROUNDS = 15

_Waiting = Generator[Any, None, rk.Lease]


class _Queue:
    """A limiter of one request a second, with so many waiting."""

    def __init__(self, waiting: int) -> None:
        self._clock = rk.ManualClock()
        self._limiter = rk.RateLimiter(rk.Quota(rk.Limit("requests", 1, "second")), clock=self._clock)
        self._limiter.acquire().wait().close()
        self._waiting: deque[_Waiting] = deque()
        for _ in range(waiting):
            self._join()

    def time_step(self) -> float:
        """Mean seconds in which one joins and the first of the queue goes."""
        start = perf_counter()
        for _ in range(_STEPS):
            self._join()
            self._clock.advance(1.0)
            self._go()
        return (perf_counter() - start) / _STEPS

    def _join(self) -> None:
        waiting = self._limiter.acquire().__await__()
        next(waiting)
        self._waiting.append(waiting)

    def _go(self) -> None:
        with suppress(StopIteration):
            next(self._waiting.popleft())
            raise AssertionError("the first of the queue was not let go")


async def _measure(counts: list[int]) -> list[float]:
    queues = [_Queue(count) for count in counts]
    for queue in queues:
        queue.time_step()
    gc.disable()
    rounds = [[queue.time_step() for queue in queues] for _ in range(_ROUNDS)]
    return [median(column) for column in zip(*rounds, strict=True)]


def measure(counts: list[int]) -> Callable[[], list[float]]:
    """Seconds of one decision for each length of the queue: the median of interleaved rounds."""
    return lambda: asyncio.run(_measure(counts))
