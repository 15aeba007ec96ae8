"""Any chat model, and calls inside of calls: what a model calls on itself is no call of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import (
    BaseChatModel,
    FakeListChatModel,
    GenericFakeChatModel,
    ParrotFakeChatModel,
)
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables.config import run_in_executor
from pydantic import Field

from ratekeeper import Quota, Usage


class Counting(BaseChatModel):
    """Answers at once and counts how often it was really asked."""

    model: str = "counting-1"
    asked: list[str] = Field(default_factory=list)

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append("generate")
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hi", usage_metadata=usage))])

    @property
    def _llm_type(self):
        return "counting"


class Streaming(Counting):
    """Only streams: `_generate` gathers its own stream, and what is asynchronous is LangChain's default."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append("stream")
        for index, word in enumerate(["some", "more", "words"]):
            usage = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4} if index else None
            chunk = ChatGenerationChunk(message=AIMessageChunk(word, usage_metadata=usage))
            if run_manager:
                run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))


class Native(Streaming):
    """Brings LangChain's newest hooks: it produces protocol events itself."""

    def _events(self):
        self.asked.append("events")
        yield {"event": "message-start", "role": "ai"}
        block = {"type": "text", "text": "hi"}
        yield {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}}
        yield {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "hi"}}
        yield {"event": "content-block-finish", "index": 0, "content": block}
        yield {"event": "message-finish", "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}

    def _stream_chat_model_events(self, messages, stop=None, run_manager=None, **kwargs):
        yield from self._events()

    async def _astream_chat_model_events(self, messages, stop=None, run_manager=None, **kwargs):
        for event in self._events():
            yield event


async def consume(stream):
    return [item async for item in stream]


def held_once(books, model, calls):
    """As many leases as the model was asked, all ended."""
    assert len(model.asked) == calls
    assert len(books.of("started")) == calls
    assert len(books.of("settled")) == calls
    books.nothing_is_held()


@pytest.mark.parametrize("kind", [Counting, Streaming, Native])
def test_a_model_that_calls_itself_holds_one_lease_a_call(kind, books, run):
    model = kind()
    llm = books.keeper(Quota(concurrency=1)).wrap(model)
    llm.invoke("hello")
    run(llm.ainvoke("hello"))
    list(llm.stream("hello"))
    run(consume(llm.astream("hello")))
    held_once(books, model, 4)
    assert {usage.output_tokens for usage in books.usages} == {2}


@pytest.mark.filterwarnings("ignore:.*beta:langchain_core._api.LangChainBetaWarning")
def test_native_event_hooks_hold_one_lease_and_tell_their_usage(books, run):
    model = Native()
    llm = books.keeper(Quota(concurrency=1)).wrap(model)

    async def text():
        stream = await llm.astream_events("hello", version="v3")
        return await stream.text

    assert str(llm.stream_events("hello", version="v3").output.text) == "hi"
    assert run(text()) == "hi"
    assert model.asked == ["events"] * 2
    assert books.usages == [Usage(3, 2)] * 2
    held_once(books, model, 2)


def test_hooks_that_the_base_lacks_stay_away():
    from ratekeeper import Keeper

    plain, streaming = (type(Keeper().wrap(kind())) for kind in (Counting, Streaming))
    assert plain._stream is BaseChatModel._stream
    assert plain._astream is BaseChatModel._astream
    assert streaming._stream is not Streaming._stream
    assert not hasattr(streaming, "_stream_chat_model_events")


def test_more_waiting_default_astreams_than_executor_threads_do_not_starve_the_running_one(books, run):
    """LangChain's default `_astream` runs `_stream` on executor threads: waiting there would block it."""
    model = Streaming()
    llm = books.keeper(Quota(concurrency=1)).wrap(model)

    async def many():
        await asyncio.wait_for(asyncio.gather(*(consume(llm.astream("hello")) for _ in range(100))), 30)

    run(many())
    held_once(books, model, 100)


def test_blocking_calls_that_wait_on_all_executor_threads_do_not_starve_an_async_holder(books, eventually):
    """As synchronous tools of asynchronous agents do: the answer they wait for needs a thread itself."""

    class Parsing(Counting):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            await asyncio.to_thread(eventually, books.keepers[0].status, all_wait)
            return await run_in_executor(None, self._generate, messages)

    def all_wait(status):
        return [scope["waiting"] for scope in status["scopes"].values()] == [2]

    model = Parsing()
    llm = books.keeper(Quota(concurrency=1), timeout=30).wrap(model)

    async def starve():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
        holder = asyncio.ensure_future(llm.ainvoke("hello"))
        await asyncio.to_thread(eventually, lambda: books.of("started"), bool)
        await asyncio.gather(holder, *(asyncio.to_thread(llm.invoke, "tool") for _ in range(2)))

    asyncio.run(starve())
    held_once(books, model, 3)


def test_a_callback_that_calls_the_model_is_counted_by_itself(books):
    model = Streaming()
    llm = books.keeper(Quota(concurrency=2)).wrap(model)

    class Asks(BaseCallbackHandler):
        asked = False

        def on_llm_new_token(self, token, **kwargs):
            if not self.asked:
                self.asked = True
                llm.invoke("inner")

    handler = Asks()
    handler.raise_error = True
    llm.invoke("hello", config={"callbacks": [handler]})
    held_once(books, model, 2)


def test_a_thread_started_during_a_call_is_counted_by_itself(books):
    keeper = books.keeper(Quota(concurrency=2))

    class Branching(Counting):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            if messages[0].content == "outer":
                thread = threading.Thread(target=llm.invoke, args=("inner",))
                thread.start()
                thread.join()
            return super()._generate(messages, stop, run_manager, **kwargs)

    model = Branching()
    llm = keeper.wrap(model)
    llm.invoke("outer")
    held_once(books, model, 2)


def test_a_model_that_takes_no_run_manager_is_given_none(books):
    class Old(Counting):
        def _generate(self, messages, stop=None, **kwargs):
            assert "run_manager" not in kwargs
            return super()._generate(messages, stop, **kwargs)

    model = Old()
    books.keeper().wrap(model).invoke("hello")
    held_once(books, model, 1)


def test_langchains_fake_models_are_limited_under_their_class_name(books, run):
    keeper = books.keeper(Quota(concurrency=1))
    models = [
        FakeListChatModel(responses=["one two", "three"]),
        GenericFakeChatModel(messages=iter([AIMessage("one two")] * 4)),
        ParrotFakeChatModel(),
    ]
    for model in models:
        llm = keeper.wrap(model)
        assert llm.invoke([HumanMessage("a")]).content
        run(llm.ainvoke([HumanMessage("a")]))
        list(llm.stream([HumanMessage("a")]))
        run(consume(llm.astream([HumanMessage("a")])))
    assert len(books.of("started")) == len(books.of("settled")) == 12
    scopes = sorted({event.scope for event in books.of("started")})
    assert [scope.split("/")[0] for scope in scopes] == [
        "fakelistchatmodel",
        "genericfakechatmodel",
        "parrotfakechatmodel",
    ]
    books.nothing_is_held()


def test_a_models_state_is_the_same_inside_and_outside_of_its_calls(books):
    """What works during a call shares the fields: a fake that counts its answers goes on counting."""
    llm = books.keeper().wrap(FakeListChatModel(responses=["one", "two", "three"]))
    assert [llm.invoke("a").content for _ in range(3)] == ["one", "two", "three"]
    assert llm.i == 0


def test_a_model_that_closes_its_client_when_it_goes_closes_it_once_and_last(books):
    closed = []

    class Closing(Counting):
        name: str | None = "closing"

        def __del__(self):
            closed.append(self.name)

    llm = books.keeper().wrap(Closing())
    llm.invoke("hello")
    copied = llm.model_copy()
    del llm
    copied.invoke("hello")
    assert closed == []
    del copied
    books.events.clear()
    assert closed == ["closing"]
