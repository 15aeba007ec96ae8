"""Limits, pauses and cancellations, for every way in which CrewAI asks a model; LangChain's through `crewai_llm`."""

from __future__ import annotations

import asyncio
import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply

TOPIC = {"topic": "tides"}
KINDS = ["openai", "anthropic", "gemini", "azure", "bedrock", "litellm", "langchain"]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def wrap(llm, make):
    """Makes a wrapped LLM of a kind."""

    def wrapped(keeper, kind):
        return keeper.crewai_llm(make("chat")) if kind == "langchain" else keeper.wrap(llm(kind))

    return wrapped


@every_kind
def test_eight_calls_on_threads_keep_to_two_at_once(kind, wrap, books, provider):
    provider.script(Reply(latency=0.2, times=None))
    one = wrap(books.keeper(rk.Quota(concurrency=2)), kind)
    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(one.call, [f"Say {number}" for number in range(8)]))) == 8
    assert books.agree_in_tokens(8).peak_concurrency == 2


@every_kind
def test_eight_calls_on_one_loop_keep_to_two_at_once(kind, wrap, books, provider, run):
    provider.script(Reply(latency=0.2, times=None))
    one = wrap(books.keeper(rk.Quota(concurrency=2)), kind)

    async def main():
        await asyncio.gather(*(one.acall(f"Say {number}") for number in range(8)))

    run(main())
    assert books.agree_in_tokens(8).peak_concurrency == 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bedrock"])  # which names no wait
def test_retry_after_holds_ten_crews_of_one_key(kind, wrap, crew, books, provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=3, times=1))
    policy = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
    keeper = books.keeper(rk.Quota(rpm=60_000, concurrency=1), retry=policy)
    crews = [crew(wrap(keeper, kind)) for _ in range(10)]
    with ThreadPoolExecutor(10) as threads:
        assert len(list(threads.map(lambda one: one.kickoff(TOPIC), crews))) == 10
    refused, *others = books.agree(11).arrivals()
    assert min(others) - refused >= 3


@every_kind
def test_a_queued_call_that_is_cancelled_leaves_its_place_at_once(kind, wrap, books, provider, run):
    provider.script(Reply(latency=1.0, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    one = wrap(keeper, kind)

    def counted(name):
        return sum(scope[name] for scope in keeper.status()["scopes"].values())

    async def until(name, number):
        for _ in range(5000):
            if counted(name) == number:
                return
            await asyncio.sleep(0.001)

    async def main():
        first = asyncio.create_task(one.acall("One"))
        await until("in_flight", 1)
        second = asyncio.create_task(one.acall("Two"))
        await until("waiting", 1)
        assert counted("waiting") == 1
        began = time.monotonic()
        second.cancel()
        await until("waiting", 0)
        freed = time.monotonic() - began
        await asyncio.gather(second, return_exceptions=True)
        assert second.cancelled()
        assert await first
        return freed

    assert run(main()) < 0.1
    books.agree(1)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # botocore leaves its socket open
def test_a_stream_of_bedrock_that_is_dropped_unread_gives_its_permit_back(llm, books):
    client = books.keeper(rk.Quota(concurrency=1)).wrap(llm("bedrock"))._get_sync_client()
    body = {
        "modelId": "anthropic.claude-sonnet-4-20250514-v1:0",
        "messages": [{"role": "user", "content": [{"text": "Hi"}]}],
        "inferenceConfig": {"maxTokens": 64},
    }
    answer = client.converse_stream(**body)
    del answer
    gc.collect()
    books.agree(1)
