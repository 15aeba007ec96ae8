"""Six processes with one key against the fake provider, which charges the key: the calls come evenly, all to one of them, to
one process after the other, and to a provider that charges refusals too.

Owns the runs. As many calls are made at once by all as by a single process, so that the time of a job can be compared. A share
of the ideal is reckoned as in the bench `provider`, from the moment at which the calls come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Any

from ratekeeper.testing import FakeProvider

from ..figures import Figure, at_least, at_most
from ..provider.scenarios import AT_ONCE, LATENCY, SCENARIOS, Scenario
from .fleet import PROCESSES, at_once
from .places import KINDS, place

_SHARE_OF_IDEAL, _SHARE_OTHERWISE = 0.97, 0.95
_MOST_REFUSED = 10
_FAIR = 1.5
_LONGER = 1.5
#: Of the provider's window, between one process's calls and the next one's.
_APART = 0.1


@dataclass(frozen=True)
class _Run:
    what: str
    #: How many of so many calls each process makes.
    shares: tuple[int, ...]
    share_of_ideal: float
    charges_refusals: bool = False
    comes_in_turn: bool = False


_ALONE = _Run("one process, in its memory", (1,), _SHARE_OF_IDEAL)
_RUNS = (
    _Run("evenly", (1,) * PROCESSES, _SHARE_OF_IDEAL),
    _Run("all in one of them", (1, *[0] * (PROCESSES - 1)), _SHARE_OTHERWISE),
    _Run("to one after the other", (1,) * PROCESSES, _SHARE_OTHERWISE, comes_in_turn=True),
    _Run("refusals are charged", (1,) * PROCESSES, _SHARE_OTHERWISE, charges_refusals=True),
)


def runs(quick: bool) -> Iterator[Figure]:
    """Each run with each store, and how its jobs compare with those of a single process without one."""
    alone = _results(_ALONE, None, quick)
    yield Figure(f"{alone.calls} calls, {_ALONE.what}: share of the ideal", f"{alone.share:.3f}")
    yield Figure("  p99 of a job", f"{alone.p99:.2f} s")
    for run in _RUNS:
        for kind in KINDS:
            with place(kind) as store:
                yield from _shown(run, kind, _results(run, store.url, quick), alone.p99)


@dataclass(frozen=True)
class _Seen:
    calls: int
    share: float
    failed: int
    refused: int
    p99: float
    unfair: float


def _shown(run: _Run, kind: str, seen: _Seen, p99: float) -> Iterator[Figure]:
    name = f"{kind}, {len(run.shares)} processes, {seen.calls} calls, {run.what}"
    yield at_least(f"{name}: share of the ideal", seen.share, run.share_of_ideal, "{:.3f}")
    yield at_most("  failed", seen.failed, 0, "{:d}")
    yield at_most("  429s", seen.refused, _MOST_REFUSED, "{:d}")
    times = f"  p99 of a job ({seen.p99:.2f} s), of a single process's"
    if run.comes_in_turn:
        yield Figure(times, f"{seen.p99 / p99:.2f}x")
        return
    yield at_most(times, seen.p99 / p99, _LONGER, "{:.2f}x")
    if min(run.shares):
        yield at_most("  answered while all wait, most of least", seen.unfair, _FAIR, "{:.2f}x")


def _results(run: _Run, store: str | None, quick: bool) -> _Seen:
    scenario = SCENARIOS["mixed"](quick)
    with _provider(scenario, run.charges_refusals) as provider:
        results = at_once(
            ("stores.calls:measure", store, provider.openai_url, quick, _load(run, scenario, number))
            for number in range(len(run.shares))
        )
        refused = provider.report(timeline=False).refused
    taken = max(r["end"] for r in results) - min(r["start"] for r in results)
    jobs = sorted(job for r in results for job in r["jobs"])
    waited = [r["while_all_wait"] for r in results]
    return _Seen(
        calls=len(scenario.prompts),
        share=_ideal(run, scenario) / taken,
        failed=sum(r["failed"] for r in results),
        refused=refused,
        p99=jobs[len(jobs) * 99 // 100],
        unfair=max(waited) / max(1, min(waited)),
    )


def _provider(scenario: Scenario, charges_refusals: bool) -> FakeProvider:
    return FakeProvider(
        rpm=scenario.rpm,
        tpm=scenario.tpm,
        window=scenario.window,
        latency=LATENCY,
        charge_refusals=charges_refusals,
        process=True,
    )


def _load(run: _Run, scenario: Scenario, number: int) -> dict[str, Any]:
    """Which of the calls a process makes, how many at once, and after how long they come."""
    after = number * _APART * scenario.window if run.comes_in_turn else 0.0
    busy = sum(map(bool, run.shares))
    return {"number": number, "shares": run.shares, "at_once": ceil(AT_ONCE / busy), "after": after}


def _ideal(run: _Run, scenario: Scenario) -> float:
    """Seconds until all can be answered: what comes from some moment on finds at best full buckets."""
    own = [number for number, share in enumerate(run.shares) for _ in range(share)]
    comes = [
        _load(run, scenario, own[number % len(own)])["after"] for number, _ in zip(count(), scenario.prompts)
    ]

    def over(moment: float) -> float:
        later = [prompt for prompt, came in zip(scenario.prompts, comes, strict=True) if came >= moment]
        asked = ((len(later), scenario.rpm), (sum(map(scenario.tokens, later)), scenario.tpm))
        return moment + max((amount - limit) / (limit / scenario.window) for amount, limit in asked)

    return max(over(moment) for moment in set(comes)) + LATENCY
