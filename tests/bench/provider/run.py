"""One contender in one scenario, inside a child process: a provider of its own, 50 calls at once, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import openai

from ratekeeper.testing import FakeProvider

from .callers import CALLERS, Caller
from .scenarios import AT_ONCE, LATENCY, SCENARIOS, Scenario


def provider_for(scenario: Scenario) -> FakeProvider:
    """Enforces the scenario's quota, in a process of its own, independent of ratekeeper's core."""
    return FakeProvider(
        rpm=scenario.rpm, tpm=scenario.tpm, window=scenario.window, latency=LATENCY, process=True
    )


async def call_all(call: Caller, prompts: Iterable[str], at_once: int) -> int:
    """Makes all calls, so many at once; how many failed for good."""
    left = iter(prompts)

    async def work() -> int:
        return sum([not await is_answered(call, prompt) for prompt in left])

    return sum(await asyncio.gather(*(work() for _ in range(at_once))))


async def is_answered(call: Caller, prompt: str) -> bool:
    """Makes one call; False if the provider's error reached the application."""
    try:
        await call(prompt)
    except openai.APIError:
        return False
    return True


async def _measure(provider: FakeProvider, scenario: Scenario, make: Callable[..., Caller]) -> dict[str, Any]:
    call = make(provider.openai_url, scenario)
    start = time.monotonic()
    failed = await call_all(call, scenario.prompts, AT_ONCE)
    taken = time.monotonic() - start
    seen = provider.report(timeline=False)
    return {
        "share": scenario.ideal() / taken,
        "seconds": taken,
        "failed": failed,
        "refused": seen.refused,
        "requests": seen.requests,
    }


def measure(scenario: str, contender: str, quick: bool) -> Callable[[], dict[str, Any]]:
    """Share of the ideal, failures, and what the provider saw; the provider stands when this returns."""
    chosen = SCENARIOS[scenario](quick)
    provider = provider_for(chosen).start()

    def run() -> dict[str, Any]:
        try:
            return asyncio.run(_measure(provider, chosen, CALLERS[contender]))
        finally:
            provider.stop()

    return run
