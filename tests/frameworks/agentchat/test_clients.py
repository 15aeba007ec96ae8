"""Model clients by themselves: every call is gated once, and settled with the provider's count."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time

import httpx
import pytest
from autogen_core import CancellationToken
from autogen_core.models import CreateResult
from autogen_core.tools import FunctionTool
from autogen_ext.models.cache import ChatCompletionCache
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply, ToolCall

from .conftest import say

every_family = pytest.mark.parametrize("family", ["openai", "azure", "anthropic"])

autogen_warns = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


class Tide(BaseModel):
    height: int


async def last_of(stream):
    """The result that ends a stream."""
    return [chunk async for chunk in stream][-1]


async def until(condition):
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    assert condition()


def waiting(keeper):
    return sum(scope["waiting"] for scope in keeper.status()["scopes"].values())


@every_family
def test_a_call_and_a_stream_are_settled_with_what_the_provider_counted(family, client, books, run):
    model = books.keeper().wrap(client(family))

    async def main():
        result = await model.create(say())
        streamed = await last_of(model.create_stream(say()))
        return result, streamed

    result, streamed = run(main())
    report = books.agree_in_tokens(2)
    told = [result.usage, streamed.usage]
    assert sum(usage.prompt_tokens for usage in told) == report.input_tokens
    assert sum(usage.completion_tokens for usage in told) == report.output_tokens


@every_family
def test_the_wrapped_client_is_of_the_same_class_and_the_client_stays_as_it_is(family, client, books):
    original = client(family)
    sdk_client, retries = original._client, original._client.max_retries
    wrapped = books.keeper().wrap(original)
    assert isinstance(wrapped, type(original))
    assert (original._client is sdk_client, sdk_client.max_retries) == (True, retries)
    assert wrapped._client.max_retries == 0
    assert "_ratekeeper_hold" not in vars(original)


@autogen_warns
def test_tools_and_structured_answers_are_gated_like_any_call(client, books, provider, run):
    def tide(place: str) -> str:
        return "high"

    tool = FunctionTool(tide, "The tide at a place.")
    provider.script(
        Reply(tool_calls=[ToolCall(name="tide", arguments={"place": "Brest"})]),
        Reply(text='{"height": 4}', times=None),
    )
    model = books.keeper().wrap(client())

    async def main():
        called = await model.create(say(), tools=[tool])
        parsed = await model.create(say(), json_output=Tide)
        streamed = await last_of(model.create_stream(say(), json_output=Tide))
        return called, parsed, streamed

    called, parsed, streamed = run(main())
    assert called.content[0].name == "tide"
    assert (
        Tide.model_validate_json(parsed.content)
        == Tide.model_validate_json(streamed.content)
        == Tide(height=4)
    )
    books.agree_in_tokens(3)


def test_wrapping_twice_with_one_keeper_is_wrapping_once(client, books, run):
    keeper = books.keeper()
    twice = keeper.wrap(keeper.wrap(client()), agent="scout")
    run(twice.create(say()))
    books.agree_in_tokens(1)
    assert type(twice) is type(keeper.wrap(client()))
    assert keeper.status()["estimates"][0]["caller"] == "scout"


def test_a_client_of_another_keeper_is_refused(client, books):
    wrapped = books.keeper().wrap(client())
    with pytest.raises(rk.ConfigError, match="already wrapped by another Keeper"):
        books.keeper().wrap(wrapped)


def test_a_client_below_a_cache_that_another_keeper_wrapped_is_refused(client, books):
    with pytest.raises(rk.ConfigError, match="already wrapped by another Keeper"):
        books.keeper().wrap(ChatCompletionCache(books.keeper().wrap(client())))


@pytest.mark.parametrize("by", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_under_the_same_limit(by, client, books, run, keep):
    books.provider.script(Reply(latency=0.1, times=None))
    model = books.keeper(rk.Quota(concurrency=1)).wrap(client())
    twin = keep(by(model))

    async def main():
        await asyncio.gather(model.create(say("one")), twin.create(say("two")))

    run(main())
    assert type(twin) is type(model)
    assert books.agree_in_tokens(2).peak_concurrency == 1
    assert (model.total_usage().prompt_tokens, twin.total_usage().prompt_tokens) != (0, 0)


def test_a_cached_answer_reserves_nothing(client, books, run):
    cache = books.keeper().wrap(ChatCompletionCache(client()))

    async def main():
        first = await cache.create(say())
        again = await cache.create(say())
        streamed = await last_of(cache.create_stream(say("And now?")))
        streamed_again = await last_of(cache.create_stream(say("And now?")))
        return [result.cached for result in (first, again, streamed, streamed_again)]

    assert type(cache) is ChatCompletionCache
    # The cache marks the very result that it keeps.
    assert run(main())[1::2] == [True, True]
    books.agree_in_tokens(2)


def test_the_user_s_own_http_client_headers_and_timeout_are_used(client, books, run):
    seen = []

    async def note(request):
        seen.append((request.headers["x-team"], request.extensions["timeout"]["read"]))

    async def main():
        async with httpx.AsyncClient(event_hooks={"request": [note]}) as http_client:
            own = client(http_client=http_client, default_headers={"x-team": "tides"}, timeout=7.0)
            await books.keeper().wrap(own).create(say())

    run(main())
    assert seen == [("tides", 7.0)]
    books.agree_in_tokens(1)


@every_family
def test_a_permanent_429_is_tried_as_often_as_the_policy_says(family, client, books, provider, run):
    provider.set_faults(Fault(kind="rate_limit"))
    policy = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
    keeper = books.keeper(retry=policy)
    model = keeper.wrap(client(family, max_retries=5))
    with pytest.raises(Exception, match="429") as caught:
        run(model.create(say()))
    assert type(caught.value).__name__ == "RateLimitError"
    assert books.agree(3).statuses == {429: 3}
    assert keeper.last_error().response.headers["content-type"]


def test_retry_after_stops_everybody_of_that_key_and_model(client, books, provider, run):
    provider.set_faults(Fault(kind="rate_limit", retry_after=3.0, times=1))
    keeper = books.keeper(rk.Quota(rpm=6000, concurrency=2), retry=rk.RetryPolicy(attempts=3))
    provider.script(Reply(latency=0.2, times=None))

    async def main():
        await asyncio.gather(*(keeper.wrap(client()).create(say(str(number))) for number in range(10)))

    run(main())
    requests = books.agree(11).timeline
    refused = next(entry for entry in requests if entry.status == 429)
    later = [entry.at - refused.ended for entry in requests if entry.at > refused.ended + 0.05]
    assert len(later) >= 9
    assert min(later) >= 3.0


@autogen_warns
@pytest.mark.parametrize("stream", [False, True, "structured"])
def test_cancelling_a_queued_call_frees_its_place_at_once(stream, client, books, provider, run):
    provider.script(Reply(latency=1.0, text='{"height": 4}', times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    model = keeper.wrap(client())

    def ask(token):
        if stream:
            settings = {"json_output": Tide} if stream == "structured" else {}
            return last_of(model.create_stream(say(), cancellation_token=token, **settings))
        return model.create(say(), cancellation_token=token)

    async def main():
        running = asyncio.create_task(model.create(say()))
        await until(lambda: keeper.status()["scopes"])
        token = CancellationToken()
        queued = asyncio.create_task(ask(token))
        await until(lambda: waiting(keeper) == 1)
        token.cancel()
        began = time.monotonic()
        await until(lambda: waiting(keeper) == 0)
        freed = time.monotonic() - began
        with pytest.raises(asyncio.CancelledError):
            await queued
        await running
        return freed

    assert run(main()) < 0.1
    books.agree(1)


@every_family
def test_a_stream_that_nobody_reads_on_gives_its_place_back(family, client, books, provider, run):
    provider.script(Reply(tokens=400, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    model = keeper.wrap(client(family))

    async def main():
        stream = model.create_stream(say())
        await anext(stream)
        await stream.aclose()
        await until(lambda: not any(scope["in_flight"] for scope in keeper.status()["scopes"].values()))
        assert isinstance(await last_of(model.create_stream(say())), CreateResult)

    run(main())
    books.agree(2)


def test_counting_tokens_never_goes_to_the_network(client, books):
    model = books.keeper().wrap(client())
    few, many = model.count_tokens(say("tide")), model.count_tokens(say("tide " * 400))
    assert 0 < few < many
    assert abs(many - few - 400) < 120
    assert model.remaining_tokens(say("tide")) > 0
    books.agree(0)


def test_the_user_s_own_count_is_the_count(client, books):
    model = books.keeper(count=lambda request: len(request.text)).wrap(client())
    assert model.count_tokens(say("tide")) == 4


def test_a_refusal_comes_out_as_itself(client, books, provider, run):
    provider.script(Reply(latency=0.5, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    model = keeper.wrap(client(), timeout=0.05)

    async def main():
        running = asyncio.create_task(model.create(say()))
        await until(lambda: any(scope["in_flight"] for scope in keeper.status()["scopes"].values()))
        with pytest.raises(rk.QuotaExceededError):
            await model.create(say())
        with pytest.raises(rk.QuotaExceededError):
            await last_of(model.create_stream(say()))
        await running

    run(main())
    books.agree(1)


def test_streams_stay_without_usage_where_the_wrap_says_so(client, books, run):
    model = books.keeper().wrap(client(), stream_usage=False)
    assert run(last_of(model.create_stream(say()))).usage.prompt_tokens == 0
    assert books.usages == [None]


def test_a_stream_whose_user_wants_no_usage_is_settled_all_the_same(client, books, run):
    model = books.keeper().wrap(client())
    settings = {"stream_options": {"include_usage": False}}
    result = run(last_of(model.create_stream(say(), extra_create_args=settings)))
    assert result.usage.prompt_tokens == 0
    books.agree_in_tokens(1)


def test_a_class_that_was_made_from_a_client_is_wrapped_as_such(books, run, provider, keep):
    class Logged(OpenAIChatCompletionClient):
        calls = 0

        async def create(self, *args, **settings):
            Logged.calls += 1
            return await super().create(*args, **settings)

    own = keep(Logged(model="gpt-4o-mini-2024-07-18", api_key="sk-test", base_url=provider.openai_url))
    run(books.keeper().wrap(own).create(say()))
    assert Logged.calls == 1
    books.agree_in_tokens(1)
