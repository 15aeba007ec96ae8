"""900 real ChatOpenAI calls against the fake provider, under ratekeeper and under what people use today.

Owns the comparison. All contenders of a scenario run side by side, each in a process of its own and against a provider of
its own, so that a noisy machine is the same to all of them. They start a second apart: the opening bursts are bound by the
CPU, and six of them at once would measure two cores.

A share of the ideal is `ideal / time`, where a quota-bound run can ideally end after
    max over the quota's dimensions of (amounts of all calls - burst) / rate, plus the latency of the last call,
since token buckets start full and then fill at their rate. The provider's minute lasts 15 seconds here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..child import Child
from ..figures import Figure, at_least, at_most
from .scenarios import SCENARIOS

_CONTENDERS = (
    "ratekeeper",
    "bare SDK, max_retries=2",
    "bare SDK, max_retries=10",
    "asyncio.Semaphore(4)",
    "InMemoryRateLimiter",
    "aiolimiter",
)
_APART = 1.0
_SHARE_OF_IDEAL = 0.97
_REFUSED = 0.01
_JAIN = 0.9


def figures(quick: bool) -> Iterator[Figure]:
    """Share of the ideal, failures and 429s of every contender in three scenarios; fairness among tenants."""
    for name in ["mixed"] if quick else SCENARIOS:
        scenario = SCENARIOS[name](quick)
        yield Figure(f"{name}: {scenario.describe()}", f"ideal {scenario.ideal():.1f} s")
        yield from _compare(name, quick)
    yield from _tenants(quick)


def _compare(scenario: str, quick: bool) -> Iterator[Figure]:
    results = _side_by_side({who: ("provider.run:measure", scenario, who, quick) for who in _CONTENDERS})
    yield from _promises(results[_CONTENDERS[0]])
    for contender in _CONTENDERS[1:]:
        yield Figure(f"  {contender}", _in_words(results[contender]))


def _promises(result: dict[str, Any]) -> Iterator[Figure]:
    yield at_least("  ratekeeper: share of the ideal", result["share"], _SHARE_OF_IDEAL, "{:.3f}")
    yield at_most("  ratekeeper: failed", result["failed"], 0, "{:d}")
    yield at_most("  ratekeeper: 429s", result["refused"] / result["requests"], _REFUSED, "{:.2%}")


def _in_words(result: dict[str, Any]) -> str:
    """A share of the ideal means something only where every call was answered."""
    refused = f"{result['refused'] / result['requests']:.1%} 429s"
    if result["failed"]:
        return f"{result['failed']} calls failed after {result['seconds']:.1f} s, {refused}"
    return f"{result['share']:.3f} of the ideal, {refused}"


def _tenants(quick: bool) -> Iterator[Figure]:
    """One tenant floods, four have a steady demand of more than their share."""
    told_apart, in_one_queue = True, False
    results = _side_by_side(
        {kind: ("provider.tenants:measure", kind, quick) for kind in (told_apart, in_one_queue)}
    )
    told, one = results[told_apart], results[in_one_queue]
    yield at_least("one tenant of five floods: Jain index of tokens served", told["jain"], _JAIN, "{:.3f}")
    yield at_most("  calls of theirs that failed", told["failed"], 0, "{:d}")
    yield Figure("  the same without telling tenants apart", f"{one['jain']:.3f}")


def _side_by_side(runs: dict[Any, tuple[Any, ...]]) -> dict[Any, dict[str, Any]]:
    children = {name: Child(*run) for name, run in runs.items()}
    for child in children.values():
        child.ready()
    for child in children.values():
        child.go()
        time.sleep(_APART)
    return {name: child.result() for name, child in children.items()}
