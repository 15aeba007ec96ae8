"""Every form of asking that the SDKs have: what the server saw is what was reserved and settled."""

import contextlib
import warnings

import anthropic
import openai
import pytest
from pydantic import BaseModel

from ratekeeper.testing import Reply

HELLO = [{"role": "user", "content": "What is the tide?"}]
CHAT = {"model": "gpt-4o-mini", "messages": HELLO}
MESSAGE = {"model": "claude-haiku-4-5", "messages": HELLO, "max_tokens": 64}


class Place(BaseModel):
    name: str


def read(stream):
    return list(stream)


def raw(client):
    answer = client.chat.completions.with_raw_response.create(**CHAT)
    assert answer.headers["content-type"] == "application/json"
    assert answer.parse().usage.total_tokens


def streaming_response(client):
    with client.chat.completions.with_streaming_response.create(**CHAT) as answer:
        assert answer.parse().usage.total_tokens


def helper(client):
    with client.chat.completions.stream(**CHAT) as stream:
        assert list(stream)


OPENAI = {
    "chat": lambda c: c.chat.completions.create(**CHAT),
    "stream": lambda c: read(c.chat.completions.create(**CHAT, stream=True)),
    "stream that tells usage": lambda c: read(
        c.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
    ),
    "raw": raw,
    "streaming response": streaming_response,
    "stream helper": helper,
    "responses": lambda c: c.responses.create(model="gpt-4o-mini", input="What is the tide?"),
    "responses stream": lambda c: read(c.responses.create(model="gpt-4o-mini", input="tide?", stream=True)),
    "embeddings": lambda c: c.embeddings.create(model="text-embedding-3-small", input=["tide", "ebb"]),
}
ANTHROPIC = {
    "messages": lambda c: c.messages.create(**MESSAGE),
    "stream": lambda c: read(c.messages.create(**MESSAGE, stream=True)),
    "raw": lambda c: c.messages.with_raw_response.create(**MESSAGE).parse(),
}


async def aread(stream):
    return [chunk async for chunk in await stream]


async def araw(client):
    answer = await client.chat.completions.with_raw_response.create(**CHAT)
    assert answer.parse().usage.total_tokens


async def astreaming_response(client):
    async with client.chat.completions.with_streaming_response.create(**CHAT) as answer:
        assert (await answer.parse()).usage.total_tokens


async def ahelper(client):
    async with client.chat.completions.stream(**CHAT) as stream:
        assert [event async for event in stream]


ASYNC_OPENAI = {
    "chat": lambda c: c.chat.completions.create(**CHAT),
    "stream": lambda c: aread(c.chat.completions.create(**CHAT, stream=True)),
    "raw": araw,
    "streaming response": astreaming_response,
    "stream helper": ahelper,
    "responses": lambda c: c.responses.create(model="gpt-4o-mini", input="What is the tide?"),
    "responses stream": lambda c: aread(c.responses.create(model="gpt-4o-mini", input="tide?", stream=True)),
    "embeddings": lambda c: c.embeddings.create(model="text-embedding-3-small", input="tide"),
}
ASYNC_ANTHROPIC = {
    "messages": lambda c: c.messages.create(**MESSAGE),
    "stream": lambda c: aread(c.messages.create(**MESSAGE, stream=True)),
}


def cases(forms, family):
    return [pytest.param(family, form, id=f"{family}: {name}") for name, form in forms.items()]


@pytest.mark.parametrize(
    ("family", "form"),
    [*cases(OPENAI, "openai"), *cases({"chat": OPENAI["chat"], "stream": OPENAI["stream"]}, "azure")]
    + cases(ANTHROPIC, "anthropic"),
)
def test_a_form_is_one_request_one_lease_and_the_tokens_of_the_server(sdk, books, family, form):
    with sdk(family) as client:
        form(books.keeper().wrap(client))
    books.agree_in_tokens(1)


@pytest.mark.parametrize(
    ("family", "form"),
    [*cases(ASYNC_OPENAI, "openai"), *cases(ASYNC_ANTHROPIC, "anthropic")],
)
def test_an_asynchronous_form_likewise(sdk, books, run, family, form):
    async def main():
        async with sdk(family, is_async=True) as client:
            await form(books.keeper().wrap(client))

    run(main())
    books.agree_in_tokens(1)


def test_parsed_answers_are_parsed(sdk, books, provider):
    provider.script(Reply(text='{"name": "Brest"}'))
    with sdk() as client:
        answer = books.keeper().wrap(client).chat.completions.parse(**CHAT, response_format=Place)
    assert answer.choices[0].message.parsed == Place(name="Brest")
    books.agree_in_tokens(1)


def test_a_stream_shows_no_usage_that_was_not_asked_for_and_all_of_it_that_was(sdk, books):
    with sdk() as client:
        wrapped = books.keeper().wrap(client)
        for asked in ({}, {"stream_options": {"include_usage": True}}):
            mine = list(wrapped.chat.completions.create(**CHAT, stream=True, **asked))
            theirs = list(client.chat.completions.create(**CHAT, stream=True, **asked))
            assert [chunk.choices for chunk in mine] == [chunk.choices for chunk in theirs]
            assert [chunk.usage for chunk in mine] == [chunk.usage for chunk in theirs]


def test_without_usage_a_stream_keeps_its_reservation(sdk, books):
    with sdk() as client:
        read(books.keeper().wrap(client, stream_usage=False).chat.completions.create(**CHAT, stream=True))
    books.agree(1)
    assert books.usages == [None]


def test_what_asks_no_model_waits_for_no_quota(sdk, books):
    with sdk() as client, sdk("anthropic") as other, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keeper = books.keeper()
        wrapped, wrapped_other = keeper.wrap(client), keeper.wrap(other)
        for request in (
            lambda: wrapped.models.list(),
            lambda: wrapped.files.list(),
            lambda: wrapped_other.messages.count_tokens(model="claude-haiku-4-5", messages=HELLO),
            lambda: wrapped_other.messages.batches.list(),
        ):
            with contextlib.suppress(openai.NotFoundError, anthropic.NotFoundError):
                request()  # the fake provider knows some of them
    assert books.events == []
