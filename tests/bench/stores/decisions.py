"""Decisions a second on one scope, with one process and with six; one acquire is a decision, and so is one settle.

Owns what is compared with what. SQLite decides in the thread that asks, so one thread a process is all there is
to be had. With Redis those who ask at once go together; how long one takes is measured as fast as they come, where it is the
length of the queue, and at the pace that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..figures import Figure, at_least, at_most
from .fleet import PROCESSES, at_once
from .places import Place, place

_LEAST_OF_MEAN = 0.5
_SQLITE = {1: 30_000, PROCESSES: 20_000}
_REDIS = 15_000
_SLOWEST = 5.0
_TRIPS = 1.0


@dataclass(frozen=True)
class _Way:
    name: str
    at_once: int
    #: Decisions a second; 0 for as many as can be.
    pace: float = 0
    #: Whether it is the way that a promise is about.
    is_promised: bool = False

    def __str__(self) -> str:
        how = {"try": "try_acquire", "threads": f"{self.at_once} threads", "tasks": f"{self.at_once} tasks"}
        return how[self.name] + (f" at {self.pace:,.0f} a second in all" if self.pace else "")


#: The last one is also run with one process.
_WAYS = (
    _Way("try", 1),
    _Way("threads", 8),
    _Way("tasks", 1),
    _Way("tasks", 16),
    _Way("tasks", 64, is_promised=True),
    _Way("tasks", 256),
)
_PACED = _Way("tasks", 64, _REDIS)


def decisions(quick: bool) -> Iterator[Figure]:
    """Rates and times of both stores."""
    seconds = 1.0 if quick else 5.0
    for processes, bound in _SQLITE.items():
        with place("sqlite") as store:
            yield from _measured(store, processes, _Way("try", 1), bound, seconds)
    for processes in (1, PROCESSES):
        for way in _WAYS:
            with place("redis") as store:
                yield from _measured(store, processes, way, _REDIS if way.is_promised else None, seconds)
        with place("redis") as store:
            yield from _measured(store, processes, _PACED, None, seconds)


def _measured(
    store: Place, processes: int, way: _Way, bound: float | None, seconds: float
) -> Iterator[Figure]:
    store.forget_counts()
    pace = way.pace / 2 / processes
    results = at_once(
        ("stores.decide:measure", store.url, way.name, way.at_once, pace, seconds) for _ in range(processes)
    )
    rates = [result["rate"] for result in results]
    name = f"{store.kind}, {processes} process{'es' * (processes > 1)}, {way}: decisions a second"
    rate, form = sum(rates), "{:,.0f}"
    yield at_least(name, rate, bound, form) if bound else Figure(name, form.format(rate))
    times, p99 = f"{max(r['p50'] for r in results):.2f}", max(r["p99"] for r in results)
    until = f"  until a call starts, the slowest process's: p50 {times} ms, p99"
    yield at_most(until, p99, _SLOWEST, "{:.2f} ms") if way.pace else Figure(until, f"{p99:.2f} ms")
    if processes > 1:
        least = min(rates) / (rate / processes)
        yield at_least("  the least of them, of their mean", least, _LEAST_OF_MEAN, "{:.2f}")
    yield from _trips(store, sum(result["decisions"] for result in results))


def _trips(store: Place, made: int) -> Iterator[Figure]:
    counted = store.script_calls()
    if counted:
        calls, micros = counted
        yield at_most("  script calls a decision, as the server counts", calls / made, _TRIPS, "{:.3f}")
        yield Figure("  the server's time for a decision", f"{micros / made:.1f} µs")
