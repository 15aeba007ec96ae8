"""boto3 and aiobotocore against the fake provider: answers, quotas, refusals, and what our facts make of them."""

from __future__ import annotations

import asyncio
import contextlib

import boto3
import botocore
import pytest
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError

from ratekeeper.providers import Usage, read_usage
from ratekeeper.providers.failure import classify
from ratekeeper.testing import FakeProvider, Fault, Reply, ToolCall, fingerprint
from ratekeeper.testing.wire.eventstream import encode

MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Hello there"}]}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SPEC = {"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}
LIMITED = {"maxTokens": 100}


@pytest.fixture
def provider():
    with FakeProvider(output_tokens=20, cached_share=0.5, reasoning_tokens=7) as provider:
        yield provider


def settings(provider, attempts=1, **more):
    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, **more)
    return {
        "service_name": "bedrock-runtime",
        "endpoint_url": provider.bedrock_url,
        "region_name": "eu-central-1",
        "aws_access_key_id": "AKIDEXAMPLE",
        "aws_secret_access_key": "secret",
        "config": config,
    }


@contextlib.contextmanager
def make_client(provider, *arguments, **more):
    client = boto3.client(**settings(provider, *arguments, **more))
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(provider):
    with make_client(provider) as client:
        yield client


def ask_plain(client, **more):
    return client.converse(modelId=MODEL, messages=MESSAGES, inferenceConfig=LIMITED, **more)


def ask_stream(client, **more):
    with contextlib.closing(
        client.converse_stream(modelId=MODEL, messages=MESSAGES, inferenceConfig=LIMITED, **more)["stream"]
    ) as stream:
        return list(stream)


def asynchronously(provider):
    """The events of a stream, through aiobotocore."""

    async def main():
        named = settings(provider)
        async with get_session().create_client(named.pop("service_name"), **named) as client:
            answer = await client.converse_stream(modelId=MODEL, messages=MESSAGES, inferenceConfig=LIMITED)
            with contextlib.closing(answer["stream"]) as stream:
                return [event async for event in stream]

    return asyncio.run(main())


def text_of(events):
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    return "".join(delta.get("text", "") for delta in deltas)


def failure_of(ask, *arguments):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        ask(*arguments)
    return caught.value, classify(caught.value)


def test_the_encoded_message_is_what_botocore_decodes_with_its_checksums():
    headers = {":event-type": "messageStart", ":message-type": "event"}
    buffer = EventStreamBuffer()
    buffer.add_data(encode(headers, "{}ü".encode()) + encode({}, b""))
    first, second = list(buffer)
    assert (first.headers, first.payload) == (headers, "{}ü".encode())
    assert (second.headers, second.payload) == ({}, b"")


def test_an_answer_has_the_usage_that_the_report_has(client, provider):
    answer = ask_plain(client)
    assert answer["stopReason"] == "end_turn"
    assert answer["usage"] == {
        "inputTokens": 5,
        "outputTokens": 27,
        "totalTokens": 36,
        "cacheReadInputTokens": 4,
        "cacheWriteInputTokens": 0,
    }
    assert read_usage(answer) == read_usage(answer["usage"]) == Usage(9, 27, 4)
    entry = provider.report().timeline[0]
    assert (entry.api, entry.model, entry.key) == ("bedrock.converse", MODEL, fingerprint("AKIDEXAMPLE"))
    assert (entry.input, entry.output, entry.cached) == (9, 27, 4)


def test_a_stream_says_the_same_and_has_its_usage_at_the_end(client, provider):
    events, whole = ask_stream(client), ask_plain(client)
    assert next(iter(events[0])) == "messageStart"
    assert text_of(events) == whole["output"]["message"]["content"][0]["text"]
    assert [next(iter(event)) for event in events[-3:]] == ["contentBlockStop", "messageStop", "metadata"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]
    assert asynchronously(provider) == events
    assert [entry.stream for entry in provider.report().timeline] == [True, False, True]


def test_a_stream_is_sent_as_it_is_made():
    with (
        FakeProvider(output_tokens=20, token_latency=0.01) as provider,
        make_client(provider) as client,
    ):
        assert len(text_of(ask_stream(client))) == 80


def test_a_model_may_be_named_by_an_arn(client, provider):
    arn = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0"
    client.converse(modelId=arn, messages=MESSAGES)
    assert provider.report().timeline[0].model == arn


def test_a_scripted_tool_call_arrives_plain_and_streamed(client, provider):
    city = "Llanfairpwllgwyngyllgogerychwyrndrobwll"
    call = ToolCall(name="weather", arguments={"city": city})
    provider.script(Reply(text="Let me see", tool_calls=[call], times=2))
    answer = ask_plain(client, toolConfig={"tools": [SPEC]})
    text, use = answer["output"]["message"]["content"]
    assert (text, answer["stopReason"]) == ({"text": "Let me see"}, "tool_use")
    assert (use["toolUse"]["name"], use["toolUse"]["input"]) == ("weather", {"city": city})
    events = ask_stream(client, toolConfig={"tools": [SPEC]})
    starts = [event["contentBlockStart"] for event in events if "contentBlockStart" in event]
    assert [(start["contentBlockIndex"], start["start"]["toolUse"]["name"]) for start in starts] == [
        (1, "weather")
    ]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    written = [delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta]
    assert len(written) > 1
    assert "".join(written) == f'{{"city": "{city}"}}'


@pytest.mark.parametrize("choice", [{"any": {}}, {"tool": {"name": "weather"}}])
def test_a_forced_tool_is_called_with_what_its_schema_asks(client, choice):
    answer = ask_plain(client, toolConfig={"tools": [SPEC], "toolChoice": choice})
    assert answer["output"]["message"]["content"][0]["toolUse"]["input"] == {"city": "text"}


def test_a_tools_result_can_be_matched(client, provider):
    provider.script(Reply(text="Bring a hat", match="sunny"))
    use = {"toolUseId": "one", "name": "weather", "input": {"city": "Rome"}}
    result = {"toolUseId": "one", "content": [{"text": "sunny"}, {"json": {"degrees": 30}}]}
    turns = [
        *MESSAGES,
        {"role": "assistant", "content": [{"toolUse": use}]},
        {"role": "user", "content": [{"toolResult": result}]},
    ]
    answer = client.converse(modelId=MODEL, messages=turns, toolConfig={"tools": [SPEC]})
    assert answer["output"]["message"]["content"] == [{"text": "Bring a hat"}]


def test_counting_tokens_is_free_and_counts_what_a_call_is_charged(client, provider):
    counted = client.count_tokens(modelId=MODEL, input={"converse": {"messages": MESSAGES}})
    assert provider.report().requests == 0
    usage = read_usage(ask_plain(client))
    assert counted["inputTokens"] == usage.input_tokens


def test_max_tokens_is_held_and_then_the_output_counts_five_times(client, provider):
    provider.set_limits(tpm=1000)
    provider.script(Reply(tokens=20, input_tokens=60, cached_tokens=40, cache_write_tokens=10))
    ask_plain(client)
    assert provider.report().admitted_tokens == 3 + 100
    provider.use(MODEL, tokens=1000 - (60 - 40) - 5 * 20 - 103)  # 103 are left, and a moment's refill
    ask_plain(client)
    _, failure = failure_of(ask_plain, client)
    assert (failure.kind, failure.dimension) == ("rate_limit", "tokens")


def test_a_call_without_max_tokens_holds_the_models_own(client, provider):
    provider.set_limits(tpm=50_000)
    error, failure = failure_of(lambda: client.converse(modelId=MODEL, messages=MESSAGES))
    assert error.response["Error"]["Message"] == "Too many tokens, please wait before trying again."
    assert (failure.kind, failure.dimension) == ("rate_limit", "tokens")


def test_a_call_that_failed_or_broke_off_gives_back_what_it_held(client, provider):
    provider.set_limits(tpm=10_000)
    large = {"modelId": MODEL, "messages": MESSAGES, "inferenceConfig": {"maxTokens": 9000}}
    provider.set_faults(Fault(kind="unavailable", times=1), Fault(kind="broken_stream", times=1))
    failure_of(lambda: client.converse(**large))
    failure_of(lambda: list(client.converse_stream(**large)["stream"]))
    client.converse(**large)
    assert provider.report().statuses == {503: 1, 200: 2}


def test_a_refusal_names_no_wait_and_has_no_limit_headers(client, provider):
    provider.set_limits(rpm=1)
    ask_plain(client)
    error, failure = failure_of(ask_plain, client)
    assert isinstance(error, client.exceptions.ThrottlingException)
    headers = error.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-errortype"].startswith("ThrottlingException")
    assert not [name for name in headers if "limit" in name or "retry" in name]
    assert (failure.kind, failure.status, failure.retry_after) == ("rate_limit", 429, None)


def test_botocores_own_attempts_are_counted():
    with FakeProvider(rpm=0) as provider, make_client(provider, 2) as client:
        failure_of(ask_plain, client)
        report = provider.report()
    assert [entry.attempt for entry in report.timeline] == [1, 2]
    assert report.retries == 1


FAULTS = {
    "rate_limit": (429, "ThrottlingException", "rate_limit"),
    "slow_down": (429, "ThrottlingException", "rate_limit"),
    "insufficient_quota": (400, "ServiceQuotaExceededException", "exhausted"),
    "overloaded": (503, "ServiceUnavailableException", "overload"),
    "server_error": (500, "InternalServerException", "server_error"),
    "model_error": (424, "ModelErrorException", "server_error"),
    "unavailable": (503, "ServiceUnavailableException", "overload"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["plain", "stream", "async"])
def test_each_fault_has_its_name_and_is_understood(client, provider, fault, way):
    provider.set_faults(Fault(kind=fault, retry_after=1.5))
    ask = {"plain": ask_plain, "stream": ask_stream, "async": asynchronously}[way]
    error, failure = failure_of(ask, provider if way == "async" else client)
    assert isinstance(error, ClientError)
    told = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    assert (*told, failure.kind) == FAULTS[fault]
    assert failure.passes == (failure.kind != "exhausted")
    assert failure.retry_after == (1.5 if failure.passes else None)


def test_what_is_wrong_with_a_request_is_told(client):
    error, failure = failure_of(lambda: client.converse(modelId=MODEL, messages=[]))
    assert isinstance(error, client.exceptions.ValidationException)
    assert (failure.kind, failure.passes, failure.reached) == ("bad_request", False, "rejected")


def test_without_a_signature_nobody_is_served(provider):
    with make_client(provider, signature_version=botocore.UNSIGNED) as client:
        error, failure = failure_of(ask_plain, client)
    assert error.response["Error"]["Code"] == "MissingAuthenticationTokenException"
    assert (failure.kind, failure.status) == ("auth", 403)


def test_an_answer_that_breaks_off_is_a_lost_connection_for_all_clients(client, provider):
    provider.set_faults(Fault(kind="broken_stream"))
    for ask, argument in ((ask_plain, client), (ask_stream, client), (asynchronously, provider)):
        _, failure = failure_of(ask, argument)
        assert (failure.kind, failure.status, failure.reached) == ("connection", None, "unknown")


def test_nobody_there_means_that_nothing_was_sent(client, provider):
    provider.stop()
    _, failure = failure_of(ask_plain, client)
    assert (failure.kind, failure.reached) == ("connection", "unsent")
    provider.start()
