"""One process of those that lose something: its life, or the store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import openai

import ratekeeper as rk

#: One at once, so that who waits waits for the one that holds.
ONE = rk.Quota(concurrency=1)
_AT_ONCE = 20


def hold(store: str, name: str) -> Callable[[], None]:
    """Holds the only permit, until it is killed."""
    lease = rk.RateLimiter(ONE, name=name, store=store).acquire().wait()

    def stay() -> None:
        time.sleep(3_600)
        lease.close()

    return stay


def call_on(store: str, url: str, rate: int, seconds: float) -> Callable[[], dict[str, Any]]:
    """Calls as fast as the quota allows, for so long: when each was answered, and how many failed."""
    # That the store is lost is no news here.
    logging.getLogger("ratekeeper").addHandler(logging.NullHandler())
    keeper = rk.Keeper(rk.Quota(rk.Limit("requests", rate, 1.0)), store=store)

    async def main() -> dict[str, Any]:
        client = keeper.wrap(openai.AsyncOpenAI(api_key="sk-bench", base_url=url))
        answered: list[float] = []
        failed, end = 0, time.monotonic() + seconds

        async def work() -> None:
            nonlocal failed
            while time.monotonic() < end:
                try:
                    await client.chat.completions.create(
                        model="gpt-4o-mini", max_tokens=1, messages=[{"role": "user", "content": "Hello"}]
                    )
                    answered.append(time.monotonic())
                except (openai.APIError, rk.RatekeeperError):
                    failed += 1

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        return {"answered": answered, "failed": failed}

    return lambda: asyncio.run(main())
