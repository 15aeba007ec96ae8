"""What it costs to book an attempt, in memory and into a file, and to ask what was spent.

Owns the workload: a thousand combinations of tenant, agent and model. The files are on the disk of the temporary folder.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median

import ratekeeper as rk
from ratekeeper.costs import StoredCosts
from ratekeeper.providers import Usage

from ..figures import Figure, at_least, at_most
from ..interleave import interleave
from . import booked

_MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-pro")
_TAGS = [{"tenant": f"tenant-{number % 50}", "agent": f"agent-{number % 20}"} for number in range(1000)]
_USAGE = Usage(1200, 180, 300)


class Books:
    """Books attempts of a busy application."""

    def __init__(self, costs: rk.CostTracker, *, unbounded: bool = False) -> None:
        self.costs = costs
        self.unbounded = unbounded
        self.numbers = count()

    def __call__(self, times: int) -> None:
        book, numbers = self.costs.book, self.numbers
        for _ in range(times):
            number = next(numbers)
            tags = {"job": f"job-{number}"} if self.unbounded else _TAGS[number % 1000]
            book(
                _USAGE,
                288_000_000,
                price="openai/gpt-4o-mini",
                scope="openai/3f9a/gpt-4o-mini",
                model=_MODELS[number & 3],
                tags=tags,
                waited=0.02,
                duration=1.4,
            )


def figures(quick: bool) -> Iterator[Figure]:
    """Time of one entry, entries a second, what a call is delayed, and how long a report takes."""
    yield from _memory(15 if quick else 150)
    yield from booked.figures(15 if quick else 150)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "costs.db"
        yield from _written(path, 100_000 if quick else 1_000_000)
        yield from _read(path)
        yield from _delayed(Path(folder) / "delays.db", 3.0 if quick else 20.0)


def _memory(rounds: int) -> Iterator[Figure]:
    runs = {
        "book an attempt in memory": Books(rk.CostTracker()),
        "  every one with a job of its own, old jobs folded": Books(rk.CostTracker(), unbounded=True),
    }
    times = interleave(runs, rounds)
    for name, taken in times.items():
        micros = median(taken) * 1e6
        if name.startswith(" "):
            yield Figure(name, f"{micros:.2f} µs")
        else:
            yield at_most(name, micros, 3.0, "{:.2f} µs")


def _written(path: Path, entries: int) -> Iterator[Figure]:
    with rk.CostTracker(store=path) as costs:
        begun = time.perf_counter()
        Books(costs)(entries)
        assert costs.flush()
        taken = time.perf_counter() - begun
    yield at_least(f"{entries:,} entries into SQLite, a second", entries / taken, 10_000, "{:,.0f}")
    yield Figure("  size of an entry in the file", f"{path.stat().st_size / entries:.0f} bytes")


def _read(path: Path) -> Iterator[Figure]:
    stored = StoredCosts(path)
    for name, since in [("report by model, agent", None), ("  the same with --since 24h", "24h")]:
        begun = time.perf_counter()
        calls = stored.by("model", "agent", since=since).total().calls
        yield at_most(f"{name}: {calls:,} entries", time.perf_counter() - begun, 2.0, "{:.2f} s")


def _delayed(path: Path, seconds: float) -> Iterator[Figure]:
    """At 10,000 entries a second, while the writer works: how long `book` takes."""
    taken = []
    with rk.CostTracker(store=path) as costs:
        book = Books(costs)
        begun = time.perf_counter()
        while (now := time.perf_counter() - begun) < seconds:
            while len(taken) < now * 10_000:
                start = time.perf_counter()
                book(1)
                taken.append(time.perf_counter() - start)
            time.sleep(0.0005)
    taken.sort()
    at = {share: taken[int(len(taken) * share)] * 1e6 for share in (0.5, 0.99, 0.999)}
    yield at_most(
        f"{len(taken) / seconds:,.0f} entries/s into SQLite: a call is delayed, p99",
        at[0.99],
        100.0,
        "{:.1f} µs",
    )
    yield Figure("  p50", f"{at[0.5]:.1f} µs")
    yield Figure("  p99.9", f"{at[0.999]:.1f} µs")
