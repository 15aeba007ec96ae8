"""Asynchronous chats: AutoGen makes their calls on threads, where they wait, can be called off, and keep their tags."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import pairwise

import pytest

import ratekeeper as rk
from ratekeeper.testing import Reply

PARALLEL = 8
WAITING = 50


def ask(cast, agent, **settings):
    return cast.user().a_initiate_chat(agent, message="What is the tide?", silent=True, **settings)


def held(keeper):
    """Calls in flight and waiting, over all scopes."""
    scopes = keeper.status()["scopes"].values()
    return sum(scope["in_flight"] for scope in scopes), sum(scope["waiting"] for scope in scopes)


async def until(condition, within=10.0):
    """Lets the loop run until it is so."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.005)


def test_a_chat_is_settled_with_the_providers_count(cast, books, run):
    writer = cast.assistant(books.keeper().wrap(cast.config()))
    run(cast.user(replies=9).a_initiate_chat(writer, message="What is the tide?", silent=True, max_turns=3))
    books.agree_in_tokens(3)


def test_a_streamed_chat_is_settled_with_the_providers_count(cast, books, run):
    writer = cast.assistant(books.keeper().wrap(cast.config(cast.entry(stream=True))))
    run(ask(cast, writer))
    books.agree_in_tokens(1)


def test_chats_in_a_row_are_counted(cast, books, run):
    wrapped = books.keeper().wrap(cast.config())
    chats = [
        {
            "chat_id": at,
            "recipient": cast.assistant(wrapped, name),
            "message": "Tides.",
            "max_turns": 1,
            "silent": True,
        }
        for at, name in enumerate(("writer", "critic", "editor"), 1)
    ]
    run(cast.user().a_initiate_chats(chats))
    books.agree_in_tokens(3)


def test_parallel_chats_never_exceed_the_concurrency(cast, books, provider, run):
    provider.script(Reply(latency=0.05, times=None))
    wrapped = books.keeper(rk.Quota(concurrency=2)).wrap(cast.config())

    async def talk(at):
        writer = cast.assistant(wrapped, f"writer{at}")
        await cast.user(replies=9).a_initiate_chat(
            writer, message="What is the tide?", silent=True, max_turns=2
        )

    async def all_of_them():
        await asyncio.gather(*(talk(at) for at in range(PARALLEL)))

    run(all_of_them())
    assert books.agree_in_tokens(2 * PARALLEL).peak_concurrency == 2


def test_tags_and_the_agents_name_reach_the_call(cast, books, run):
    wrapped = books.keeper().wrap(cast.config())

    async def tagged(tenant):
        with rk.tags(tenant=tenant):
            await ask(cast, cast.assistant(wrapped, f"writer_of_{tenant}"))

    async def both():
        await asyncio.gather(tagged("shop"), tagged("bank"))

    run(both())
    assert {(event.tenant, event.caller) for event in books.of("settled")} == {
        ("shop", "writer_of_shop"),
        ("bank", "writer_of_bank"),
    }


def test_chats_that_wait_leave_the_default_executor_to_others(cast, books, provider, run):
    """AutoGen itself would put each of them onto one of the executor's few threads."""
    provider.script(Reply(latency=5.0, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(cast.config())

    async def unrelated():
        started = time.perf_counter()
        await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)
        return time.perf_counter() - started

    async def crowd():
        await unrelated()  # the executor has its first thread
        chats = [asyncio.create_task(ask(cast, cast.assistant(wrapped))) for _ in range(WAITING + 1)]
        await until(lambda: held(keeper) == (1, WAITING))
        took = [await unrelated() for _ in range(5)]
        for chat in chats:
            chat.cancel()
        await asyncio.gather(*chats, return_exceptions=True)
        return max(took)

    assert run(crowd()) < 0.05


def test_a_cancelled_chat_that_waits_leaves_the_queue_within_a_tenth_of_a_second(cast, books, provider, run):
    provider.script(Reply(latency=0.6))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(cast.config())

    async def one_gives_up():
        first = asyncio.create_task(ask(cast, cast.assistant(wrapped)))
        await until(lambda: held(keeper) == (1, 0))
        second = asyncio.create_task(ask(cast, cast.assistant(wrapped, "critic")))
        await until(lambda: held(keeper) == (1, 1))
        third = asyncio.create_task(ask(cast, cast.assistant(wrapped, "editor")))
        await until(lambda: held(keeper) == (1, 2))
        second.cancel()
        started = time.perf_counter()
        await until(lambda: held(keeper) == (1, 1))
        took = time.perf_counter() - started
        with pytest.raises(asyncio.CancelledError):
            await second
        await asyncio.gather(first, third)
        return took

    assert run(one_gives_up()) < 0.1
    books.agree_in_tokens(2)
    assert [event.caller for event in books.of("settled")] == ["writer", "editor"]


def test_a_cancelled_chat_is_not_taken_for_a_failed_entry(cast, books, provider, run):
    """A second entry would otherwise be asked, in the background, by a chat that nobody waits for."""
    provider.script(Reply(latency=0.3))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(cast.config())
    two = keeper.wrap(cast.config(cast.entry(), cast.entry(api_key="sk-other")))

    async def gives_up():
        first = asyncio.create_task(ask(cast, cast.assistant(wrapped)))
        await until(lambda: held(keeper) == (1, 0))
        second = asyncio.create_task(ask(cast, cast.assistant(two)))
        await until(lambda: held(keeper) == (1, 1))
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await asyncio.sleep(0.1)

    run(gives_up())
    books.agree_in_tokens(1)


def test_a_call_that_was_sent_before_its_chat_was_cancelled_is_settled(cast, books, provider, run):
    provider.script(Reply(latency=0.3))
    keeper = books.keeper(rk.Quota(concurrency=1))
    writer = cast.assistant(keeper.wrap(cast.config()))

    async def gives_up():
        chat = asyncio.create_task(ask(cast, writer))
        await until(lambda: provider.report().in_flight == 1)
        chat.cancel()
        await asyncio.gather(chat, return_exceptions=True)
        await until(lambda: held(keeper) == (0, 0))

    run(gives_up())
    books.agree_in_tokens(1)


def test_a_summary_by_a_model_waits_for_its_turn_without_stopping_the_loop(cast, books, provider, run):
    """AutoGen asks for it on the event loop's own thread, where a wait would stop everybody."""
    provider.script(Reply(latency=0.3))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(cast.config())
    beats = []

    async def beat():
        while True:
            beats.append(time.perf_counter())
            await asyncio.sleep(0.01)

    async def both():
        pulse = asyncio.create_task(beat())
        results = await asyncio.gather(
            ask(cast, cast.assistant(wrapped, "slow"), summary_method="reflection_with_llm"),
            ask(cast, cast.assistant(wrapped), summary_method="reflection_with_llm"),
        )
        pulse.cancel()
        return results

    results = run(both())
    assert all(result.summary for result in results)
    assert max(later - sooner for sooner, later in pairwise(beats)) < 0.15
    report = books.agree_in_tokens(4)
    assert report.peak_concurrency == 1


def test_a_deadline_comes_out_of_an_asynchronous_chat_as_itself(cast, books, provider, run):
    provider.script(Reply(latency=0.5))
    keeper = books.keeper(rk.Quota(concurrency=1))
    slow, writer = (
        cast.assistant(keeper.wrap(cast.config())),
        cast.assistant(keeper.wrap(cast.config(), timeout=0.05), "late"),
    )

    async def both():
        first = asyncio.create_task(ask(cast, slow))
        await until(lambda: held(keeper) == (1, 0))
        with pytest.raises(rk.QuotaExceededError):
            await ask(cast, writer)
        await first

    run(both())
    books.agree_in_tokens(1)
