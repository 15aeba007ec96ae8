"""One process's share of the calls, under a keeper with the full quota and a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import openai

import ratekeeper as rk

from ..provider.scenarios import AT_ONCE, MAX_TOKENS, SCENARIOS


def measure(
    store: str, url: str, quick: bool, number: int, shares: list[int]
) -> Callable[[], dict[str, Any]]:
    """When it began and ended, how many calls failed, and how many were answered while all waited."""
    scenario = SCENARIOS["mixed"](quick)
    own = [place for place, share in enumerate(shares) for _ in range(share)]
    prompts = [text for place, text in enumerate(scenario.prompts) if own[place % len(own)] == number]
    keeper = rk.Keeper(scenario.quota(), store=store)
    ideal = scenario.ideal()

    async def main() -> dict[str, Any]:
        client = keeper.wrap(openai.AsyncOpenAI(api_key="sk-bench", base_url=url))
        left, failed, ends = iter(prompts), 0, []
        start = time.monotonic()

        async def work() -> None:
            nonlocal failed
            for prompt in left:
                try:
                    await client.chat.completions.create(
                        model="gpt-4o-mini",
                        max_tokens=MAX_TOKENS,
                        messages=[{"role": "user", "content": prompt}],
                    )
                    ends.append(time.monotonic())
                except (openai.APIError, rk.RatekeeperError):
                    failed += 1

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        # Not the burst that comes first, nor the end, when some have made all their calls.
        middle = sum(ideal / 4 < end - start < ideal * 3 / 4 for end in ends)
        return {"start": start, "end": max(ends, default=start), "failed": failed, "while_all_wait": middle}

    return lambda: asyncio.run(main())
