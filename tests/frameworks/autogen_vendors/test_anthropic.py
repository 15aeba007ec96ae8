"""Entries of Anthropic's API, which take no HTTP client from their config: their SDK client is wrapped once it is made."""

from __future__ import annotations

import asyncio
import gc
import time
from concurrent.futures import ThreadPoolExecutor

import anthropic
import autogen
import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault, Reply


@pytest.fixture(params=["anthropic", "anthropic_v2"])
def claude(provider, request):
    """Makes an entry of Anthropic's, for each of AutoGen's two clients; the second takes the entry's HTTP client too."""
    return lambda **settings: {
        "api_type": request.param,
        "model": "claude-haiku-4-5",
        "api_key": "sk-test",
        "base_url": provider.anthropic_url.removesuffix("/v1"),
        "max_tokens": 256,
        **settings,
    }


def test_each_call_has_one_lease_and_is_settled_with_the_providers_count(cast, claude, books):
    wrapped = books.keeper().wrap(cast.config(claude()))
    cast.user(replies=9).initiate_chat(
        cast.assistant(wrapped), message="What is the tide?", silent=True, max_turns=2
    )
    books.agree_in_tokens(2)
    assert {event.caller for event in books.of("settled")} == {"writer"}


def test_registered_functions_keep_the_gate(cast, claude, books):
    writer = cast.assistant(books.keeper().wrap(cast.config(claude())))
    schema = {"name": "tide", "description": "Tides.", "parameters": {"type": "object", "properties": {}}}
    writer.update_tool_signature({"type": "function", "function": schema}, is_remove=False)
    cast.user().initiate_chat(writer, message="When?", silent=True)
    books.agree_in_tokens(1)


def test_a_permanent_429_is_sent_as_often_as_the_policy_says(cast, claude, books, provider):
    provider.set_faults(Fault(kind="rate_limit"))
    policy = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
    wrapped = books.keeper(retry=policy).wrap(cast.config(claude()))
    with pytest.raises(anthropic.RateLimitError) as caught:
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert caught.value.response.status_code == 429
    books.agree(3)


def test_a_deadline_comes_out_as_itself_and_no_other_entry_is_billed(cast, claude, books):
    keeper = books.keeper(rk.Quota(rpm=1), headroom=0, timeout=0.05)
    wrapped = keeper.wrap(cast.config(claude(), cast.entry()))
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    with pytest.raises(rk.QuotaExceededError):
        cast.user().initiate_chat(cast.assistant(wrapped, "critic"), message="What is the tide?", silent=True)
    books.agree(1)


def test_parallel_asynchronous_chats_never_exceed_the_concurrency(cast, claude, books, provider, run):
    provider.script(Reply(latency=0.05, times=None))
    wrapped = books.keeper(rk.Quota(concurrency=2)).wrap(cast.config(claude()))

    async def all_of_them():
        writers = [cast.assistant(wrapped, f"writer{at}") for at in range(8)]
        await asyncio.gather(
            *(
                cast.user().a_initiate_chat(writer, message="Tides?", silent=True, max_turns=1)
                for writer in writers
            )
        )

    run(all_of_them())
    assert books.agree_in_tokens(8).peak_concurrency == 2


def test_ten_users_of_a_key_keep_still_for_as_long_as_the_provider_says(cast, claude, books, provider):
    provider.set_faults(Fault(kind="rate_limit", times=1, retry_after=3))
    keeper = books.keeper(rk.Quota(concurrency=1), retry=rk.RetryPolicy(attempts=3))
    wrapped = keeper.wrap(cast.config(claude()))
    chats = [(cast.user(), cast.assistant(wrapped, f"writer{at}")) for at in range(10)]
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda one: one[0].initiate_chat(one[1], message="Tides?", silent=True), chats))
    refused, *others = books.agree(11).arrivals()
    assert min(others) - refused >= 3


def test_a_cancelled_chat_that_waits_leaves_the_queue_at_once(cast, claude, books, provider, run):
    provider.script(Reply(latency=1.0, times=None))
    keeper = books.keeper(rk.Quota(concurrency=1))
    wrapped = keeper.wrap(cast.config(claude()))

    async def until(name, number):
        for _ in range(5000):
            if sum(scope[name] for scope in keeper.status()["scopes"].values()) == number:
                return
            await asyncio.sleep(0.001)

    def ask(name):
        chat = cast.user().a_initiate_chat(cast.assistant(wrapped, name), message="Tides?", silent=True)
        return asyncio.create_task(chat)

    async def one_gives_up():
        first = ask("first")
        await until("in_flight", 1)
        second = ask("second")
        await until("waiting", 1)
        began = time.monotonic()
        second.cancel()
        await until("waiting", 0)
        freed = time.monotonic() - began
        await asyncio.gather(first, second, return_exceptions=True)
        assert second.cancelled()
        return freed

    assert run(one_gives_up()) < 0.1
    books.agree_in_tokens(1)


def test_a_wrapper_outlives_the_config_that_it_was_made_of(cast, claude, books):
    client = autogen.OpenAIWrapper(**books.keeper().wrap(cast.config(claude())))
    gc.collect()
    client.create(messages=[{"role": "user", "content": "What is the tide?"}])
    books.agree_in_tokens(1)


def test_the_users_own_client_sends_the_requests(cast, claude, books, httpx):
    """AutoGen's first client for Anthropic would leave it aside."""
    seen = []
    with httpx.Client(event_hooks={"request": [seen.append]}) as client:
        wrapped = books.keeper().wrap(cast.config(claude(http_client=client)))
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    assert len(seen) == 1
    books.agree_in_tokens(1)
