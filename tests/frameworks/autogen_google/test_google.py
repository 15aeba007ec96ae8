"""Entries of Google's API with a key, whose client AutoGen makes anew in each call."""

from __future__ import annotations

import asyncio

import pytest
from autogen.oai.gemini import GeminiClient
from google.genai.errors import ClientError

import ratekeeper as rk
from ratekeeper.testing import Fault


@pytest.fixture(autouse=True)
def _close_loops(monkeypatch):
    """AutoGen makes an event loop for each call of Google's and leaves it open."""
    make, made = asyncio.new_event_loop, []
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: made.append(make()) or made[-1])
    yield
    asyncio.set_event_loop(None)
    for loop in made:
        loop.close()


@pytest.fixture
def gemini(provider, monkeypatch):
    """Makes an entry."""
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", provider.gemini_url)
    return lambda **settings: {
        "api_type": "google",
        "model": "gemini-2.5-flash",
        "api_key": "sk-test",
        **settings,
    }


@pytest.mark.parametrize("streams", [False, True])
def test_each_call_has_one_lease_and_is_settled_with_the_providers_count(streams, cast, gemini, books):
    wrapped = books.keeper().wrap(cast.config(gemini(stream=streams)))
    cast.user(replies=9).initiate_chat(
        cast.assistant(wrapped), message="What is the tide?", silent=True, max_turns=2
    )
    books.agree_in_tokens(2)
    assert {event.caller for event in books.of("settled")} == {"writer"}


def test_a_permanent_429_is_sent_as_often_as_the_policy_says(cast, gemini, books, provider):
    provider.set_faults(Fault(kind="rate_limit"))
    policy = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
    wrapped = books.keeper(retry=policy).wrap(cast.config(gemini()))
    with pytest.raises(ClientError):
        cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    books.agree(3)


def test_a_deadline_comes_out_as_itself_and_no_other_entry_is_billed(cast, gemini, books):
    keeper = books.keeper(rk.Quota(rpm=1), headroom=0, timeout=0.05)
    wrapped = keeper.wrap(cast.config(gemini(), cast.entry()))
    cast.user().initiate_chat(cast.assistant(wrapped), message="What is the tide?", silent=True)
    with pytest.raises(rk.QuotaExceededError):
        cast.user().initiate_chat(cast.assistant(wrapped, "critic"), message="What is the tide?", silent=True)
    books.agree(1)


def test_a_client_that_makes_its_sdk_client_elsewhere_is_refused(cast, gemini, books, monkeypatch):
    monkeypatch.setattr(GeminiClient, "create", lambda self, params: None)
    with pytest.raises(rk.ConfigError, match="GeminiClient of this version has no genai"):
        cast.assistant(books.keeper().wrap(cast.config(gemini())))
