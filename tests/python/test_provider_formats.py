"""The fake provider's bodies of Gemini and Bedrock, without an SDK: what is read of a request, what is written."""

from __future__ import annotations

import json
import struct
import zlib

import pytest

from ratekeeper.testing.answers import compose
from ratekeeper.testing.settings import Reply, Settings, ToolCall
from ratekeeper.testing.wire.call import BadRequestError
from ratekeeper.testing.wire.converse import EVENT_STREAM, Converse
from ratekeeper.testing.wire.embed_content import EmbedContent
from ratekeeper.testing.wire.eventstream import encode
from ratekeeper.testing.wire.generate import Generate, pick

HELLO = {"contents": [{"role": "user", "parts": [{"text": "Hello there"}]}]}
TURN = {"messages": [{"role": "user", "content": [{"text": "Hello there"}]}]}
SCHEMA = {"type": "OBJECT", "properties": {"type": {"type": "STRING"}}, "required": ["type"]}
FORMATS = [(Generate, HELLO), (Converse, TURN)]


def answered(form, body, reply=None, **settings):
    """Call and answer that the exchange would make of a body."""
    call = form.read(body, "m")
    return call, compose(call, reply, Settings(**settings), 1, 0)


def written(form, body, reply=None, **settings):
    return form.write(*answered(form, body, reply, **settings))


def chunks(body, reply=None, **settings):
    call, answer = answered(Generate(stream=True), body, reply, **settings)
    events = list(Generate(stream=True).events(call, answer, 8))
    return answer, events, [json.loads(event.data.removeprefix(b"data: ")) for event in events]


@pytest.mark.parametrize(("form", "body"), FORMATS)
def test_the_method_in_the_path_says_whether_it_is_streamed(form, body):
    assert not form().read(body, "m").stream
    assert form(stream=True).read(body, "m").stream
    assert (form().read(body, "m").media == EVENT_STREAM) == (form is Converse)


@pytest.mark.parametrize("form", [Generate, Converse])
@pytest.mark.parametrize("body", [{}, {"contents": [], "messages": []}, {"contents": "x", "messages": "x"}])
def test_a_body_without_messages_is_refused(form, body):
    with pytest.raises(BadRequestError, match="non-empty array"):
        form().read(body, "m")


@pytest.mark.parametrize(
    "body",
    [
        {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "generationConfig": {"maxOutputTokens": 9}},
        {
            "system_instruction": {"parts": [{"text": "Be brief."}]},
            "generation_config": {"max_output_tokens": 9},
        },
    ],
)
def test_gemini_takes_names_in_camel_case_and_in_snake_case(body):
    call = Generate().read({**HELLO, **body}, "m")
    assert (call.max_tokens, call.prompt.chars) == (9, len("Be brief.Hello there"))


def test_a_field_is_picked_by_either_name_and_zero_is_a_value():
    assert pick({"promptTokenCount": 0, "prompt_token_count": 7}, "promptTokenCount") == 0
    assert pick({"prompt_token_count": 7}, "promptTokenCount") == 7


def test_googles_types_are_those_of_json_schema_and_a_property_may_be_called_type():
    config = {"responseMimeType": "application/json", "responseSchema": SCHEMA}
    text = written(Generate(), {**HELLO, "generationConfig": config})["candidates"][0]["content"]["parts"][0]
    assert json.loads(text["text"]) == {"type": "text"}


def test_json_without_a_schema_is_any_object():
    body = {**HELLO, "generationConfig": {"responseMimeType": "application/json"}}
    assert written(Generate(), body)["candidates"][0]["content"]["parts"] == [{"text": "{}"}]


@pytest.mark.parametrize(("allowed", "called"), [(None, "first"), (["second"], "second")])
def test_gemini_calls_the_first_tool_that_it_must(allowed, called):
    tools = [{"functionDeclarations": [{"name": "first"}, {"name": "second", "parameters": SCHEMA}]}]
    calling = {"mode": "ANY", "allowedFunctionNames": allowed}
    body = {**HELLO, "tools": tools, "toolConfig": {"functionCallingConfig": calling}}
    [part] = written(Generate(), body)["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["name"] == called


def test_geminis_thoughts_stand_beside_the_candidates_and_its_cache_inside_the_prompt():
    usage = written(Generate(), HELLO, output_tokens=20, reasoning_tokens=7, cached_share=0.5)[
        "usageMetadata"
    ]
    assert usage == {
        "promptTokenCount": 9,
        "candidatesTokenCount": 20,
        "totalTokenCount": 36,
        "cachedContentTokenCount": 4,
        "thoughtsTokenCount": 7,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
    }


def test_geminis_chunks_carry_the_usage_so_far():
    answer, events, told = chunks(HELLO, output_tokens=20)
    counts = [chunk["usageMetadata"]["candidatesTokenCount"] for chunk in told]
    assert counts == [8, 16, 20]
    assert sum(event.tokens for event in events) == answer.usage.output
    assert [chunk["candidates"][0].get("finishReason") for chunk in told] == [None, None, "STOP"]


def test_geminis_function_call_comes_whole_after_the_text():
    reply = Reply(text="Let me see", tool_calls=[ToolCall(name="look", arguments={"city": "x" * 100})])
    answer, events, told = chunks(HELLO, reply)
    parts = [part for chunk in told for part in chunk["candidates"][0]["content"]["parts"]]
    assert [next(iter(part)) for part in parts] == ["text", "functionCall"]
    assert sum(event.tokens for event in events) == answer.usage.output


def test_an_answer_without_a_word_is_still_a_chunk():
    _, _, told = chunks(HELLO, Reply(text=""))
    assert [chunk["candidates"][0]["finishReason"] for chunk in told] == ["STOP"]


def test_a_batch_of_embeddings_is_one_request_of_all_its_texts():
    form = EmbedContent(batch=True)
    one = {"content": {"parts": [{"text": "12345678"}]}, "outputDimensionality": 2}
    call, answer = answered(form, {"requests": [one, one]})
    assert answer.usage.input == 4
    first, second = form.write(call, answer)["embeddings"]
    assert first == second
    assert len(first["values"]) == 2
    assert EmbedContent().write(*answered(EmbedContent(), one)) == {"embedding": first}


def test_converses_cache_stands_beside_its_input():
    reply = Reply(text="1234", input_tokens=100, cached_tokens=60, cache_write_tokens=30)
    assert written(Converse(), TURN, reply)["usage"] == {
        "inputTokens": 10,
        "outputTokens": 1,
        "totalTokens": 101,
        "cacheReadInputTokens": 60,
        "cacheWriteInputTokens": 30,
    }


def test_converse_counts_all_blocks_and_matches_a_tools_result():
    use = {"toolUse": {"toolUseId": "1", "name": "look", "input": {"city": "Rome"}}}
    result = {"toolResult": {"toolUseId": "1", "content": [{"text": "sunny"}, {"json": {"degrees": 30}}]}}
    body = {
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            *TURN["messages"],
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, {"image": {"format": "png"}}]},
        ],
    }
    prompt = Converse().read(body, "m").prompt
    assert prompt.last == 'sunny{"degrees": 30}'
    assert prompt.chars == len("Be brief.Hello there") + len('{"city": "Rome"}') + len(prompt.last)
    assert prompt.overhead == 3 + 4 * 3 + 85


def test_converse_writes_what_its_schema_asks():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    structure = {"jsonSchema": {"name": "City", "schema": json.dumps(schema)}}
    body = {**TURN, "outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}}}
    [block] = written(Converse(), body)["output"]["message"]["content"]
    assert json.loads(block["text"]) == {"city": "text"}


def test_converses_events_carry_all_output_tokens_of_the_text():
    call, answer = answered(Converse(stream=True), TURN, output_tokens=20)
    events = list(Converse(stream=True).events(call, answer, 8))
    assert [event.tokens for event in events] == [0, 8, 8, 4, 0, 0, 0]


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(range(256)) * 9])
def test_an_event_has_its_lengths_and_two_checksums(payload):
    message = encode({":event-type": "metadata"}, payload)
    total, length, prelude = struct.unpack(">III", message[:12])
    assert total == len(message)
    assert prelude == zlib.crc32(message[:8])
    assert message[12 : 12 + length] == b"\x0b:event-type\x07\x00\x08metadata"
    assert message[12 + length : -4] == payload
    assert struct.unpack(">I", message[-4:])[0] == zlib.crc32(message[:-4])
