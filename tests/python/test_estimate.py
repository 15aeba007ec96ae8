"""Counting tokens of Python objects: what can be counted, what cannot, and what media cost."""

import base64
import math
import struct
import sys
from types import SimpleNamespace

import pytest

from ratekeeper._core import Estimator

HELLO = "Say this is a test!"
HELLO_TOKENS = 6
MESSAGE, REPLY = 4, 3
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1024, 1024) + b"\x08\x06\x00\x00\x00" * 4000
PNG_64 = base64.b64encode(PNG).decode()
OPENAI_PRICE, ANTHROPIC_PRICE = 765, 1399

WEATHER = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["location"],
    },
}


class Dumps:
    """Stands for a pydantic model."""

    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self):
        return self.fields


def said(content, **more):
    return {"role": "user", "content": content, **more}


def cost_of(content):
    """Tokens of the content of one message, without the chat around it."""
    return Estimator().count([said(content)]) - MESSAGE - REPLY


def test_a_chat_message_costs_what_the_api_reported():
    assert Estimator().count([said(HELLO)]) == 13


def test_text_alone_costs_no_chat_overhead():
    assert Estimator().count(HELLO) == HELLO_TOKENS


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_count_as_their_text(kind):
    assert Estimator().count(kind(HELLO.encode())) == HELLO_TOKENS


@pytest.mark.parametrize(
    "text", ["\ud800 lone surrogate", "a\x00b", b"\xff\xfe\x80 not UTF-8", "日本語のテキスト", "🎉" * 9]
)
def test_text_that_is_no_clean_utf8_is_counted(text):
    assert 0 < Estimator().count(text) <= 60


def test_ten_megabytes_are_counted_as_ten_times_one():
    text = "The quick brown fox jumps over the lazy dog. " * 22_222
    assert Estimator().count(text * 10) == pytest.approx(10 * Estimator().count(text), rel=0.001)


def test_every_message_of_a_list_costs_its_overhead_once():
    assert Estimator().count([said("")] * 3) == 3 * MESSAGE + REPLY


@pytest.mark.parametrize(
    "messages",
    [
        (said(HELLO),),
        said(HELLO),
        {"messages": [said(HELLO)]},
        [("user", HELLO)],
        [{"type": "human", "content": HELLO}],
        [{"role": "user", "parts": [{"text": HELLO}]}],
        [SimpleNamespace(content=HELLO)],
        SimpleNamespace(content=[{"type": "text", "text": HELLO}]),
        Dumps(role="user", content=HELLO),
        [{"role": "user", "content": [{"type": "input_text", "text": HELLO}]}],
    ],
)
def test_a_message_costs_the_same_in_every_shape(messages):
    assert Estimator().count(messages) == 13


def test_a_name_costs_one_token_and_its_text():
    assert Estimator().count([said("", name="alice")]) == MESSAGE + 1 + Estimator().count("alice") + REPLY


def test_an_assistant_message_without_content_costs_its_tool_calls():
    arguments = '{"location": "Berlin"}'
    openai = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "x" * 99, "function": {"name": "f", "arguments": arguments}}],
    }
    anthropic = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "x" * 99, "name": "f", "input": {"location": "Berlin"}}],
    }
    langchain = SimpleNamespace(
        content="", tool_calls=[{"id": "x" * 99, "name": "f", "args": {"location": "Berlin"}}]
    )
    counts = {Estimator().count([message]) for message in (openai, anthropic, langchain)}
    assert len(counts) == 1
    assert 7 <= counts.pop() - MESSAGE - REPLY <= 12


def test_calls_that_stand_in_the_content_are_not_counted_twice():
    call = {"name": "f", "args": {"location": "Berlin"}}
    part = {"type": "tool_use", "name": "f", "input": {"location": "Berlin"}}
    twice = SimpleNamespace(content=[part], tool_calls=[call])
    assert Estimator().count([twice]) == Estimator().count([SimpleNamespace(content=[part])])


def test_a_tool_result_costs_its_text():
    assert cost_of([{"type": "tool_result", "tool_use_id": "x" * 99, "content": HELLO}]) == HELLO_TOKENS
    assert cost_of([{"type": "tool_result", "content": [{"type": "text", "text": HELLO}]}]) == HELLO_TOKENS
    assert cost_of([{"type": "function_call_output", "call_id": "x" * 99, "output": HELLO}]) == HELLO_TOKENS


@pytest.mark.parametrize(
    ("part", "price"),
    [
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_64}"}}, OPENAI_PRICE),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{PNG_64}"}, OPENAI_PRICE),
        ({"type": "input_image", "image_url": "https://example.com/a.png"}, OPENAI_PRICE),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}, 85),
        ({"type": "input_image", "file_id": "file-1", "detail": "low"}, 85),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_64}},
            ANTHROPIC_PRICE,
        ),
        ({"type": "image", "base64": PNG_64, "mime_type": "image/png"}, ANTHROPIC_PRICE),
        ({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}, 1600),
        ({"inline_data": {"mime_type": "image/png", "data": PNG_64}}, ANTHROPIC_PRICE),
        ({"image": {"format": "png", "source": {"bytes": PNG}}}, ANTHROPIC_PRICE),
    ],
)
def test_an_image_costs_by_its_size_and_never_by_its_base64(part, price):
    assert price <= cost_of([part]) <= price + 20


def test_an_image_without_a_readable_header_costs_as_a_large_one():
    assert cost_of([{"type": "image", "source": {"type": "base64", "data": "AAAA" * 9000}}]) == 1600


@pytest.mark.parametrize(
    ("part", "least", "most"),
    [
        ({"type": "document", "source": {"type": "text", "data": HELLO}}, 6, 6),
        ({"type": "document", "title": "A test", "source": {"type": "content", "content": HELLO}}, 7, 12),
        (
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x" * 10_000},
            },
            3000,
            4500,
        ),
        ({"type": "file", "file": {"file_id": "file-1"}}, 1500, 1500),
        (
            {"type": "input_file", "file_data": "data:application/pdf;base64," + "JVBERi0x" * 400_000},
            150_000,
            150_000,
        ),
        ({"type": "input_audio", "input_audio": {"data": "AAAA" * 4000, "format": "mp3"}}, 5, 20),
    ],
)
def test_documents_and_sounds_cost_by_their_length_within_bounds(part, least, most):
    assert least <= cost_of([part]) <= most


def test_unknown_parts_cost_about_their_json():
    order = {
        "order": {
            "id": 48213,
            "lines": [{"sku": "A-17", "quantity": 2, "price": 19.99}],
            "paid": True,
            "note": None,
        }
    }
    assert 40 <= cost_of([order]) <= 50, "o200k has 45"


def test_anything_that_prints_is_counted_as_it_prints():
    class Prints:
        def __str__(self):
            return HELLO

    assert Estimator().count(Prints()) == HELLO_TOKENS


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": WEATHER},
        {"type": "function", **WEATHER},
        {**{k: WEATHER[k] for k in ("name", "description")}, "input_schema": WEATHER["parameters"]},
        Dumps(**WEATHER),
    ],
)
def test_a_tool_costs_about_its_typescript_and_not_its_json(tool):
    assert Estimator().count("", [tool]) == pytest.approx(56, rel=0.2), "o200k has 56 and for the JSON 98"


def test_tools_of_every_schema_form_are_counted():
    forms = {
        "a": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "b": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
        "c": {"type": ["string", "null"]},
        "d": {},
        "e": True,
    }
    schema = {
        "type": "object",
        "properties": forms,
        "$defs": {"Item": {"properties": {"id": {"type": "integer"}}}},
    }
    bare = Estimator().count("", [{"name": "f", "parameters": {}}])
    assert bare + 20 < Estimator().count("", [{"name": "f", "parameters": schema}]) < bare + 90
    assert Estimator().count("", [{"type": "web_search"}]) > 0
    assert Estimator().count("", []) == Estimator().count("", None) == 0


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, TypeError),
        (3, TypeError),
        (1.5, TypeError),
        (True, TypeError),
        ([None], TypeError),
        (math.nan, ValueError),
    ],
)
def test_what_is_no_content_is_refused_with_what_was_expected(content, error):
    with pytest.raises(error, match="content: expected text, bytes, a message or a list of messages, got"):
        Estimator().count(content)


@pytest.mark.parametrize("tools", [3, "get_weather", [None]])
def test_what_is_no_tool_is_refused(tools):
    with pytest.raises(TypeError, match="tools: expected a list of tool schemas"):
        Estimator().count(HELLO, tools)


def loop():
    knot = []
    knot.append(knot)
    return knot


def chain(depth):
    message = HELLO
    for _ in range(depth):
        message = [message]
    return message


def ladder():
    rung = [HELLO]
    for _ in range(50):
        rung = [rung, rung]
    return rung


def knotted_dict():
    knot = {}
    knot["again"] = knot
    return knot


class Endless:
    @property
    def content(self):
        return Endless()


@pytest.mark.parametrize(
    "content", [loop(), chain(100_000), knotted_dict(), Endless(), [said(knotted_dict())]]
)
def test_endless_content_is_refused(content):
    with pytest.raises(ValueError, match="at most 64 levels"):
        Estimator().count(content)


def test_content_that_multiplies_is_refused():
    with pytest.raises(ValueError, match="objects in one call"):
        Estimator().count(ladder())


def test_an_error_inside_the_callers_object_comes_through():
    class Broken:
        def __str__(self):
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        Estimator().count([Broken()])


def test_content_that_changes_while_it_is_counted_does_no_harm():
    table = {}

    class Grows:
        def __str__(self):
            table[len(table)] = "more"
            return HELLO

    table.update({"a": Grows(), "b": Grows()})
    assert Estimator().count(table) > 2 * HELLO_TOKENS


def test_counting_holds_no_lock_while_it_calls_back():
    estimator = Estimator()

    class Asks:
        def __str__(self):
            estimator.observe(model="m", counted=10, input_tokens=20)
            return HELLO

    assert estimator.count(Asks()) == HELLO_TOKENS
    assert estimator.input_tokens(10, model="m") == 20


def test_counting_keeps_no_reference_to_what_it_counted():
    text, part = "x" * 999, {"type": "text", "text": HELLO}
    before = sys.getrefcount(text), sys.getrefcount(part)
    Estimator().count([said(text), said([part])])
    assert (sys.getrefcount(text), sys.getrefcount(part)) == before
