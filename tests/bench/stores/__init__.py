"""One quota for the processes of a host: decisions a second, and six processes with one key against the fake provider.

Owns what is compared with what. A decision is one acquire or one settle on one scope with two limits and permits. In the
runs each process is given the full quota, which the provider charges to the key; the calls are those of the bench
`provider`, and the share of the ideal is reckoned as there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..child import Child
from ..figures import Figure, at_least, at_most
from ..provider.run import provider_for
from ..provider.scenarios import SCENARIOS

PROCESSES = 6
_DECISIONS = {1: 30_000, PROCESSES: 20_000}
_LEAST_OF_MEAN = 0.5
_SHARE_OF_IDEAL, _SHARE_SKEWED = 0.97, 0.95
_MOST_REFUSED = 10
_FAIR = 1.5


def figures(quick: bool) -> Iterator[Figure]:
    """Decisions a second with one process and six; six processes with one key, evenly and in skewed shares."""
    for processes, bound in _DECISIONS.items():
        yield from _decisions(processes, bound, 1.0 if quick else 5.0)
    yield from _run("evenly", [1] * PROCESSES, _SHARE_OF_IDEAL, quick)
    yield from _run("all calls in one of them", [1] + [0] * (PROCESSES - 1), _SHARE_SKEWED, quick)


def _decisions(processes: int, bound: float, seconds: float) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        runs = [("stores.decide:measure", _store(folder), seconds) for _ in range(processes)]
        results = _at_once(runs)
    rates = [result["rate"] for result in results]
    many = f"{processes} process" + ("es" if processes > 1 else "")
    yield at_least(f"sqlite, decisions a second with {many}", sum(rates), bound, "{:,.0f}")
    yield Figure("  p99 of a decision, the slowest process's", f"{max(r['p99'] for r in results):.0f} µs")
    if processes > 1:
        least = min(rates) / (sum(rates) / processes)
        yield at_least("  the least of them, of their mean", least, _LEAST_OF_MEAN, "{:.2f}")


def _run(what: str, shares: list[int], bound: float, quick: bool) -> Iterator[Figure]:
    scenario = SCENARIOS["mixed"](quick)
    with tempfile.TemporaryDirectory() as folder, provider_for(scenario) as provider:
        runs = [
            ("stores.calls:measure", _store(folder), provider.openai_url, quick, number, shares)
            for number in range(len(shares))
        ]
        results = _at_once(runs)
        seen = provider.report(timeline=False)
    taken = max(r["end"] for r in results) - min(r["start"] for r in results)
    name = f"{len(shares)} processes, {len(scenario.prompts)} calls {what}"
    yield at_least(f"{name}: share of the ideal", scenario.ideal() / taken, bound, "{:.3f}")
    yield at_most("  failed", sum(r["failed"] for r in results), 0, "{:d}")
    yield at_most("  429s", seen.refused, _MOST_REFUSED, "{:d}")
    if min(shares):
        answered = [r["while_all_wait"] for r in results]
        unfair = max(answered) / max(1, min(answered))
        yield at_most("  answered while all wait, most of least", unfair, _FAIR, "{:.2f}")


def _store(folder: str) -> str:
    return f"sqlite:///{Path(folder).absolute()}/quota.db"


def _at_once(runs: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    children = [Child(*run) for run in runs]
    for child in children:
        child.ready()
    for child in children:
        child.go()
    return [child.result() for child in children]
