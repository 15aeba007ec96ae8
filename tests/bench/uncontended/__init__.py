"""What a call costs that need not wait: ratekeeper with three dimensions against others with one.

Owns the comparison. Every contender takes the way its documentation shows for the fastest case, and never has to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

from ..figures import Figure, at_least, at_most
from ..interleave import Run, Times, interleave, nanoseconds, ratio
from .loops import LOOPS, AsyncContender
from .native import EmptyContext, EmptyContextSettled
from .threads import THREADS, Ratekeeper

_TEN_TIMES = ("pyrate-limiter", "limits", "throttled-py")
#: Strategies that hold a limit in every window, as ratekeeper does; for comparison.
_SAME_GUARANTEE = ("limits, sliding window", "throttled-py, token bucket")
_FASTER = ("InMemoryRateLimiter", "threading.Semaphore")


def figures(quick: bool) -> Iterator[Figure]:
    """Ratios of the others' time to ratekeeper's, and of ratekeeper's to an empty native context manager's."""
    rounds = 15 if quick else 150
    yield from _threads(rounds)
    yield from _loops(rounds)


def _threads(rounds: int) -> Iterator[Figure]:
    contenders = [made() for made in (*THREADS, EmptyContext, EmptyContextSettled)]
    times = interleave({contender.name: contender.run for contender in contenders}, rounds)
    ours = Ratekeeper.name
    yield Figure(f"with {ours}", nanoseconds(times, ours))
    for name in _TEN_TIMES:
        yield at_least(_faster_than(name, times), ratio(times, name, ours), 10, "{:.1f}x")
    for name in _SAME_GUARANTEE:
        yield Figure(_faster_than(name, times), f"{ratio(times, name, ours):.1f}x")
    for name in _FASTER:
        yield at_least(_faster_than(name, times), ratio(times, name, ours), 1, "{:.2f}x")
    yield at_most(
        _times_as_long(EmptyContext.name, times), ratio(times, ours, EmptyContext.name), 3, "{:.2f}x"
    )
    settled = EmptyContextSettled.name
    yield Figure(_times_as_long(settled, times), f"{ratio(times, ours, settled):.2f}x")


def _loops(rounds: int) -> Iterator[Figure]:
    loop = asyncio.new_event_loop()

    def blocking(contender: AsyncContender) -> Run:
        return lambda count: loop.run_until_complete(contender.run(count))

    with closing(loop):
        contenders = [made() for made in LOOPS]
        times = interleave({contender.name: blocking(contender) for contender in contenders}, rounds)
    ours = LOOPS[0].name
    yield Figure(f"async with {ours}", nanoseconds(times, ours))
    for made in LOOPS[1:]:
        yield at_least(_faster_than(made.name, times), ratio(times, made.name, ours), 1, "{:.2f}x")


def _faster_than(name: str, times: Times) -> str:
    return f"  faster than {name} ({nanoseconds(times, name)})"


def _times_as_long(name: str, times: Times) -> str:
    return f"  times as long as {name} ({nanoseconds(times, name)})"
