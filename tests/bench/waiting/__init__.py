"""What waiting costs: how late, in what order and at what price tasks are woken, and what each waiter weighs.

Owns the comparison; each measurement runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from .. import child
from ..figures import Figure, at_most

_LATENESS_MS = 5.0
_CPU_MICROSECONDS = 25.0
_FLAT = 2.0
_WAITER_BYTES = 1024.0
#: Other ways to wait for the same moments, for comparison.
_OTHERS = ("asyncio.sleep, one timer a task", "aiolimiter")


def figures(quick: bool) -> Iterator[Figure]:
    """Lateness, order and CPU of wakes on two event loops; the price of a decision; the weight of a waiter."""
    tasks = 2_000 if quick else 10_000
    for loop in ("asyncio", "uvloop"):
        yield from _wakes(loop, tasks, repeats=1 if quick else 3)
    for way in _OTHERS:
        yield _for_comparison(way, child.run("waiting.wakes:measure", way, "asyncio", tasks))
    yield from _decisions((10, 1_000) if quick else (10, 1_000, 100_000))
    yield _weight(10_000 if quick else 50_000)


def _wakes(loop: str, tasks: int, repeats: int) -> Iterator[Figure]:
    """The median of several runs: one stall of a shared machine is not the library's."""
    runs = [child.run("waiting.wakes:measure", "ratekeeper", loop, tasks) for _ in range(repeats)]
    late, cpu = (median(run[key] for run in runs) for key in ("p99_ms", "cpu_us"))
    yield at_most(f"{loop}: p99 lateness of {tasks:,} wakes", late, _LATENESS_MS, "{:.2f} ms")
    yield at_most(f"{loop}: CPU a wake", cpu, _CPU_MICROSECONDS, "{:.1f} µs")
    yield at_most(f"{loop}: order inversions", max(run["inversions"] for run in runs), 0, "{:d}")


def _for_comparison(way: str, run: dict[str, Any]) -> Figure:
    late = f"p99 {run['p99_ms']:.2f} ms late"
    return Figure(f"  {way}", f"{late}, {run['cpu_us']:.1f} µs CPU, {run['inversions']:,} inversions")


def _decisions(counts: tuple[int, ...]) -> Iterator[Figure]:
    """Joining a queue of so many and being let go, against the same in the shortest queue."""
    costs = child.run("waiting.decisions:measure", counts)
    few, *_, many = counts
    grown = costs[-1] / costs[0]
    what = f"one decision with {many:,} waiting, against one with {few:,}"
    yield at_most(what, grown, _FLAT, "{:.2f}x")
    each = ", ".join(f"{count:,}: {cost * 1e6:.2f} µs" for count, cost in zip(counts, costs, strict=True))
    yield Figure("  enqueue + poll", each)


def _weight(tasks: int) -> Figure:
    """Memory of a task that waits for a lease beyond one that waits for a plain future."""
    future, lease = (child.run("waiting.memory:measure", kind, tasks) for kind in ("future", "lease"))
    what = f"bytes a waiter ({tasks:,} tasks, resident memory beyond waiting for a future)"
    return at_most(what, (lease - future) / tasks, _WAITER_BYTES, "{:,.0f}")
