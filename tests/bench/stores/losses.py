"""What a process that is killed takes with it, and for how long; and a server that is stopped in mid-run and comes back.

Owns the moments of both. The server keeps what it has, as one does that is restarted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from statistics import median

import ratekeeper as rk
from ratekeeper.testing import FakeProvider

from ..child import Child
from ..figures import Figure, at_most
from .fleet import PROCESSES
from .lost import ONE
from .places import KINDS, place

_LEASE_TIME = 10.0
#: How often a process says that it is there: it is killed at any moment in between.
_PULSE = 2.5
_PATIENCE = 60.0
_RATE = 40
_BACK_WITHIN = 3.0
_REFUSED = 0.02
#: Full speed is so much of the quota, over a second.
_FULL = 0.95


def losses(quick: bool) -> Iterator[Figure]:
    """Both."""
    for kind in KINDS:
        yield from _killed(kind, 2 if quick else 10)
    yield from _stopped(3.0 if quick else 20.0)


def _killed(kind: str, times: int) -> Iterator[Figure]:
    with place(kind) as store:
        waits: list[float] = []
        threads = [
            threading.Thread(target=_kill_one, args=(store.url, f"holder {number}", waits))
            for number in range(times)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(waits) == times, "each permit came back"
    what = f"{kind}, {times} holders killed: until the permit is had again, the longest"
    yield at_most(f"{what} (median {median(waits):.1f} s)", max(waits), _LEASE_TIME, "{:.1f} s")


def _kill_one(store: str, name: str, waits: list[float]) -> None:
    holder = Child("stores.lost:hold", store, name).ready()
    limiter = rk.RateLimiter(ONE, name=name, store=store)
    killer = threading.Timer(random.Random(name).uniform(0.2, _PULSE), holder.stop)
    moment = time.monotonic() + killer.interval
    killer.start()
    limiter.acquire(timeout=_PATIENCE).wait().close()
    waits.append(time.monotonic() - moment)
    killer.join()


def _stopped(down: float) -> Iterator[Figure]:
    before, after = 4.0, 8.0
    with (
        place("redis") as store,
        FakeProvider(rpm=_RATE, window=1.0, latency=0.02, process=True) as provider,
    ):
        run = ("stores.lost:call_on", store.url, provider.openai_url, _RATE, before + down + after)
        children = [Child(*run).ready() for _ in range(PROCESSES)]
        for child in children:
            child.go()
        time.sleep(before)
        store.server.stop()
        time.sleep(down)
        store.server.start()
        back = time.monotonic()
        results = [child.result() for child in children]
        refused = provider.report(timeline=False).refused
    name = f"redis, stopped for {down:g} s under {PROCESSES} processes"
    yield at_most(f"{name}: failed", sum(result["failed"] for result in results), 0, "{:d}")
    answered = sorted(moment for result in results for moment in result["answered"])
    yield at_most("  429s", refused / len(answered), _REFUSED, "{:.1%}")
    yield at_most(
        "  until full speed after its return", _full_speed(answered, back), _BACK_WITHIN, "{:.1f} s"
    )


def _full_speed(answered: list[float], back: float) -> float:
    """Seconds after the return from which a second's worth of the quota is used."""
    for step in range(80):
        since = back + step / 10
        if sum(since <= moment < since + 1 for moment in answered) >= _FULL * _RATE:
            return step / 10
    return float("inf")
