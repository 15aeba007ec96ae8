"""OpenAI's own SDK against the fake provider: what it reads is what was promised."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from pydantic import BaseModel

from ratekeeper.testing import FakeProvider, Reply, ToolCall

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
# 20 characters are 5 tokens, 3 for each of two messages, 3 for the reply.
PROMPT_TOKENS = 5 + 3 * 2 + 3
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}


class Address(BaseModel):
    street: str
    number: int


class Person(BaseModel):
    name: str
    age: int
    addresses: list[Address]


@pytest.fixture(scope="module", params=["thread", "process"])
def running(request):
    with FakeProvider(process=request.param == "process") as provider:
        yield provider


@pytest.fixture
def provider(running):
    running.reset()
    return running


@pytest.fixture
def client(provider):
    with openai.OpenAI(api_key="sk-one", base_url=provider.openai_url, max_retries=0) as client:
        yield client


def chat(client, **more):
    return client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, **more)


def test_a_chat_completion_reports_the_tokens_of_its_text_by_the_stated_rule(client, provider):
    answer = chat(client)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == PROMPT_TOKENS
    assert answer.usage.completion_tokens == 32 == len(answer.choices[0].message.content) / 4
    report = provider.report()
    assert (report.input_tokens, report.output_tokens) == (PROMPT_TOKENS, 32)
    assert report.statuses == {200: 1}


def test_an_async_chat_completion_reads_the_same(provider):
    async def ask():
        async with openai.AsyncOpenAI(
            api_key="sk-one", base_url=provider.openai_url, max_retries=0
        ) as client:
            whole = await chat(client)
            parts = [chunk async for chunk in await chat(client, stream=True)]
            return whole, parts

    whole, parts = asyncio.run(ask())
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in parts)
    assert streamed == whole.choices[0].message.content


def test_a_stream_carries_usage_only_if_asked_and_then_in_a_last_chunk_without_a_choice(client):
    asked = list(chat(client, stream=True, stream_options={"include_usage": True}))
    plain = list(chat(client, stream=True))
    assert asked[-1].choices == []
    assert asked[-1].usage.total_tokens == PROMPT_TOKENS + 32
    assert all(chunk.usage is None for chunk in plain)
    assert plain[-1].choices[0].finish_reason == "stop"


def test_max_tokens_cuts_the_text_and_says_so(client):
    answer = chat(client, max_completion_tokens=7)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 7


def test_several_choices_are_all_counted(client):
    answer = chat(client, n=3)
    assert len(answer.choices) == 3
    assert answer.usage.completion_tokens == 3 * 32


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_tool_is_called_with_arguments_its_schema_allows(client, choice):
    answer = chat(client, tools=[WEATHER], tool_choice=choice).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None
    call = answer.message.tool_calls[0].function
    assert call.name == "weather"
    assert json.loads(call.arguments) == {"city": "text", "days": 1}


def test_an_offered_tool_is_not_called_unless_scripted(client, provider):
    assert chat(client, tools=[WEATHER]).choices[0].message.tool_calls is None
    provider.script(Reply(tool_calls=[ToolCall(name="weather", arguments={"city": "Bern", "days": 3})]))
    call = chat(client, tools=[WEATHER]).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Bern", "days": 3}


def test_a_streamed_tool_call_is_put_together_by_the_sdk(client, provider):
    provider.script(Reply(tool_calls=[ToolCall(name="weather", arguments={"city": "B" * 100, "days": 3})]))
    tools = [{**WEATHER, "function": {**WEATHER["function"], "strict": True}}]
    with client.chat.completions.stream(model="gpt-4o-mini", messages=MESSAGES, tools=tools) as stream:
        stream.until_done()
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "B" * 100, "days": 3}


def test_structured_output_parses_into_the_asked_type_on_both_apis(client):
    parsed = client.chat.completions.parse(model="gpt-4o-mini", messages=MESSAGES, response_format=Person)
    assert parsed.choices[0].message.parsed == Person(name="text", age=0, addresses=[])
    parsed = client.responses.parse(model="gpt-4o-mini", input="Hello", text_format=Person)
    assert parsed.output_parsed == Person(name="text", age=0, addresses=[])


def test_scripted_usage_reaches_the_client_with_cached_and_reasoning_tokens(client, provider):
    provider.script(Reply(text="four", input_tokens=900, cached_tokens=512, reasoning_tokens=100))
    usage = chat(client).usage
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (900, 512)
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (101, 100)


def test_a_reply_is_given_to_the_message_it_matches(client, provider):
    provider.script(Reply(text="for Bern", match="Bern"), Reply(text="for anyone"))
    assert chat(client).choices[0].message.content == "for anyone"
    asked = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "In Bern?"}])
    assert asked.choices[0].message.content == "for Bern"


def test_responses_answer_plain_and_as_events(client):
    plain = client.responses.create(model="gpt-4o-mini", input="Hello there", instructions="Be brief.")
    with client.responses.stream(
        model="gpt-4o-mini", input="Hello there", instructions="Be brief."
    ) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()
    assert streamed.output_text == plain.output_text
    assert streamed.usage == plain.usage
    assert plain.usage.input_tokens == PROMPT_TOKENS
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_responses_call_a_forced_tool_plain_and_as_events(client):
    tool = {"type": "function", "strict": True, **WEATHER["function"]}
    asked = {"model": "gpt-4o-mini", "input": "Hello", "tools": [tool], "tool_choice": "required"}
    call = client.responses.create(**asked).output[0]
    assert (call.type, json.loads(call.arguments)) == ("function_call", {"city": "text", "days": 1})
    with client.responses.stream(**asked) as stream:
        stream.until_done()
        assert json.loads(stream.get_final_response().output[0].arguments) == {"city": "text", "days": 1}


def test_embeddings_are_vectors_of_the_text_alone(client):
    first = client.embeddings.create(model="text-embedding-3-small", input=["one", "two", "one"])
    vectors = [item.embedding for item in first.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert first.usage.prompt_tokens == 3
    assert len(client.embeddings.create(model="e", input="one", dimensions=5).data[0].embedding) == 5


def test_the_model_list_names_the_models_seen(client):
    chat(client)
    assert [model.id for model in client.models.list()] == ["gpt-4o-mini"]


def test_a_call_without_a_message_is_a_bad_request_and_without_a_key_unauthorized(client, provider):
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model="m", messages=[])
    with pytest.raises(openai.AuthenticationError) as refused:
        chat(client.with_options(default_headers={"authorization": ""}))
    assert refused.value.code == "invalid_api_key"
    assert provider.report().statuses == {400: 1, 401: 1}


def test_no_api_key_is_in_the_report(client, provider):
    chat(client)
    assert "sk-one" not in repr(provider.report())
