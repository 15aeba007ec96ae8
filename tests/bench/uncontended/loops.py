"""The contenders of the asynchronous form: each does `count` uncontended calls in one task."""

from __future__ import annotations

import asyncio
from itertools import repeat
from typing import Protocol

from aiolimiter import AsyncLimiter

import ratekeeper as rk

from .threads import PLENTY


class AsyncContender(Protocol):
    """What is timed."""

    name: str

    async def run(self, count: int) -> None:
        """Does so many calls."""


class Ratekeeper:
    """Requests, tokens and concurrency decided at once, and settled with what was really used."""

    name = "ratekeeper, 3 dimensions"

    def __init__(self) -> None:
        self._limiter = rk.RateLimiter(rk.Quota(rpm=PLENTY, tpm=PLENTY, concurrency=64))

    async def run(self, count: int) -> None:
        limiter = self._limiter
        for _ in repeat(None, count):
            async with limiter.acquire(tokens=7) as lease:
                lease.settle(tokens=5)


class Semaphore:
    """The standard library's semaphore: concurrency alone."""

    name = "asyncio.Semaphore"

    def __init__(self) -> None:
        self._semaphore = asyncio.Semaphore(64)

    async def run(self, count: int) -> None:
        semaphore = self._semaphore
        for _ in repeat(None, count):
            async with semaphore:
                pass


class AioLimiter:
    """A leaky bucket: requests alone."""

    name = "aiolimiter"

    def __init__(self) -> None:
        self._limiter = AsyncLimiter(PLENTY, 60)

    async def run(self, count: int) -> None:
        limiter = self._limiter
        for _ in repeat(None, count):
            async with limiter:
                pass


LOOPS: tuple[type[AsyncContender], ...] = (Ratekeeper, Semaphore, AioLimiter)
