"""Failures as the real SDKs and HTTP clients raise them, against the fake provider."""

from __future__ import annotations

import contextlib
import socket
import time

import anthropic
import httpx
import httpx2
import openai
import pytest
import requests

from ratekeeper.providers import get
from ratekeeper.providers.failure import classify
from ratekeeper.testing import FakeProvider, Fault

MESSAGES = [{"role": "user", "content": "Hello there"}]


@contextlib.contextmanager
def sdk(name, provider, **more):
    """A function that makes one call through an SDK, without its retries."""
    more = {"api_key": "sk-one", "max_retries": 0, **more}
    if name == "anthropic":
        with anthropic.Anthropic(base_url=provider.anthropic_url, **more) as client:
            yield lambda **call: client.messages.create(
                **{"model": "claude-haiku-4-5", "max_tokens": 20, "messages": MESSAGES, **call}
            )
        return
    if name == "azure":
        client = openai.AzureOpenAI(azure_endpoint=provider.azure_url, api_version="2024-10-21", **more)
    else:
        client = openai.OpenAI(base_url=provider.openai_url, **more)
    with client:
        yield lambda **call: client.chat.completions.create(
            **{"model": "gpt-4o-mini", "messages": MESSAGES, **call}
        )


def failure_of(name, provider, *, client=None, **call):
    """What a call that must fail raised, classified."""
    with sdk(name, provider, **client or {}) as ask, pytest.raises(Exception) as caught:  # noqa: PT011
        ask(**call)
    return classify(caught.value)


SDKS = ["openai", "azure", "anthropic"]


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("rate_limit", "rate_limit", True),
        ("insufficient_quota", "exhausted", False),
        ("overloaded", "overload", True),
        ("server_error", "server_error", True),
        ("unavailable", "overload", True),
    ],
)
def test_each_fault_is_told_from_the_others(provider, name, fault, kind, retryable):
    provider.set_faults(Fault(kind=fault))
    failure = failure_of(name, provider)
    assert (failure.kind, failure.is_retryable, failure.reached) == (kind, retryable, "unknown")


@pytest.mark.parametrize("name", SDKS)
def test_the_wait_that_is_named_arrives(provider, name):
    provider.set_faults(Fault(kind="rate_limit", retry_after=7))
    assert failure_of(name, provider).retry_after == 7.0


@pytest.mark.parametrize(
    ("name", "dimension"), [("openai", "requests"), ("azure", "requests"), ("anthropic", "requests")]
)
def test_a_quota_that_is_used_up_is_named(name, dimension):
    with FakeProvider(rpm=1) as provider, sdk(name, provider) as ask:
        ask()
        failure = failure_of(name, provider)
    assert (failure.kind, failure.dimension) == ("rate_limit", dimension)
    assert 0 < failure.retry_after <= 60


def test_input_tokens_that_are_used_up_are_named():
    with FakeProvider(itpm=12) as provider, sdk("anthropic", provider) as ask:
        ask()
        failure = failure_of("anthropic", provider, messages=[{"role": "user", "content": "x" * 40}])
    assert (failure.kind, failure.dimension, failure.per) == ("rate_limit", "input_tokens", "minute")


def test_a_call_larger_than_the_limit_is_too_large():
    with FakeProvider(tpm=100) as provider:
        failure = failure_of("openai", provider, max_tokens=101)
    assert (failure.kind, failure.status, failure.is_retryable) == ("too_large", 429, False)


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_request_that_is_refused_for_what_it_is_was_rejected(provider, name):
    failure = failure_of(name, provider, messages="no list")
    assert (failure.kind, failure.reached, failure.is_retryable) == ("bad_request", "rejected", False)


@pytest.mark.parametrize("name", SDKS)
def test_a_call_that_takes_too_long_is_a_timeout_that_may_have_run(provider, name):
    provider.set_faults(Fault(kind="slow", delay=5))
    failure = failure_of(name, provider, client={"timeout": 0.2})
    assert (failure.kind, failure.reached, failure.status) == ("timeout", "unknown", None)


class Nobody:
    """The addresses of a provider that is not there."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.anthropic_url = self.azure_url = self.openai_url = (
                f"http://127.0.0.1:{free.getsockname()[1]}"
            )


@pytest.mark.parametrize("name", SDKS)
def test_a_connection_that_was_never_made_sent_nothing(name):
    failure = failure_of(name, Nobody())
    assert (failure.kind, failure.reached, failure.is_retryable) == ("connection", "unsent", True)


@pytest.mark.parametrize("name", SDKS)
def test_an_answer_that_breaks_off_is_a_connection_that_failed(provider, name):
    provider.set_faults(Fault(kind="broken_stream"))
    failure = failure_of(name, provider)
    assert (failure.kind, failure.reached, failure.is_retryable) == ("connection", "unknown", True)


# --- HTTP clients -------------------------------------------------------------------------------------------


def get_raw(library, url, timeout=5.0):
    answer = library.post(
        url, json={"model": "m", "messages": MESSAGES}, headers={"authorization": "Bearer k"}, timeout=timeout
    )
    answer.raise_for_status()


@pytest.mark.parametrize("library", [httpx, httpx2, requests], ids=lambda library: library.__name__)
def test_http_clients_without_an_sdk_are_read_too(provider, library):
    url = f"{provider.openai_url}/chat/completions"
    provider.set_faults(Fault(kind="insufficient_quota"))
    with pytest.raises(Exception) as spent:  # noqa: PT011
        get_raw(library, url)
    provider.set_faults(Fault(kind="rate_limit", retry_after=3))
    with pytest.raises(Exception) as limited:  # noqa: PT011
        get_raw(library, url)
    provider.set_faults(Fault(kind="slow", delay=5))
    with pytest.raises(Exception) as late:  # noqa: PT011
        get_raw(library, url, timeout=0.2)
    with pytest.raises(Exception) as nobody:  # noqa: PT011
        get_raw(library, Nobody().openai_url)
    assert classify(spent.value).kind == "exhausted"
    assert (classify(limited.value).kind, classify(limited.value).retry_after) == ("rate_limit", 3.0)
    assert (classify(late.value).kind, classify(late.value).reached) == ("timeout", "unknown")
    assert (classify(nobody.value).kind, classify(nobody.value).reached) == ("connection", "unsent")


def test_a_body_that_was_not_read_is_left_unread(provider):
    provider.set_faults(Fault(kind="rate_limit", retry_after=3))
    url = f"{provider.openai_url}/chat/completions"
    with httpx.stream("POST", url, json={}, headers={"authorization": "Bearer k"}) as answer:
        with pytest.raises(httpx.HTTPStatusError) as caught:
            answer.raise_for_status()
        assert classify(caught.value).status == answer.status_code
        assert not answer.is_stream_consumed


# --- headers of a success -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [
        ("openai", {"requests": 60, "tokens": 6000}),
        ("azure", {"requests": 60, "tokens": 6000}),
    ],
)
def test_the_limits_stand_in_the_headers_of_a_success(name, dimensions):
    with FakeProvider(rpm=60, tpm=6000) as provider:
        if name == "azure":
            client = openai.AzureOpenAI(
                azure_endpoint=provider.azure_url, api_version="2024-10-21", api_key="k"
            )
        else:
            client = openai.OpenAI(base_url=provider.openai_url, api_key="k")
        with client:
            answer = client.chat.completions.with_raw_response.create(
                model="m", messages=MESSAGES, max_tokens=600
            )
    limits = get(name).limits(answer.headers, time.time())
    assert {limit.dimension: limit.limit for limit in limits} == dimensions
    assert {limit.per for limit in limits} == {60.0}
    assert all(limit.remaining < limit.limit for limit in limits)


def test_anthropics_limits_stand_in_the_headers_of_a_success():
    with (
        FakeProvider(rpm=60, itpm=50_000, otpm=10_000) as provider,
        anthropic.Anthropic(base_url=provider.anthropic_url, api_key="k") as client,
    ):
        answer = client.messages.with_raw_response.create(
            model="claude-haiku-4-5", max_tokens=20, messages=MESSAGES
        )
    limits = get("anthropic").limits(answer.headers, time.time())
    assert {limit.dimension: (limit.limit, limit.per) for limit in limits} == {
        "requests": (60, 60.0),
        "input_tokens": (50_000, 60.0),
        "output_tokens": (10_000, 60.0),
    }
