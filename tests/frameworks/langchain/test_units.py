"""What the adapter reads from models, messages and answers, without any call."""

from __future__ import annotations

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

from ratekeeper.adapters.langchain.identify import account_of_model, model_of, provider_of
from ratekeeper.adapters.langchain.request import request_of
from ratekeeper.adapters.langchain.usage import StreamUsage, usage_of_metadata, usage_of_result
from ratekeeper.providers import Usage

from ..measuring import share
from .overhead import added_by_wrapping

COUNT = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}


def test_a_wrap_adds_half_of_what_a_model_takes_that_does_nothing():
    """With room for a busy machine: all of it."""
    assert share(added_by_wrapping) <= 1


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ({}, {}, Usage(10, 4)),
        ({"cache_read": 3, "cache_creation": 2}, {"reasoning": 1}, Usage(10, 4, 3, 2, 1)),
        (
            {"priority_cache_read": 3, "priority": 7},
            {"priority_reasoning": 1, "priority": 3},
            Usage(10, 4, 3, 0, 1, tier="priority"),
        ),
        (
            {"audio": 3},
            {"flex_reasoning": 1, "flex": 3, "audio": 2},
            Usage(10, 4, 0, 0, 1, 0, 3, 2, 0, "flex"),
        ),
        (
            {"cache_creation": 0, "ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
            {},
            Usage(10, 4, 0, 3, 0, 1),
        ),
        ({"cache_read": None}, {"reasoning": None}, Usage(10, 4)),
    ],
)
def test_usage_metadata_is_read_whatever_names_its_details_have(inputs, outputs, expected):
    details = {"input_token_details": inputs, "output_token_details": outputs}
    assert usage_of_metadata({**COUNT, **details}) == expected


def test_usage_that_stands_on_every_choice_is_taken_once():
    choices = [ChatGeneration(message=AIMessage("a", usage_metadata=COUNT)) for _ in range(3)]
    assert usage_of_result(ChatResult(generations=choices)) == Usage(10, 4)
    assert usage_of_result(ChatResult(generations=[ChatGeneration(message=AIMessage("a"))])) is None
    assert usage_of_result(ChatResult(generations=[])) is None


@pytest.mark.parametrize(("cumulative", "expected"), [(True, (10, 4)), (False, (20, 8))])
def test_reports_of_a_stream_hold_or_add_up_as_the_api_means_them(cumulative, expected):
    usage = StreamUsage(cumulative=cumulative)
    for metadata in (None, COUNT, None, COUNT):
        usage.see(ChatGenerationChunk(message=AIMessageChunk("a", usage_metadata=metadata)))
    assert usage.total[:2] == expected


def openai(**fields):
    return ChatOpenAI(**{"model": "gpt-4o", "api_key": "sk-test", **fields})


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        ({}, {}, (None, 1)),
        ({"max_tokens": 5}, {}, (5, 1)),
        ({"max_tokens": 5, "n": 2}, {}, (5, 2)),
        ({"max_tokens": 5}, {"max_tokens": 6}, (6, 1)),
        ({"max_tokens": 5}, {"max_completion_tokens": 7, "n": 3}, (7, 3)),
        ({"max_tokens": 5, "model_kwargs": {"max_output_tokens": 8}}, {}, (8, 1)),
        ({"max_tokens": 5}, {"max_tokens": -1}, (5, 1)),
        ({}, {"best_of": 4, "n": 2}, (None, 4)),
    ],
)
def test_ceiling_and_number_of_answers_come_from_the_call_before_the_model(fields, options, expected):
    request = request_of(openai(**fields), [HumanMessage("a")], options)
    assert (request.max_tokens, request.n) == expected


def test_messages_keep_their_content_and_tool_calls_as_they_are():
    blocks = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    call = {"name": "f", "args": {"x": 1}, "id": "1", "type": "tool_call"}
    messages = [SystemMessage("be terse"), HumanMessage(blocks), AIMessage("", tool_calls=[call])]
    content = request_of(openai(), messages, {"tools": [{"name": "f"}]}).content
    assert content[0]["content"] is messages[0].content
    assert content[1]["content"] is messages[1].content
    assert content[2]["tool_calls"] == [call]


def test_a_model_is_known_by_the_call_the_field_or_its_class():
    assert model_of(openai(), {}) == "gpt-4o"
    assert model_of(openai(), {"model": "gpt-4o-mini"}) == "gpt-4o-mini"
    assert model_of(FakeListChatModel(responses=[]), {}) == "FakeListChatModel"


def test_the_account_is_the_key_with_organisation_and_foreign_host():
    def account(**fields):
        model = openai(**fields)
        return account_of_model(provider_of(model), model)

    own = account()
    assert account() == own
    assert account(api_key="sk-2") != own
    assert account(organization="org") != own
    assert account(base_url="http://localhost:8000/v1") == f"{own}@localhost:8000"
    assert account(base_url="https://api.openai.com/v1") == own
    assert account(api_key=account) == account(api_key=account) != own


def test_a_model_without_key_or_provider_has_the_default_account_of_its_class():
    model = FakeListChatModel(responses=[])
    assert provider_of(model).name == "fakelistchatmodel"
    assert account_of_model(provider_of(model), model) == "default"
