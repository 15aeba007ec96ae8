"""The contenders of the synchronous form: each does `count` uncontended calls.

All others have one dimension, requests, and are asked only to say yes: none waits, settles or limits concurrency. `limits`
and `throttled-py` run the fastest of their strategies, a fixed window, though it lets twice the limit through at a window's
edge; and beside it one that does not, as ratekeeper does not.
"""

from __future__ import annotations

import threading
from itertools import repeat
from typing import ClassVar, Protocol

import limits
import limits.storage
import limits.strategies
import pyrate_limiter
import throttled
from langchain_core.rate_limiters import InMemoryRateLimiter

import ratekeeper as rk

#: More than any run uses up.
PLENTY = 10**9


class Contender(Protocol):
    """What is timed."""

    name: str

    def run(self, count: int) -> None:
        """Does so many calls."""


class Ratekeeper:
    """Requests, tokens and concurrency decided at once, and settled with what was really used."""

    name = "ratekeeper, 3 dimensions"

    def __init__(self) -> None:
        self._limiter = rk.RateLimiter(rk.Quota(rpm=PLENTY, tpm=PLENTY, concurrency=64))

    def run(self, count: int) -> None:
        limiter = self._limiter
        for _ in repeat(None, count):
            with limiter.acquire(tokens=7) as lease:
                lease.settle(tokens=5)


class PyrateLimiter:
    """Its default in-memory bucket."""

    name = "pyrate-limiter"

    def __init__(self) -> None:
        self._limiter = pyrate_limiter.Limiter(pyrate_limiter.Rate(PLENTY, pyrate_limiter.Duration.SECOND))

    def run(self, count: int) -> None:
        limiter = self._limiter
        for _ in repeat(None, count):
            limiter.try_acquire("model")


class Limits:
    """Its in-memory storage with a fixed window."""

    name = "limits"
    strategy: ClassVar[type[limits.strategies.RateLimiter]] = limits.strategies.FixedWindowRateLimiter

    def __init__(self) -> None:
        self._strategy = self.strategy(limits.storage.MemoryStorage())
        self._rate = limits.RateLimitItemPerMinute(PLENTY)

    def run(self, count: int) -> None:
        strategy, rate = self._strategy, self._rate
        for _ in repeat(None, count):
            strategy.hit(rate, "model")


class SlidingLimits(Limits):
    """The same with a sliding window."""

    name = "limits, sliding window"
    strategy = limits.strategies.SlidingWindowCounterRateLimiter


class Throttled:
    """Its in-memory store with a fixed window."""

    name = "throttled-py"
    algorithm: ClassVar[throttled.RateLimiterType] = throttled.RateLimiterType.FIXED_WINDOW

    def __init__(self) -> None:
        self._throttled = throttled.Throttled(
            key="model",
            using=self.algorithm.value,
            quota=throttled.per_min(PLENTY),
            store=throttled.MemoryStore(),
        )

    def run(self, count: int) -> None:
        limited = self._throttled
        for _ in repeat(None, count):
            limited.limit()


class BucketThrottled(Throttled):
    """The same with its default, a token bucket."""

    name = "throttled-py, token bucket"
    algorithm = throttled.RateLimiterType.TOKEN_BUCKET


class LangChain:
    """LangChain's own limiter: requests alone."""

    name = "InMemoryRateLimiter"

    def __init__(self) -> None:
        self._limiter = InMemoryRateLimiter(requests_per_second=PLENTY, max_bucket_size=PLENTY)

    def run(self, count: int) -> None:
        limiter = self._limiter
        for _ in repeat(None, count):
            limiter.acquire()


class Semaphore:
    """The standard library's semaphore: concurrency alone."""

    name = "threading.Semaphore"

    def __init__(self) -> None:
        self._semaphore = threading.Semaphore(64)

    def run(self, count: int) -> None:
        semaphore = self._semaphore
        for _ in repeat(None, count):
            with semaphore:
                pass


THREADS: tuple[type[Contender], ...] = (
    Ratekeeper,
    PyrateLimiter,
    Limits,
    SlidingLimits,
    Throttled,
    BucketThrottled,
    LangChain,
    Semaphore,
)
