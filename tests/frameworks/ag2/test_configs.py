"""Wrapped configs: every client that they create is gated, and they are configs as before."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
import time

import httpx2
import pytest
from ag2.config import OpenAIConfig, OpenAIDecisionsConfig
from ag2.testing import TestConfig

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply

from .conftest import agent

every_family = pytest.mark.parametrize("family", ["openai", "responses", "anthropic"])
streamed = pytest.mark.parametrize("streaming", [False, True])


async def until(condition):
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    assert condition()


def waiting(keeper):
    return sum(scope["waiting"] for scope in keeper.status()["scopes"].values())


def in_flight(keeper):
    return sum(scope["in_flight"] for scope in keeper.status()["scopes"].values())


@every_family
@streamed
def test_a_call_is_settled_with_what_the_provider_counted(family, streaming, config, books, run):
    reply = run(agent(books.keeper().wrap(config(family, streaming=streaming))).ask("What is the tide?"))
    assert reply.body
    books.agree_in_tokens(1)


@every_family
def test_the_wrapped_config_is_of_the_same_class_and_the_config_stays_as_it_is(family, config, books):
    original = config(family, max_retries=5)
    before = [getattr(original, field.name) for field in dataclasses.fields(original)]
    wrapped = books.keeper().wrap(original)
    assert isinstance(wrapped, type(original))
    assert (wrapped.provider, wrapped.model, wrapped.max_retries) == (original.provider, original.model, 5)
    assert [getattr(original, field.name) for field in dataclasses.fields(original)] == before
    assert type(original.create()._client).copy is not type(wrapped.create()._client).copy
    assert wrapped.create()._client.max_retries == 0


def test_the_client_of_a_wrapped_config_is_of_the_class_that_it_always_was(config, books):
    original = config()
    assert isinstance(books.keeper().wrap(original).create(), type(original.create()))


@pytest.mark.parametrize(
    "by",
    [
        copy.copy,
        lambda wrapped: copy.deepcopy(wrapped.copy(http_client=None)),
        lambda wrapped: pickle.loads(pickle.dumps(wrapped.copy(http_client=None))),
        lambda wrapped: wrapped.copy(temperature=0.5),
    ],
    ids=["copy", "deepcopy", "pickle", "the config's own copy"],
)
def test_copies_are_under_the_same_limit(by, config, books, provider, run):
    provider.script(Reply(latency=0.1, times=None))
    wrapped = books.keeper(rk.Quota(concurrency=1)).wrap(config())
    twin = by(wrapped)
    twin = twin if twin.http_client else twin.copy(http_client=wrapped.http_client)

    async def main():
        await asyncio.gather(agent(wrapped).ask("one"), agent(twin).ask("two"))

    run(main())
    assert type(twin) is type(wrapped)
    assert books.agree_in_tokens(2).peak_concurrency == 1


def test_a_config_that_was_built_past_the_keeper_creates_no_client(config, books):
    past = dataclasses.replace(books.keeper().wrap(config()), temperature=0.5)
    with pytest.raises(rk.ConfigError, match="belongs to no keeper"):
        past.create()


def test_wrapping_twice_with_one_keeper_is_wrapping_once(config, books, run):
    keeper = books.keeper()
    run(agent(keeper.wrap(keeper.wrap(config()))).ask("one"))
    books.agree_in_tokens(1)


def test_a_config_of_another_keeper_is_refused(config, books):
    wrapped = books.keeper().wrap(config())
    with pytest.raises(rk.ConfigError, match="already wrapped by another Keeper"):
        books.keeper().wrap(wrapped)


@pytest.mark.parametrize("other", [OpenAIDecisionsConfig(api_key="sk-test"), TestConfig("scripted")])
def test_what_cannot_be_gated_is_refused(other, books):
    with pytest.raises(rk.ConfigError, match="cannot be gated"):
        books.keeper().wrap(other)


def test_a_version_that_keeps_its_sdk_client_elsewhere_is_refused(config, books):
    class Later(OpenAIConfig):
        def create(self):
            client = super().create()
            client.sdk = vars(client).pop("_client")
            return client

    later = books.keeper().wrap(Later(model="gpt-4o-mini", api_key="sk-test"))
    with pytest.raises(rk.ConfigError, match="holds no SDK client"):
        later.create()


def test_the_user_s_own_http_client_headers_and_timeout_are_used(config, books, run):
    seen = []

    async def note(request):
        seen.append((request.headers["x-team"], request.extensions["timeout"]["read"]))

    async def main():
        async with httpx2.AsyncClient(event_hooks={"request": [note]}) as http_client:
            own = config(http_client=http_client, default_headers={"x-team": "tides"}, timeout=7.0)
            await agent(books.keeper().wrap(own)).ask("one")

    run(main())
    assert seen == [("tides", 7.0)]
    books.agree_in_tokens(1)


@every_family
def test_a_permanent_429_is_tried_as_often_as_the_policy_says(family, config, books, provider, run):
    provider.set_faults(Fault(kind="rate_limit"))
    keeper = books.keeper(retry=rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02))
    with pytest.raises(Exception, match="429") as caught:
        run(agent(keeper.wrap(config(family, max_retries=5))).ask("one"))
    assert type(caught.value).__name__ == "RateLimitError"
    assert caught.value.response.headers["content-type"]
    assert keeper.last_error() is caught.value
    assert books.agree(3).statuses == {429: 3}


def test_retry_after_stops_everybody_of_that_key_and_model(config, books, provider, run):
    provider.set_faults(Fault(kind="rate_limit", retry_after=3.0, times=1))
    provider.script(Reply(latency=0.2, times=None))
    keeper = books.keeper(rk.Quota(rpm=6000, concurrency=2), retry=rk.RetryPolicy(attempts=3))

    async def main():
        await asyncio.gather(*(agent(keeper.wrap(config())).ask(str(number)) for number in range(10)))

    run(main())
    requests = books.agree(11).timeline
    refused = next(entry for entry in requests if entry.status == 429)
    later = [entry.at - refused.ended for entry in requests if entry.at > refused.ended + 0.05]
    assert len(later) >= 9
    assert min(later) >= 3.0


@streamed
def test_cancelling_a_queued_call_frees_its_place_at_once(streaming, config, books, provider, run):
    provider.script(Reply(latency=1.0, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(config(streaming=streaming))

    async def main():
        running = asyncio.create_task(agent(wrapped).ask("one"))
        await until(lambda: in_flight(keeper))
        queued = asyncio.create_task(agent(wrapped).ask("two"))
        await until(lambda: waiting(keeper) == 1)
        began = time.monotonic()
        queued.cancel()
        await until(lambda: waiting(keeper) == 0)
        freed = time.monotonic() - began
        await asyncio.gather(queued, return_exceptions=True)
        assert queued.cancelled()
        await running
        return freed

    assert run(main()) < 0.1
    books.agree(1)
