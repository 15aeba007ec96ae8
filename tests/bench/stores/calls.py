"""One process's share of the calls, under a keeper with the full quota and a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import openai

import ratekeeper as rk

from ..provider.scenarios import MAX_TOKENS, SCENARIOS


def measure(store: str | None, url: str, quick: bool, load: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """When it began and ended, how many calls failed, how long each took, and how many were answered while all waited.

    Args:
        store: Its address; None for the memory of this process.
        url: The provider's.
        quick: Whether there are few calls.
        load: `number`, which of the processes this is; `shares`, how many of so many calls each makes; `at_once`, how many
            it makes at once; `after`, the seconds until they come.
    """
    scenario = SCENARIOS["mixed"](quick)
    own = [place for place, share in enumerate(load["shares"]) for _ in range(share)]
    prompts = [text for place, text in enumerate(scenario.prompts) if own[place % len(own)] == load["number"]]
    keeper = rk.Keeper(scenario.quota(), store=store)
    ideal = scenario.ideal()

    async def main() -> dict[str, Any]:
        client = keeper.wrap(openai.AsyncOpenAI(api_key="sk-bench", base_url=url))
        left, failed = iter(prompts), 0
        ends: list[float] = []
        jobs: list[float] = []
        start = time.monotonic()
        await asyncio.sleep(load["after"])

        async def work() -> None:
            nonlocal failed
            for prompt in left:
                begun = time.monotonic()
                try:
                    await client.chat.completions.create(
                        model="gpt-4o-mini",
                        max_tokens=MAX_TOKENS,
                        messages=[{"role": "user", "content": prompt}],
                    )
                    ends.append(time.monotonic())
                    jobs.append(ends[-1] - begun)
                except (openai.APIError, rk.RatekeeperError):
                    failed += 1

        await asyncio.gather(*(work() for _ in range(load["at_once"])))
        # Not the burst that comes first, nor the end, when some have made all their calls.
        middle = sum(ideal / 4 < end - start < ideal * 3 / 4 for end in ends)
        end = max(ends, default=start)
        return {"start": start, "end": end, "failed": failed, "jobs": jobs, "while_all_wait": middle}

    return lambda: asyncio.run(main())
