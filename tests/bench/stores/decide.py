"""Decisions as fast as they come, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ratekeeper as rk

_PLENTY = rk.Quota(rpm=10**9, tpm=10**12, concurrency=1_000)


def measure(store: str, seconds: float) -> Callable[[], dict[str, Any]]:
    """Decisions a second, and their 99th percentile in microseconds."""
    limiter = rk.RateLimiter(_PLENTY, store=store)

    def run() -> dict[str, Any]:
        taken: list[float] = []
        clock = time.perf_counter
        start = clock()
        while clock() < start + seconds:
            before = clock()
            lease = limiter.try_acquire(tokens=100)
            between = clock()
            assert lease is not None
            lease.settle(tokens=80)
            taken += (between - before, clock() - between)
        rate = len(taken) / (clock() - start)
        return {"rate": rate, "p99": sorted(taken)[len(taken) * 99 // 100] * 1e6}

    return run
