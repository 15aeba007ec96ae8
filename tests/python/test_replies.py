"""The usage in an answer's bytes: whole, in events, in frames, compressed, cut anywhere."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratekeeper.providers import Usage
from ratekeeper.providers.replies import Stream, usage_of_body

OPENAI = {"choices": [{"delta": {"content": 'say "usage": {"prompt_tokens": 1}'}}], "usage": None}
LAST = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}


def events(*items, end="\n\n"):
    return "".join(
        f"data: {item if isinstance(item, str) else json.dumps(item)}{end}" for item in items
    ).encode()


CHAT = events(OPENAI, OPENAI, LAST, "[DONE]")
MESSAGES = events(
    {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}},
    },
    {"type": "content_block_delta", "delta": {"text": "hi"}},
    {"type": "message_delta", "usage": {"output_tokens": 9}},
)
RESPONSES = events(
    {"type": "response.created", "response": {"usage": None}},
    {"type": "response.completed", "response": {"usage": {"input_tokens": 4, "output_tokens": 6}}},
)


def through(stream, content, size=1000):
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(stream.feed(part) for part in parts) + stream.end()


@pytest.mark.parametrize(
    ("content", "usage"),
    [
        (CHAT, Usage(7, 3)),
        (MESSAGES, Usage(7, 9, 2)),
        (RESPONSES, Usage(4, 6)),
        (events(OPENAI, "[DONE]"), None),
        (CHAT.replace(b"\n", b"\r\n"), Usage(7, 3)),
        (CHAT[:-16], Usage(7, 3)),
        (b"", None),
        (b"data: {broken\n\ndata: [1]\n\n", None),
    ],
    ids=["chat", "messages", "responses", "none", "crlf", "cut", "empty", "broken"],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_usage_of_a_stream_is_found_however_it_is_cut(content, usage, size):
    stream = Stream("text/event-stream; charset=utf-8")
    assert through(stream, content, size) == content
    assert stream.usage == usage
    assert stream.is_final is (usage is not None)


def test_the_service_tier_stands_beside_the_usage_or_in_it():
    for content in (
        events(OPENAI, {**LAST, "service_tier": "flex"}),
        events({"type": "response.completed", "response": {"usage": LAST["usage"], "service_tier": "flex"}}),
        events({"type": "message_delta", "usage": {**LAST["usage"], "service_tier": "flex"}}),
    ):
        stream = Stream("text/event-stream")
        through(stream, content)
        assert stream.usage == Usage(7, 3, tier="flex")
    assert usage_of_body(json.dumps({**LAST, "service_tier": "priority"}).encode()).tier == "priority"


def test_what_anthropic_tells_at_the_start_is_not_the_end():
    stream = Stream("text/event-stream")
    stream.feed(MESSAGES.split(b"\n\n")[0] + b"\n\n")
    assert (stream.usage, stream.is_final) == (Usage(7, 1, 2), False)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_event_that_nobody_asked_for_is_left_out_and_nothing_else(size):
    stream = Stream("text/event-stream", without_usage=True)
    assert through(stream, CHAT, size) == events(OPENAI, OPENAI, "[DONE]")
    assert stream.usage == Usage(7, 3)


def test_usage_beside_an_answer_is_left_in():
    both = events({"choices": [{"delta": {}}], "usage": LAST["usage"]}, "[DONE]")
    assert through(Stream("text/event-stream", without_usage=True), both) == both


def test_a_compressed_answer_is_handed_on_as_it_is():
    packed = gzip.compress(CHAT)
    stream = Stream("text/event-stream", "gzip", without_usage=True)
    assert through(stream, packed, 50) == packed
    assert stream.usage == Usage(7, 3)


def test_a_whole_answer_that_is_read_as_a_stream_has_its_usage_at_the_end():
    content = json.dumps({"text": "x" * 100, **LAST}).encode()
    stream = Stream("application/json")
    assert through(stream, content, 30) == content
    assert stream.usage == Usage(7, 3)


def test_a_long_answer_is_not_parsed_as_a_whole():
    vectors = {"data": [[0.1] * 30_000], "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    content = json.dumps(vectors).encode()
    assert usage_of_body(content) == Usage(8, 0)
    assert usage_of_body(json.dumps({"text": json.dumps(vectors) * 2}).encode()) is None


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([CHAT, MESSAGES, b'data: {"usage": 5}\n\n', b'"usage"']),
        max_size=6,
    ),
    st.booleans(),
    st.sampled_from(["text/event-stream", "application/json", "application/vnd.amazon.eventstream", ""]),
)
def test_whatever_comes_is_handed_on_and_never_an_error(chunks, drops, kind):
    stream = Stream(kind, without_usage=drops)
    out = b"".join(stream.feed(chunk) for chunk in chunks) + stream.end()
    if not drops or kind != "text/event-stream":
        assert out == b"".join(chunks)
    stream.usage  # noqa: B018
