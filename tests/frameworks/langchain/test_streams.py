"""Streams broken off and calls cancelled: the lease ends exactly once, and nothing stays held."""

from __future__ import annotations

import asyncio
import gc

import pytest

from ratekeeper import Quota
from ratekeeper.testing import Fault, Reply

KINDS = ["chat", "responses", "anthropic"]
every_kind = pytest.mark.parametrize("kind", KINDS)

#: An answer that takes far longer than any test: whoever gets past it has broken it off.
ENDLESS = Reply(tokens=4000, times=None)


class ConsumerError(Exception):
    """What the consumer of a stream raises."""


@pytest.fixture
def llm(kind, make, books):
    return books.keeper(Quota(concurrency=1)).wrap(make(kind))


@every_kind
def test_a_stream_left_by_break_keeps_its_reservation_and_gives_back_its_permit(llm, books, provider):
    provider.script(ENDLESS)
    for _ in llm.stream("hello"):
        break
    books.agree(1)
    assert books.usages == [None]
    assert books.of("settled")[0].amounts == books.of("started")[0].amounts


@every_kind
def test_a_stream_left_by_an_exception_of_its_consumer_gives_back_its_permit(llm, books, provider):
    provider.script(ENDLESS)
    with pytest.raises(ConsumerError):
        fail_in(llm.stream("hello"))
    gc.collect()
    books.agree(1)


@every_kind
def test_a_stream_closed_or_dropped_after_its_first_chunk_gives_back_its_permit(llm, books, provider):
    provider.script(ENDLESS)
    stream = llm.stream("hello")
    next(stream)
    stream.close()
    dropped = llm.stream("hello")
    next(dropped)
    del dropped
    books.agree(2)


@every_kind
def test_an_astream_left_by_break_or_exception_gives_back_its_permit(llm, books, provider, run):
    provider.script(ENDLESS)

    async def leave(error):
        async for _ in llm.astream("hello"):
            if error:
                raise error
            break

    async def leave_both_ways():
        await leave(None)
        with pytest.raises(ConsumerError):
            await leave(ConsumerError())
        gc.collect()
        await some_ticks(books, 2)

    run(leave_both_ways())
    books.agree(2)


@every_kind
def test_an_astream_closed_gives_back_its_permit(llm, books, provider, run):
    provider.script(ENDLESS)

    async def close():
        stream = llm.astream("hello")
        await anext_(stream)
        await stream.aclose()
        await some_ticks(books, 1)

    run(close())
    books.agree(1)


@every_kind
# What the SDKs' own generators have to say when they are collected half-way.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_astream_dropped_gives_back_its_permit_to_the_next_call(llm, books, provider, run):
    provider.script(Reply(tokens=4000))

    async def drop():
        stream = llm.astream("hello")
        await anext_(stream)
        del stream
        await asyncio.wait_for(llm.ainvoke("next"), 10)

    run(drop())
    books.agree(2)


@every_kind
def test_a_stream_that_was_never_started_reserves_nothing(llm, books, run):
    llm.stream("hello").close()

    async def never():
        await llm.astream("hello").aclose()

    run(never())
    books.agree(0)


@every_kind
def test_a_call_cancelled_while_it_runs_gives_back_its_permit(llm, books, provider, run, eventually):
    provider.script(Reply(latency=30, times=2))

    async def cancel(coroutine):
        task = asyncio.ensure_future(coroutine)
        await asyncio.to_thread(eventually, provider.report, lambda seen: seen.in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel(llm.ainvoke("hello")))
    # Until the server has seen the first one leave, it is not to be told from the second.
    assert eventually(provider.report, lambda seen: seen.in_flight == 0).in_flight == 0
    run(cancel(consume(llm.astream("hello"))))
    books.agree(2)
    assert len(books.of("failed")) == 2


@every_kind
def test_a_call_cancelled_while_it_waits_reserves_nothing_and_lets_the_next_one_pass(
    llm, books, provider, run
):
    provider.script(Reply(latency=1.0))
    [keeper] = books.keepers

    async def cancel_second():
        first, second, third = (
            asyncio.ensure_future(llm.ainvoke(word)) for word in ("first", "second", "third")
        )
        while sum(scope["waiting"] for scope in keeper.status()["scopes"].values()) < 2:
            await asyncio.sleep(0.001)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await asyncio.gather(first, third)

    run(cancel_second())
    books.agree_in_tokens(2)
    assert len(books.of("refused")) == 1


@every_kind
def test_a_stream_that_the_server_breaks_fails_once_and_gives_back_its_permit(llm, books, provider, run):
    provider.set_faults(Fault(kind="broken_stream", after_events=3))
    with pytest.raises(Exception) as caught:  # noqa: PT011 (each SDK has its own)
        list(llm.stream("hello"))
    with pytest.raises(type(caught.value)):
        run(consume(llm.astream("hello")))
    books.agree(2)
    assert len(books.of("failed")) == 2


@every_kind
def test_a_consumer_that_calls_the_model_from_within_its_own_stream_is_counted_twice(kind, make, books, run):
    llm = books.keeper(Quota(concurrency=2)).wrap(make(kind))
    for index, _ in enumerate(llm.stream("hello")):
        if index == 0:
            llm.invoke("inner")

    async def within():
        first = True
        async for _ in llm.astream("hello"):
            if first:
                await llm.ainvoke("inner")
            first = False

    run(within())
    books.agree_in_tokens(4)


def test_a_consumer_that_leaves_after_the_usage_is_settled_with_it(make, books, provider):
    provider.script(Reply(tokens=5))
    stream = books.keeper().wrap(make("chat")).stream("hello")
    while not next(stream).usage_metadata:
        pass
    stream.close()
    books.agree_in_tokens(1)


def test_a_blocking_call_that_would_have_to_wait_on_a_running_loop_says_so(
    make, books, provider, run, eventually
):
    from ratekeeper import EventLoopBlockedError

    provider.script(Reply(latency=0.5))
    llm = books.keeper(Quota(concurrency=1)).wrap(make("chat"))

    async def block():
        running = asyncio.ensure_future(llm.ainvoke("first"))
        await asyncio.to_thread(eventually, provider.report, lambda seen: seen.in_flight == 1)
        with pytest.raises(EventLoopBlockedError):
            llm.invoke("second")
        await running

    run(block())
    books.agree_in_tokens(1)


def fail_in(stream):
    for _ in stream:
        raise ConsumerError


async def consume(stream):
    return [item async for item in stream]


async def anext_(stream):
    """`anext` of Python 3.10."""
    return await stream.__anext__()


async def some_ticks(books, calls):
    """Lets the loop close what was dropped: it does so one generator a tick, from the outermost in."""
    for _ in range(1000):
        if len(books.of("settled")) == calls:
            return
        await asyncio.sleep(0.001)
