"""google-genai against the fake provider: answers, quotas, refusals, and what our facts make of them."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from ratekeeper.providers import Usage, read_usage
from ratekeeper.providers.failure import classify
from ratekeeper.testing import FakeProvider, Fault, Reply, ToolCall, fingerprint

#: google-genai's own: it inherits from aiohttp's session.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MODEL = "gemini-2.5-flash"


class City(BaseModel):
    """What a structured answer holds."""

    name: str


@pytest.fixture
def provider():
    with FakeProvider(output_tokens=20, cached_share=0.5, reasoning_tokens=7) as provider:
        yield provider


@contextlib.contextmanager
def make_client(provider):
    client = genai.Client(
        api_key="key-one", http_options=types.HttpOptions(base_url=provider.gemini_url, timeout=10_000)
    )
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(provider):
    with make_client(provider) as client:
        yield client


def asynchronously(provider, ask):
    """What `ask` gives for an asynchronous client, which is closed on the loop it was used on."""

    async def main():
        client = genai.Client(api_key="key-one", http_options=types.HttpOptions(base_url=provider.gemini_url))
        try:
            return await ask(client.aio.models)
        finally:
            await client.aio.aclose()
            client.close()

    return asyncio.run(main())


def ask_plain(models):
    return models.generate_content(model=MODEL, contents="Hello")


def ask_stream(models):
    return list(models.generate_content_stream(model=MODEL, contents="Hello"))


async def collect(models):
    return [chunk async for chunk in await models.generate_content_stream(model=MODEL, contents="Hello")]


def failure_of(ask, *arguments):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        ask(*arguments)
    return caught.value, classify(caught.value)


def of_tools(mode="AUTO"):
    schema = types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")}, required=["city"])
    declared = types.FunctionDeclaration(name="weather", parameters=schema)
    calling = types.FunctionCallingConfig(mode=mode)
    return types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        tool_config=types.ToolConfig(function_calling_config=calling),
    )


def test_an_answer_has_the_usage_that_the_report_has(client, provider):
    answer = client.models.generate_content(model=MODEL, contents="Hello there")
    assert answer.candidates[0].finish_reason == "STOP"
    assert answer.usage_metadata.total_token_count == 9 + 20 + 7
    assert answer.usage_metadata.candidates_token_count == 20
    assert read_usage(answer) == read_usage(answer.usage_metadata) == Usage(9, 27, 4, 0, 7)
    entry = provider.report().timeline[0]
    assert (entry.api, entry.model, entry.key) == ("gemini.generate", MODEL, fingerprint("key-one"))
    assert (entry.input, entry.output, entry.cached, entry.reasoning) == (9, 27, 4, 7)


def test_a_stream_says_the_same_in_chunks_and_the_last_one_has_all_of_the_usage(client, provider):
    chunks = ask_stream(client.models)
    whole = ask_plain(client.models)
    assert len(chunks) > 1
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [chunk.candidates[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["STOP"]
    assert read_usage(chunks[-1]) == read_usage(whole)
    assert [entry.stream for entry in provider.report().timeline] == [True, False]


def test_the_asynchronous_client_gets_the_same(client, provider):
    whole = ask_plain(client.models)
    chunks = asynchronously(provider, collect)
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert read_usage(chunks[-1]) == read_usage(whole)


def test_a_key_in_the_query_is_the_key(provider):
    body = {"contents": [{"parts": [{"text": "Hello"}]}]}
    path = f"{provider.gemini_url}/v1beta/models/{MODEL}:generateContent"
    assert httpx.post(path, params={"key": "key-one"}, json=body).status_code == 200
    missing = httpx.post(path, json=body)
    assert (missing.status_code, missing.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert provider.report().timeline[0].key == fingerprint("key-one")


@pytest.mark.parametrize("ask", ["generate_content", "generate_content_stream"])
def test_a_scripted_tool_call_arrives(client, provider, ask):
    provider.script(Reply(tool_calls=[ToolCall(name="weather", arguments={"city": "Rome"})]))
    answer = getattr(client.models, ask)(model=MODEL, contents="Hello", config=of_tools())
    last = answer if ask == "generate_content" else list(answer)[-1]
    assert [(call.name, call.args) for call in last.function_calls] == [("weather", {"city": "Rome"})]


def test_a_forced_tool_is_called_with_what_its_schema_asks(client):
    answer = client.models.generate_content(model=MODEL, contents="Hello", config=of_tools("ANY"))
    assert answer.function_calls[0].args == {"city": "text"}


def test_a_tools_result_is_counted_and_can_be_matched(client, provider):
    provider.script(Reply(text="Bring a hat", match="sunny"), Reply(text="No result came"))
    called = types.Part(function_call=types.FunctionCall(name="weather", args={"city": "Rome"}))
    result = types.Part.from_function_response(name="weather", response={"result": "sunny"})
    contents = [
        types.Content(role="user", parts=[types.Part(text="Hello")]),
        types.Content(role="model", parts=[called]),
        types.Content(role="user", parts=[result]),
    ]
    answer = client.models.generate_content(model=MODEL, contents=contents)
    assert answer.text == "Bring a hat"


def test_a_structured_answer_parses(client):
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    answer = client.models.generate_content(model=MODEL, contents="Hello", config=config)
    assert isinstance(answer.parsed, City)


def test_an_answer_ends_at_its_most_tokens(client):
    config = types.GenerateContentConfig(max_output_tokens=5, candidate_count=2)
    answer = client.models.generate_content(model=MODEL, contents="Hello", config=config)
    assert [candidate.finish_reason for candidate in answer.candidates] == ["MAX_TOKENS"] * 2
    assert answer.usage_metadata.candidates_token_count == 10


def test_counting_tokens_is_free_and_counts_what_a_call_is_charged(client, provider):
    counted = client.models.count_tokens(model=MODEL, contents="Hello there").total_tokens
    assert provider.report().requests == 0
    answer = client.models.generate_content(model=MODEL, contents="Hello there")
    assert counted == answer.usage_metadata.prompt_token_count


def test_embeddings_come_in_the_size_asked_for(client, provider):
    config = types.EmbedContentConfig(output_dimensionality=3)
    answer = client.models.embed_content(model="embedder", contents=["one", "two"], config=config)
    assert [len(embedding.values) for embedding in answer.embeddings] == [3, 3]
    assert answer.embeddings[0].values != answer.embeddings[1].values
    assert provider.report().timeline[0].api == "gemini.embed"


def test_input_alone_counts_against_the_tokens_of_a_minute(client, provider):
    provider.script(Reply(input_tokens=30, tokens=5000), Reply(input_tokens=30, tokens=5000))
    provider.set_limits(tpm=40)
    ask_plain(client.models)
    ask_plain(client.models)  # 10 are left, and the estimate of the prompt is 2
    error, failure = failure_of(ask_plain, client.models)
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED")
    assert (failure.kind, failure.dimension, failure.per) == ("rate_limit", "input_tokens", "minute")
    assert not [name for name in error.response.headers if "ratelimit" in name or "retry" in name]


@pytest.mark.parametrize("ask", [ask_plain, ask_stream])
def test_a_refusal_names_the_quota_and_the_wait_in_its_body_alone(client, provider, ask):
    provider.set_limits(rpm=2)
    provider.use(MODEL, requests=2)
    error, failure = failure_of(ask, client.models)
    assert isinstance(error, errors.ClientError)
    quota, _, retry = error.details["error"]["details"]
    assert quota["violations"][0]["quotaValue"] == "2"
    assert float(retry["retryDelay"].rstrip("s")) == failure.retry_after
    assert 0 < failure.retry_after <= 30
    assert (failure.kind, failure.dimension, failure.per) == ("rate_limit", "requests", "minute")


def test_a_days_quota_that_ran_out_names_its_day_whatever_seconds_it_names(client, provider):
    provider.set_limits(rpd=1)
    ask_plain(client.models)
    _, failure = failure_of(ask_plain, client.models)
    assert (failure.kind, failure.per) == ("rate_limit", "day")
    assert failure.until is not None


FAULTS = {
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "rate_limit"),
    "slow_down": (429, "RESOURCE_EXHAUSTED", "rate_limit"),
    "insufficient_quota": (429, "RESOURCE_EXHAUSTED", "exhausted"),
    "overloaded": (503, "UNAVAILABLE", "overload"),
    "server_error": (500, "INTERNAL", "server_error"),
    "model_error": (500, "INTERNAL", "server_error"),
    "unavailable": (503, "UNAVAILABLE", "overload"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["plain", "stream", "async"])
def test_each_fault_has_its_code_and_is_understood(client, provider, fault, way):
    provider.set_faults(Fault(kind=fault, retry_after=1.5))
    if way == "async":
        error, failure = failure_of(asynchronously, provider, collect)
    else:
        error, failure = failure_of({"plain": ask_plain, "stream": ask_stream}[way], client.models)
    assert (error.code, error.status, failure.kind) == FAULTS[fault]
    assert failure.passes == (failure.kind != "exhausted")
    assert failure.retry_after == (1.5 if failure.passes else None)


def test_a_wrong_argument_is_refused_for_what_it_is(client):
    config = types.GenerateContentConfig(max_output_tokens=-1)
    with pytest.raises(errors.ClientError) as refused:
        client.models.generate_content(model=MODEL, contents="Hello", config=config)
    failure = classify(refused.value)
    assert (refused.value.status, failure.kind, failure.passes) == ("INVALID_ARGUMENT", "bad_request", False)


def test_a_stream_that_breaks_off_is_a_lost_connection_for_both_clients(client, provider):
    provider.set_faults(Fault(kind="broken_stream"))
    for ask, argument in ((ask_stream, [client.models]), (asynchronously, [provider, collect])):
        _, failure = failure_of(ask, *argument)
        assert (failure.kind, failure.status, failure.reached) == ("connection", None, "unknown")
    assert {entry.outcome for entry in provider.report().timeline} == {"cut"}
