"""Clients that are gated as a whole, since no SDK's client stands below them, and clients that cannot be gated."""

from __future__ import annotations

import asyncio
import pickle
import sys
import time
import types

import pytest
from autogen_core import CancellationToken, FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    RequestUsage,
    SystemMessage,
    UserMessage,
)
from autogen_ext.models.azure import AzureAIChatCompletionClient
from autogen_ext.models.openai import OpenAIChatCompletionClient
from autogen_ext.models.replay import ReplayChatCompletionClient
from azure.core.credentials import AzureKeyCredential
from PIL import Image as Pixels

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply

from .conftest import INFO, say
from .test_clients import last_of, until, waiting


@pytest.fixture
def azure(provider, run):
    """A client of Azure's inference API."""
    client = AzureAIChatCompletionClient(
        endpoint=provider.azure_inference_url,
        credential=AzureKeyCredential("sk-test"),
        model="mini",
        model_info=INFO,
        max_tokens=64,
    )
    yield client
    run(client.close())


def replayed(*answers):
    client = ReplayChatCompletionClient(list(answers), model_info=INFO)
    client.set_cached_bool_value(False)
    return client


def test_azure_s_inference_calls_and_streams_are_settled_with_the_provider_s_count(azure, books, run):
    model = books.keeper().wrap(azure)

    async def main():
        return await model.create(say()), await last_of(model.create_stream(say()))

    plain, streamed = run(main())
    report = books.agree_in_tokens(2)
    assert isinstance(model, AzureAIChatCompletionClient)
    assert plain.usage.prompt_tokens + streamed.usage.prompt_tokens == report.input_tokens
    assert plain.usage.completion_tokens + streamed.usage.completion_tokens == report.output_tokens


def test_azure_s_own_retries_are_off(azure, books, provider, run):
    provider.set_faults(Fault(kind="rate_limit"))
    keeper = books.keeper(retry=rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02))
    with pytest.raises(Exception, match=r"429|[Rr]ate") as caught:
        run(keeper.wrap(azure).create(say()))
    assert type(caught.value).__name__ == "HttpResponseError"
    assert caught.value.response.headers
    assert books.agree(3).statuses == {429: 3}


def test_azure_s_client_itself_keeps_its_retries(azure, books):
    below = azure._client
    wrapped = books.keeper().wrap(azure)
    assert azure._client is below
    assert type(below) is not type(wrapped._client)
    assert isinstance(wrapped._client, type(below))


def test_an_azure_client_that_holds_something_else_is_refused(azure, books, run):
    held, azure._client = azure._client, object()
    try:
        with pytest.raises(rk.ConfigError, match="known is the ChatCompletionsClient"):
            books.keeper().wrap(azure)
    finally:
        azure._client = held


@pytest.mark.parametrize("stream", [False, True])
def test_cancelling_a_queued_call_frees_its_place_at_once(stream, azure, books, provider, run):
    provider.script(Reply(latency=1.0, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    model = keeper.wrap(azure)

    async def main():
        running = asyncio.create_task(model.create(say()))
        await until(lambda: any(scope["in_flight"] for scope in keeper.status()["scopes"].values()))
        token = CancellationToken()
        ask = last_of(model.create_stream(say(), cancellation_token=token)) if stream else None
        queued = asyncio.create_task(ask or model.create(say(), cancellation_token=token))
        await until(lambda: waiting(keeper) == 1)
        token.cancel()
        began = time.monotonic()
        await until(lambda: waiting(keeper) == 0)
        freed = time.monotonic() - began
        await asyncio.gather(queued, return_exceptions=True)
        assert queued.cancelled()
        await running
        return freed

    assert run(main()) < 0.1
    books.agree(1)


def test_a_replayed_call_is_a_call_like_any_other(books, run):
    keeper = books.keeper(rk.Quota(concurrency=1))
    model = keeper.wrap(replayed("one", "two"))

    async def main():
        return (await model.create(say())).content, (await last_of(model.create_stream(say()))).content

    assert run(main()) == ("one", "two")
    assert [usage.input_tokens > 0 for usage in books.usages] == [True, True]
    books.nothing_is_held()


def test_a_result_from_a_cache_gives_its_reservation_back(books, run):
    client = replayed("one", "two")
    client.set_cached_bool_value(True)
    model = books.keeper(rk.Quota(rpm=60, tpm=10_000)).wrap(client)

    async def main():
        await model.create(say())
        await last_of(model.create_stream(say()))

    run(main())
    assert books.usages == [None, None]
    assert [event.amounts.tokens for event in books.of("settled")] == [0, 0]


def test_messages_of_every_kind_are_estimated(books, run):
    model = books.keeper().wrap(replayed("one"))
    messages = [
        SystemMessage(content="Be brief."),
        UserMessage(content=["What is this?", Image(Pixels.new("RGB", (64, 64)))], source="user"),
        AssistantMessage(content=[FunctionCall(id="1", name="look", arguments="{}")], source="alice"),
        FunctionExecutionResultMessage(
            content=[FunctionExecutionResult(content="a tide", name="look", call_id="1", is_error=False)]
        ),
    ]
    run(model.create(messages))
    [started] = books.of("started")
    assert started.amounts.requests == 1
    books.nothing_is_held()


def test_a_replayed_client_survives_pickle_and_dump(books, run):
    keeper = books.keeper()
    model = keeper.wrap(replayed("one", "two"))
    twin = pickle.loads(pickle.dumps(model))
    loaded = ChatCompletionClient.load_component(model.dump_component())
    assert type(twin) is type(loaded) is type(model)
    assert run(twin.create(say())).content == run(loaded.create(say())).content == "one"
    assert len(books.of("started")) == 2


def test_a_client_of_somebody_else_is_refused(books):
    class Own(ChatCompletionClient):
        async def create(self, messages, **settings):
            return CreateResult(
                finish_reason="stop",
                content="",
                usage=RequestUsage(prompt_tokens=0, completion_tokens=0),
                cached=False,
            )

        create_stream = close = actual_usage = total_usage = count_tokens = remaining_tokens = (
            capabilities
        ) = None
        model_info = INFO

    with pytest.raises(rk.ConfigError, match="cannot be gated: nobody knows how often it sends a call"):
        books.keeper().wrap(Own())


def test_a_version_that_keeps_its_sdk_client_elsewhere_is_refused(client, books):
    model = client()
    later = object.__new__(OpenAIChatCompletionClient)
    later.__dict__.update({name: value for name, value in vars(model).items() if name != "_client"})
    with pytest.raises(rk.ConfigError, match="holds no SDK client in `_client`"):
        books.keeper().wrap(later)


def test_semantic_kernel_s_adapter_says_what_to_wrap_instead(books, monkeypatch):
    """Its package is not installed here; AutoGen's class is known by its name."""
    name = "autogen_ext.models.semantic_kernel._sk_chat_completion_adapter"
    adapter = types.new_class("SKChatCompletionAdapter", (ChatCompletionClient,))
    adapter.__module__, adapter.__abstractmethods__ = name, frozenset()
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(rk.ConfigError, match="give the SDK client that Semantic Kernel is to use"):
        books.keeper().wrap(adapter())


def test_every_client_of_autogen_ext_is_known_by_the_names_that_it_has():
    """Those whose packages are installed here; the others are read from their source."""
    import importlib.util
    from pathlib import Path

    from ratekeeper.adapters.agentchat import seams

    names = {*seams._BY_SDK, *seams._WHOLE, seams._CACHE, seams._SEMANTIC_KERNEL}
    home = Path(importlib.util.find_spec("autogen_ext").origin).parent.parent
    for module, kind in names:
        source = (home / module.replace(".", "/")).with_suffix(".py").read_text()
        assert f"class {kind}(" in source
