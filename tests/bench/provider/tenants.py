"""Five tenants under one quota, one of them flooding: who is served how much, inside a child process.

All want more than a fifth of the quota all the time, so equal shares are right; the flood wants ten times as much.
Counting starts when the burst is used up, and ends before any tenant runs out of work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any

import ratekeeper as rk

from .callers import Caller, model
from .run import is_answered, provider_for
from .scenarios import Scenario, tokens_bound

_WORKERS = {"flood": 150, "a": 10, "b": 10, "c": 10, "d": 10}
_WINDOWS = 2.0


def jain(served: list[float]) -> float:
    """Jain's index: 1 if all are served alike, 1/n if one gets everything."""
    return sum(served) ** 2 / (len(served) * sum(share * share for share in served))


async def _serve(callers: Mapping[str, Caller], scenario: Scenario) -> dict[str, Any]:
    """Tokens that each tenant's answered calls took in the second of two windows, and calls that failed."""
    served, failed = dict.fromkeys(callers, 0), 0
    texts = cycle(scenario.prompts)
    burst_is_gone = time.monotonic() + scenario.window

    async def work(tenant: str) -> None:
        nonlocal failed
        for prompt in texts:
            if not await is_answered(callers[tenant], prompt):
                failed += 1
            elif time.monotonic() > burst_is_gone:
                served[tenant] += scenario.tokens(prompt)

    workers = [asyncio.create_task(work(tenant)) for tenant, count in _WORKERS.items() for _ in range(count)]
    await asyncio.wait(workers, timeout=_WINDOWS * scenario.window, return_when=asyncio.FIRST_EXCEPTION)
    for worker in workers:
        worker.cancel()
    for end in await asyncio.gather(*workers, return_exceptions=True):
        if not isinstance(end, asyncio.CancelledError):
            raise RuntimeError("a worker ended early") from end
    return {"jain": jain(list(served.values())), "served": served, "failed": failed}


def measure(told_apart: bool, quick: bool) -> Callable[[], dict[str, Any]]:
    """Jain's index of tokens served, with the tenants told apart or in one queue."""
    scenario = tokens_bound(quick)
    provider = provider_for(scenario).start()

    def run() -> dict[str, Any]:
        try:
            keeper, llm = rk.Keeper(scenario.quota(), slow_wait=60), model(provider.openai_url)
            callers = {t: keeper.wrap(llm, tenant=t if told_apart else None).ainvoke for t in _WORKERS}
            return asyncio.run(_serve(callers, scenario))
        finally:
            provider.stop()

    return run
