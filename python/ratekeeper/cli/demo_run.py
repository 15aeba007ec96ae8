"""The two runs of the demo: the same calls, bare and wrapped.

Owns the making of the calls and what is counted of them. Prints nothing; frameworks are imported when it
runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from ratekeeper import Keeper, Quota, Usage
from ratekeeper.cli.demo_plan import MAX_TOKENS, Plan
from ratekeeper.errors import RatekeeperError

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI

    from ratekeeper.testing import FakeProvider

MODEL = "gpt-4o-mini"
_SECONDS_BETWEEN_LOOKS = 0.25


@dataclass
class Tally:
    """One run as its caller and the provider see it.

    Attributes:
        name: Which run.
        calls: How many calls it makes.
        answered: Calls answered.
        failed: Calls that ended in an exception.
        refused: Requests that the provider answered with 429, the SDK's own retries among them.
        tokens: Input and output tokens of all answers, as the provider counted them.
        usd: What they cost: of the bare run by the provider's count, of the wrapped one by the keeper's ledger.
        seconds: From the first call to the last answer, or so far.
        first_error: The first exception, as text.
    """

    name: str
    calls: int
    answered: int = 0
    failed: int = 0
    refused: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)
    seconds: float = 0.0
    first_error: str = ""


class Screen(Protocol):
    """Where a run is shown while it goes on."""

    def start(self, tally: Tally) -> None:
        """A run begins."""

    def show(self, tally: Tally) -> None:
        """It goes on; called several times a second."""

    def finish(self, tally: Tally) -> None:
        """It is over."""


async def compare(plan: Plan, provider: FakeProvider, screen: Screen) -> tuple[Tally, Tally]:
    """Runs the plan bare, then wrapped."""
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr  # noqa: PLC0415  (comes with LangChain, an extra)

    llm = ChatOpenAI(
        model=MODEL,
        max_completion_tokens=MAX_TOKENS,
        base_url=provider.openai_url,
        api_key=SecretStr("sk-demo"),
    )
    # Waits of many seconds are what this run is about: no line in the log for them.
    keeper = Keeper(Quota(rpm=plan.rpm, tpm=plan.tpm), slow_wait=60)
    bare = await run("bare", llm, plan, provider, screen)
    report = provider.report(timeline=False)
    cost = keeper.prices.cost(Usage(report.input_tokens, report.output_tokens), MODEL)
    bare.usd = Decimal(0) if cost is None else cost.usd
    wrapped = await run("wrapped", keeper.wrap(llm), plan, provider, screen)
    wrapped.usd = keeper.costs.total().usd
    return bare, wrapped


async def run(name: str, llm: ChatOpenAI, plan: Plan, provider: FakeProvider, screen: Screen) -> Tally:
    """One run on full quotas; the screen is finished however it ends."""
    tally = Tally(name, len(plan.prompts))
    provider.reset()
    screen.start(tally)
    prompts = iter(plan.prompts)
    try:
        async with _watched(tally, provider, screen):
            await asyncio.gather(*(_work(llm, prompts, tally) for _ in range(plan.at_once)))
    finally:
        screen.finish(tally)
    return tally


async def _work(llm: ChatOpenAI, prompts: Iterator[str], tally: Tally) -> None:
    """One of those who call at once: takes the next prompt until none is left."""
    for prompt in prompts:
        await _call(llm, prompt, tally)


async def _call(llm: ChatOpenAI, prompt: str, tally: Tally) -> None:
    from openai import OpenAIError

    try:
        await llm.ainvoke(prompt)
    except (OpenAIError, RatekeeperError) as error:
        tally.failed += 1
        tally.first_error = tally.first_error or f"{type(error).__name__}: {error}"
    else:
        tally.answered += 1


@asynccontextmanager
async def _watched(tally: Tally, provider: FakeProvider, screen: Screen) -> AsyncIterator[None]:
    """Keeps the tally and the screen up to date meanwhile; the provider has the last word."""
    started = time.monotonic()
    watcher = asyncio.create_task(_watch(started, tally, provider, screen))
    try:
        yield
        seconds = time.monotonic() - started
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
    if not watcher.cancelled():
        watcher.result()  # raises: it ended by itself, so by an error
    await _ask(tally, provider)
    tally.seconds = seconds


async def _watch(started: float, tally: Tally, provider: FakeProvider, screen: Screen) -> None:
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        await _ask(tally, provider)
        tally.seconds = time.monotonic() - started
        screen.show(tally)


async def _ask(tally: Tally, provider: FakeProvider) -> None:
    report = await asyncio.to_thread(provider.report, timeline=False)
    tally.refused = report.refused
    tally.tokens = report.input_tokens + report.output_tokens
