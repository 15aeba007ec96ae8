"""How the benches of the frameworks measure what a wrapper adds to one call: bare and wrapped take turns.

CPU time of this thread. The rounds are shorter than a slice of the scheduler, and the fastest of each counts: a busy
machine only makes them slower.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ratekeeper import Keeper, Quota

MODEL = "gpt-4o-mini-2024-07-18"
SYSTEM = "You are terse. " * 20
QUESTION = "What is the capital of Norway?"
MESSAGES = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Oslo"}}],
    "usage": {"prompt_tokens": 90, "completion_tokens": 1, "total_tokens": 91},
}


class Added(NamedTuple):
    """Microseconds of a bare call, and those that a wrapper adds to it."""

    bare: float
    added: float

    def __str__(self) -> str:
        return f"bare {self.bare:6.0f} µs, added {self.added:4.0f} µs, {self.added / self.bare:.2f} of it"


def keeper() -> Keeper:
    """One with three limits that nobody reaches."""
    return Keeper(Quota(rpm=10_000_000, tpm=2_000_000_000, concurrency=100))


def at_once(http: Any) -> Any:
    """A transport of httpx or httpx2 that has the answer at once."""
    return http.MockTransport(lambda request: http.Response(200, json=ANSWER))


def in_turns(
    bare: Callable[[], object], wrapped: Callable[[], object], *, rounds: int = 60, calls: int = 10
) -> Added:
    """Measures two ways to make a call."""

    def microseconds(call: Callable[[], object]) -> float:
        begin = time.thread_time()
        for _ in range(calls):
            call()
        return (time.thread_time() - begin) / calls * 1e6

    return _fastest([(microseconds(bare), microseconds(wrapped)) for _ in range(rounds)])


async def ain_turns(
    bare: Callable[[], Awaitable[object]],
    wrapped: Callable[[], Awaitable[object]],
    *,
    rounds: int = 60,
    calls: int = 10,
) -> Added:
    """Measures two ways to make an asynchronous call."""

    async def microseconds(call: Callable[[], Awaitable[object]]) -> float:
        begin = time.thread_time()
        for _ in range(calls):
            await call()
        return (time.thread_time() - begin) / calls * 1e6

    return _fastest([(await microseconds(bare), await microseconds(wrapped)) for _ in range(rounds)])


def _fastest(times: list[tuple[float, float]]) -> Added:
    bare, wrapped = (min(each) for each in zip(*times, strict=True))
    return Added(bare, wrapped - bare)


def share(measure: Callable[[], Added]) -> float:
    """What a wrapper adds, in calls; the least of three measurements."""
    return min(found.added / found.bare for found in (measure() for _ in range(3)))
