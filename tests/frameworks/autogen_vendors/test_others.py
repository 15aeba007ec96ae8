"""Entries of other vendors, whose clients AutoGen makes anew in each call, and of AutoGen's second generation of clients."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor

import autogen
import groq
import openai
import pytest
from autogen.oai.groq import GroqClient

import ratekeeper as rk
from ratekeeper.adapters.autogen import models
from ratekeeper.testing import Fault, Reply

THRICE = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
KINDS = ("groq", "openai_v2", "responses_v2")


@pytest.fixture
def other(provider, cast):
    """Makes an entry of a kind."""

    def make(kind, **settings):
        if kind == "groq":
            url = provider.groq_url.removesuffix("/openai/v1")
            settings = {"base_url": url, "model": "llama-3.3-70b-versatile", **settings}
        return cast.entry(api_type=kind, **settings)

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_each_call_has_one_lease_and_is_settled_with_the_providers_count(kind, cast, other, books):
    wrapped = books.keeper().wrap(cast.config(other(kind)))
    cast.user(replies=9).initiate_chat(
        cast.assistant(wrapped), message="What is the tide?", silent=True, max_turns=2
    )
    books.agree_in_tokens(2)
    assert {event.caller for event in books.of("settled")} == {"writer"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_permanent_429_is_sent_as_often_as_the_policy_says(kind, cast, other, books, provider):
    """AutoGen asks Groq's SDK for five retries of its own."""
    provider.set_faults(Fault(kind="rate_limit"))
    wrapped = books.keeper(retry=THRICE).wrap(cast.config(other(kind)))
    with pytest.raises(groq.RateLimitError if kind == "groq" else openai.RateLimitError):
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree(3)


@pytest.mark.parametrize("kind", KINDS)
def test_parallel_asynchronous_chats_never_exceed_the_concurrency(*, kind, cast, other, books, provider, run):
    provider.script(Reply(latency=0.1, times=None))
    wrapped = books.keeper(rk.Quota(concurrency=2)).wrap(cast.config(other(kind)))

    async def main():
        writers = [cast.assistant(wrapped, f"writer{at}") for at in range(8)]
        chats = [cast.user().a_initiate_chat(one, message="Tides?", silent=True) for one in writers]
        await asyncio.gather(*chats)

    run(main())
    assert books.agree_in_tokens(8).peak_concurrency == 2


@pytest.mark.parametrize("kind", KINDS)
def test_ten_users_of_a_key_keep_still_for_as_long_as_the_provider_says(kind, cast, other, books, provider):
    provider.set_faults(Fault(kind="rate_limit", times=1, retry_after=3))
    keeper = books.keeper(rk.Quota(concurrency=1), retry=THRICE)
    wrapped = keeper.wrap(cast.config(other(kind)))
    chats = [(cast.user(), cast.assistant(wrapped, f"writer{at}")) for at in range(10)]
    with ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda one: one[0].initiate_chat(one[1], message="Tides?", silent=True), chats))
    refused, *others = books.agree(11).arrivals()
    assert min(others) - refused >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_deadline_comes_out_as_itself_and_no_other_entry_is_billed(kind, cast, other, books):
    keeper = books.keeper(rk.Quota(rpm=1), headroom=0, timeout=0.05)
    wrapped = keeper.wrap(cast.config(other(kind), cast.entry()))
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    with pytest.raises(rk.QuotaExceededError):
        cast.user().initiate_chat(cast.assistant(wrapped, "critic"), message="What is the tide?", silent=True)
    books.agree(1)


def test_clients_of_configs_that_were_not_wrapped_are_left_alone(cast, other, books, provider):
    books.keeper().wrap(cast.config(other("groq")))
    cast.user().initiate_chat(
        cast.assistant(cast.config(other("groq"))), message="What is the tide?", silent=True
    )
    assert provider.report().requests == 1
    assert books.events == []


def test_a_client_that_makes_its_sdk_client_elsewhere_is_refused(cast, other, books, monkeypatch):
    monkeypatch.setattr(GroqClient, "create", lambda self, params: None)
    with pytest.raises(rk.ConfigError, match="GroqClient of this version has no Groq"):
        cast.assistant(books.keeper().wrap(cast.config(other("groq"))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrapper_outlives_the_config_that_it_was_made_of(kind, cast, other, books):
    client = autogen.OpenAIWrapper(**books.keeper().wrap(cast.config(other(kind))))
    gc.collect()
    client.create(messages=[{"role": "user", "content": "What is the tide?"}])
    books.agree_in_tokens(1)


def test_a_model_client_that_nobody_knows_is_refused():
    with pytest.raises(rk.ConfigError, match="object is no model client"):
        models.gate_model_client(object(), None, None)


def test_a_client_without_its_sdk_client_is_refused():
    class AnthropicClient:
        pass

    with pytest.raises(rk.ConfigError, match="AnthropicClient of this version has no _client"):
        models.gate_model_client(AnthropicClient(), None, None)
