"""Anthropic's own SDK against the fake provider: what it reads is what was promised."""

from __future__ import annotations

import asyncio
from datetime import datetime

import anthropic
import pytest

from ratekeeper.testing import FakeProvider, Fault, Reply, ToolCall

MESSAGES = [{"role": "user", "content": "Hello there"}]
PROMPT_TOKENS = 3 + 3 + 3  # 11 characters, one message, the reply
WEATHER = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def running():
    with FakeProvider() as provider:
        yield provider


@pytest.fixture
def provider(running):
    running.reset()
    return running


def make_client(provider):
    return anthropic.Anthropic(api_key="sk-ant", base_url=provider.anthropic_url, max_retries=0)


@pytest.fixture
def client(provider):
    with make_client(provider) as client:
        yield client


def ask(client, **more):
    return client.messages.create(
        **{"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES, **more}
    )


def test_a_message_reports_the_tokens_of_its_text_by_the_stated_rule(client):
    answer = ask(client)
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens == PROMPT_TOKENS
    assert answer.usage.output_tokens == 32 == len(answer.content[0].text) / 4


def test_a_stream_gives_the_same_message_sync_and_async(client, provider):
    whole = ask(client)
    with client.messages.stream(model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        streamed = stream.get_final_message()

    async def ask_async():
        url = provider.anthropic_url
        asked = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": MESSAGES}
        async with (
            anthropic.AsyncAnthropic(api_key="sk-ant", base_url=url, max_retries=0) as own,
            own.messages.stream(**asked) as stream,
        ):
            return await stream.get_final_message()

    assert text == whole.content[0].text == asyncio.run(ask_async()).content[0].text
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens


def test_max_tokens_must_be_said_and_cuts_the_text(client):
    assert ask(client, max_tokens=5).stop_reason == "max_tokens"
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.post("/v1/messages", body={"model": "m", "messages": MESSAGES}, cast_to=object)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_forced_tool_is_used(client, choice):
    answer = ask(client, tools=[WEATHER], tool_choice=choice)
    assert answer.stop_reason == "tool_use"
    assert (answer.content[0].name, answer.content[0].input) == ("weather", {"city": "text"})


def test_text_and_tools_of_a_script_come_in_one_streamed_message(client, provider):
    provider.script(Reply(text="I look.", tool_calls=[ToolCall(name="weather", arguments={"city": "Bern"})]))
    with client.messages.stream(
        model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES, tools=[WEATHER]
    ) as stream:
        blocks = stream.get_final_message().content
    assert [block.type for block in blocks] == ["text", "tool_use"]
    assert blocks[1].input == {"city": "Bern"}


def test_input_tokens_exclude_those_of_the_cache(client, provider):
    provider.script(Reply(text="four", input_tokens=1000, cached_tokens=600, cache_write_tokens=300))
    usage = ask(client).usage
    assert usage.input_tokens == 100
    assert usage.cache_read_input_tokens == 600
    assert usage.cache_creation_input_tokens == 300


def test_thinking_tokens_are_told_as_a_part_of_the_output(client, provider):
    provider.script(Reply(text="four", reasoning_tokens=20, times=2))
    usage = ask(client).usage
    with client.messages.stream(model="claude-haiku-4-5", max_tokens=100, messages=MESSAGES) as stream:
        streamed = [event.usage for event in stream if event.type == "message_delta"]
    for told in (usage, *streamed):
        assert told.output_tokens == 21
        assert told.to_dict()["output_tokens_details"] == {"thinking_tokens": 20}
    assert len(streamed) == 1


def test_cache_reads_do_not_count_against_the_input_limit():
    """Ten calls of 100 tokens use up a thousand, whatever else they read from the cache."""
    reply = Reply(text="four", input_tokens=100_000, cached_tokens=99_900, times=None)
    with FakeProvider(itpm=1000, replies=[reply]) as provider, make_client(provider) as client:
        for _ in range(9):
            ask(client)
        ask(client)
        with pytest.raises(anthropic.RateLimitError, match="input tokens"):
            ask(client)


def test_output_counts_as_produced_whatever_max_tokens_says():
    with FakeProvider(otpm=50) as provider, make_client(provider) as client:
        ask(client, max_tokens=10_000)  # 32 of 50
        ask(client, max_tokens=10_000)  # 18 were left, which is enough to start; it leaves a debt
        with pytest.raises(anthropic.RateLimitError, match="output tokens"):
            ask(client)


def test_a_429_names_its_wait_and_the_limits_with_dates_of_full_replenishment():
    with FakeProvider(rpm=1, itpm=50_000) as provider, make_client(provider) as client:
        ask(client)
        with pytest.raises(anthropic.RateLimitError) as refused:
            ask(client)
    headers = refused.value.response.headers
    assert 0 < int(headers["retry-after"]) <= 60
    assert headers["anthropic-ratelimit-requests-limit"] == "1"
    assert headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "50000"  # rounded to thousands
    assert headers["anthropic-ratelimit-tokens-limit"] == "50000"
    assert datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"].replace("Z", "+00:00")).tzinfo
    assert refused.value.body["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded", "OverloadedError"),
        ("server_error", "InternalServerError"),
        ("unavailable", "APIStatusError"),
    ],
)
def test_failures_come_as_the_types_of_the_sdk(kind, error):
    with FakeProvider(faults=[Fault(kind=kind)]) as provider, make_client(provider) as client:
        with pytest.raises(anthropic.APIStatusError) as failed:
            ask(client)
        assert error in [base.__name__ for base in type(failed.value).__mro__]


def test_a_spend_limit_is_a_429_without_a_wait_that_carries_its_code():
    with (
        FakeProvider(faults=[Fault(kind="insufficient_quota")]) as provider,
        make_client(provider) as client,
        pytest.raises(anthropic.RateLimitError) as refused,
    ):
        ask(client)
    assert "retry-after" not in refused.value.response.headers
    assert refused.value.body["error"]["details"]["error_code"] == "enforced_spend_limit_reached"


def test_a_token_count_costs_nothing_and_agrees_with_the_message(client, provider):
    count = client.messages.count_tokens(model="claude-haiku-4-5", messages=MESSAGES)
    assert count.input_tokens == PROMPT_TOKENS
    assert provider.report().requests == 0


def test_the_model_list_is_in_anthropics_form(client):
    ask(client)
    assert [model.id for model in client.models.list()] == ["claude-haiku-4-5"]
