"""azure-ai-inference against the fake provider: answers, quotas, refusals, and what our facts make of them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient
from azure.ai.inference.aio import ChatCompletionsClient as AsyncChatCompletionsClient
from azure.ai.inference.models import ChatCompletionsToolDefinition, FunctionDefinition
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError

from ratekeeper.providers import Usage, read_usage
from ratekeeper.providers.failure import classify
from ratekeeper.testing import FakeProvider, Fault, Reply, ToolCall, fingerprint

MESSAGES = [{"role": "user", "content": "Hello there"}]
WITH_USAGE = {"stream_options": {"include_usage": True}}
WEATHER = ChatCompletionsToolDefinition(
    function=FunctionDefinition(
        name="weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}}
    )
)


@pytest.fixture
def provider():
    with FakeProvider(output_tokens=20, cached_share=0.5, reasoning_tokens=7) as provider:
        yield provider


def settings(endpoint, **more):
    named = {"credential": AzureKeyCredential("key-one"), "api_version": "2024-06-01", "retry_total": 0}
    return {"endpoint": endpoint, **named, **more}


@pytest.fixture
def client(provider):
    with ChatCompletionsClient(**settings(provider.azure_inference_url)) as client:
        yield client


def ask_plain(client, **more):
    return client.complete(**{"messages": MESSAGES, "model": "mini", **more})


def ask_stream(client, **more):
    updates = client.complete(
        **{"messages": MESSAGES, "model": "mini", "model_extras": WITH_USAGE, "stream": True, **more}
    )
    with contextlib.closing(updates):
        return list(updates)


def asynchronously(provider, **more):
    """The updates of a stream, through the asynchronous client."""

    async def main():
        async with AsyncChatCompletionsClient(**settings(provider.azure_inference_url, **more)) as client:
            updates = await client.complete(
                messages=MESSAGES, model="mini", stream=True, model_extras=WITH_USAGE
            )
            async with contextlib.aclosing(updates):
                return [update async for update in updates]

    return asyncio.run(main())


def text_of(updates):
    return "".join(update.choices[0].delta.content or "" for update in updates if update.choices)


def failure_of(ask, *arguments, **more):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        ask(*arguments, **more)
    return caught.value, classify(caught.value)


@pytest.mark.parametrize(
    ("base", "whose"),
    [
        ("azure_inference_url", "mini"),
        ("url", "mini"),
        ("azure_url", "my-deployment"),
    ],
)
def test_every_kind_of_endpoint_answers_and_a_deployment_goes_before_the_model(provider, base, whose):
    path = "/openai/deployments/my-deployment" if whose == "my-deployment" else ""
    with ChatCompletionsClient(**settings(getattr(provider, base) + path)) as client:
        assert read_usage(ask_plain(client)) == Usage(9, 27, 4, 0, 7)
        assert read_usage(ask_stream(client)[-1]) == Usage(9, 27, 4, 0, 7)
    timeline = provider.report().timeline
    assert [(entry.api, entry.model, entry.stream) for entry in timeline] == [
        ("openai.chat", whose, False),
        ("openai.chat", whose, True),
    ]
    assert {entry.key for entry in timeline} == {fingerprint("key-one")}


def test_a_stream_says_what_a_whole_answer_says_to_both_clients(client, provider):
    whole = ask_plain(client).choices[0].message.content
    assert text_of(ask_stream(client)) == whole
    assert text_of(asynchronously(provider)) == whole


def test_a_scripted_tool_call_arrives(client, provider):
    provider.script(Reply(tool_calls=[ToolCall(name="weather", arguments={"city": "Rome"})]))
    answer = ask_plain(client, tools=[WEATHER])
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Rome"}')


def test_embeddings_are_answered(provider):
    with EmbeddingsClient(**settings(provider.azure_inference_url)) as client:
        assert client.embed(input=["text"], model="embedder").usage.prompt_tokens == 1


def test_prompt_and_max_tokens_are_added_and_a_refusal_names_quota_and_wait(client, provider):
    provider.set_limits(tpm=1000)
    ask_plain(client, max_tokens=900)
    assert provider.report().admitted_tokens == 900 + 3
    error, failure = failure_of(ask_plain, client, max_tokens=900)
    assert isinstance(error, HttpResponseError)
    assert (error.status_code, error.error.code) == (429, "429")
    assert (failure.kind, failure.dimension) == ("rate_limit", "tokens")
    told = int(error.response.headers["retry-after-ms"]) / 1000
    assert 0 < failure.retry_after == told <= 60


FAULTS = {
    "rate_limit": (429, "rate_limit"),
    "insufficient_quota": (429, "exhausted"),
    "overloaded": (503, "overload"),
    "server_error": (500, "server_error"),
    "model_error": (500, "server_error"),
    "unavailable": (503, "overload"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["plain", "stream", "async"])
def test_each_fault_is_understood(client, provider, fault, way):
    provider.set_faults(Fault(kind=fault, retry_after=1.5))
    ask = {"plain": ask_plain, "stream": ask_stream, "async": asynchronously}[way]
    _, failure = failure_of(ask, provider if way == "async" else client)
    assert (failure.status, failure.kind) == FAULTS[fault]
    assert failure.passes == (failure.kind != "exhausted")
    assert failure.retry_after == (1.5 if failure.passes else None)


def test_what_is_wrong_with_a_request_is_told(client):
    error, failure = failure_of(ask_plain, client, messages=[])
    assert "non-empty array" in error.message
    assert (failure.kind, failure.status, failure.reached) == ("bad_request", 400, "rejected")


def test_an_answer_that_breaks_off_is_a_lost_connection_for_all_clients(client, provider):
    provider.set_faults(Fault(kind="broken_stream"))
    for ask, argument in ((ask_plain, client), (ask_stream, client), (asynchronously, provider)):
        _, failure = failure_of(ask, argument)
        assert (failure.kind, failure.status, failure.reached) == ("connection", None, "unknown")


def test_nobody_there_means_that_nothing_was_sent_and_silence_is_a_timeout(provider):
    provider.set_faults(Fault(kind="slow", delay=5))
    with ChatCompletionsClient(**settings(provider.url, read_timeout=0.1)) as client:
        for error, failure in (
            failure_of(ask_plain, client),
            failure_of(asynchronously, provider, read_timeout=0.1),
        ):
            assert (type(error).__name__, failure.kind) == ("ServiceResponseTimeoutError", "timeout")
            assert failure.reached == "unknown"
        unknown = provider.url
        provider.stop()
        _, failure = failure_of(ask_plain, client)
        assert (failure.kind, failure.reached) == ("connection", "unsent")
    with ChatCompletionsClient(**settings(unknown)) as client:
        _, failure = failure_of(ask_plain, client)
    assert failure.passes
    provider.start()
