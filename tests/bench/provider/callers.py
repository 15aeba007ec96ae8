"""The contenders: ways to call one model many times without running into its quota.

Each is what its documentation shows, and knows the quota as well as its interface lets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiolimiter import AsyncLimiter
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_openai import ChatOpenAI

import ratekeeper as rk

from .scenarios import MAX_TOKENS, Scenario

#: One call: from a prompt to its answer.
Caller = Callable[[str], Awaitable[Any]]


def model(url: str, **fields: Any) -> ChatOpenAI:
    """The model everybody calls."""
    named = {"model": "gpt-4o-mini", "api_key": "sk-bench", "base_url": url, "max_tokens": MAX_TOKENS}
    return ChatOpenAI(**{**named, **fields})


def ratekeeper(url: str, scenario: Scenario) -> Caller:
    """One line: the wrapped model is called as before. One attempt a call."""
    return rk.Keeper(scenario.quota()).wrap(model(url)).ainvoke


def bare(retries: int) -> Callable[[str, Scenario], Caller]:
    """The SDK's own retries, which honour Retry-After."""

    def made(url: str, scenario: Scenario) -> Caller:
        del scenario
        return model(url, max_retries=retries).ainvoke

    return made


def semaphore(url: str, scenario: Scenario) -> Caller:
    """A few at a time, and the SDK's default retries."""
    del scenario
    llm, permits = model(url), asyncio.Semaphore(4)

    async def call(prompt: str) -> Any:
        async with permits:
            return await llm.ainvoke(prompt)

    return call


def in_memory_rate_limiter(url: str, scenario: Scenario) -> Caller:
    """LangChain's own field. It cannot count tokens, so it is told the rate at which the mean call fits."""
    mean = scenario.total() / len(scenario.prompts)
    per_second = min(scenario.rpm, scenario.tpm / mean) / scenario.window
    limiter = InMemoryRateLimiter(requests_per_second=per_second, max_bucket_size=1)
    return model(url, rate_limiter=limiter).ainvoke


def aiolimiter(url: str, scenario: Scenario) -> Caller:
    """Two leaky buckets in turn, requests and tokens; it is told exactly what the provider will count."""
    llm = model(url)
    requests, tokens = (
        AsyncLimiter(scenario.rpm, scenario.window),
        AsyncLimiter(scenario.tpm, scenario.window),
    )

    async def call(prompt: str) -> Any:
        await tokens.acquire(scenario.tokens(prompt))
        await requests.acquire()
        return await llm.ainvoke(prompt)

    return call


CALLERS: dict[str, Callable[[str, Scenario], Caller]] = {
    "ratekeeper": ratekeeper,
    "bare SDK, max_retries=2": bare(2),
    "bare SDK, max_retries=10": bare(10),
    "asyncio.Semaphore(4)": semaphore,
    "InMemoryRateLimiter": in_memory_rate_limiter,
    "aiolimiter": aiolimiter,
}
