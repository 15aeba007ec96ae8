"""Failed calls of wrapped models: how often the provider is asked, and what comes out."""

from __future__ import annotations

import asyncio
import time

import anthropic
import openai
import pytest

import ratekeeper as rk
from ratekeeper.testing import Fault

QUICK = rk.RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.02)
every_kind = pytest.mark.parametrize("kind", ["chat", "responses", "azure", "anthropic"])


@pytest.fixture
def wrap(make, books):
    """Wraps a model of a kind with a keeper that tries three times."""
    return lambda kind="chat", **fields: books.keeper(retry=QUICK).wrap(make(kind, **fields))


async def consume(stream):
    return [item async for item in stream]


@every_kind
@pytest.mark.parametrize("fault", ["server_error", "unavailable", "overloaded"])
def test_what_passes_is_asked_again_and_gives_one_answer_in_every_form(kind, fault, wrap, books, run):
    provider = books.provider
    llm = wrap(kind)
    forms = (
        lambda: llm.invoke("hello").content,
        lambda: run(llm.ainvoke("hello")).content,
        lambda: [chunk.text for chunk in llm.stream("hello")],
        lambda: [chunk.text for chunk in run(consume(llm.astream("hello")))],
    )
    for form in forms:
        provider.set_faults(Fault(kind=fault, times=1))
        assert form()
    report = books.agree(8)
    assert report.statuses[200] == 4
    assert report.retries == 0  # of the SDKs' own
    assert len(books.of("settled")) == len(books.of("failed")) == 4


def test_anthropics_529_is_asked_again_and_comes_out_as_its_own_class(wrap, provider, books):
    llm = wrap("anthropic")
    provider.set_faults(Fault(kind="overloaded", times=2))
    assert llm.invoke("hello").content
    assert books.agree(3).statuses == {529: 2, 200: 1}
    provider.set_faults(Fault(kind="overloaded"))
    with pytest.raises(anthropic.APIStatusError) as caught:
        llm.invoke("hello")
    assert caught.value.status_code == 529
    books.agree(6)


@every_kind
def test_money_that_is_gone_is_asked_for_once(kind, wrap, provider, books, run):
    llm = wrap(kind)
    provider.set_faults(Fault(kind="insufficient_quota"))
    sdk = anthropic if kind == "anthropic" else openai
    forms = (
        lambda: llm.invoke("hello"),
        lambda: run(llm.ainvoke("hello")),
        lambda: list(llm.stream("hello")),
        lambda: run(consume(llm.astream("hello"))),
    )
    for form in forms:
        with pytest.raises(sdk.APIStatusError):
            form()
    books.agree(4)


def answering(status, body, asked):
    """A client whose provider always answers so."""
    import httpx2

    def answer(request):
        asked.append(request)
        return httpx2.Response(status, json=body)

    return httpx2.Client(transport=httpx2.MockTransport(answer))


TOO_LARGE = "Request too large for gpt-4o-mini in organization org-1 on tokens per min (TPM): Limit 30000, Requested 70000."


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        (openai.BadRequestError, (400, "invalid_value", "no")),
        (openai.AuthenticationError, (401, "invalid_api_key", "no")),
        (openai.PermissionDeniedError, (403, "unsupported_country", "no")),
        (openai.NotFoundError, (404, "model_not_found", "no")),
        (openai.APIStatusError, (413, None, "too large")),
        (openai.RateLimitError, (429, "insufficient_quota", "You exceeded your current quota")),
        (openai.RateLimitError, (429, "rate_limit_exceeded", TOO_LARGE)),
    ],
)
def test_what_no_attempt_mends_is_asked_once_and_comes_out_as_the_sdks_own(answer, expected, make, books):
    status, code, message = answer
    asked = []
    with answering(status, {"error": {"message": message, "type": "x", "code": code}}, asked) as client:
        model = make("chat", http_client=client, max_retries=0)
        kinds = []
        for llm in (model, books.keeper(retry=QUICK).wrap(model)):
            for call in (lambda: llm.invoke("hello"), lambda: list(llm.stream("hello"))):  # noqa: B023 (called here)
                with pytest.raises(expected) as caught:
                    call()
                kinds.append(type(caught.value))
        assert kinds[:2] == kinds[2:]
    assert len(asked) == 4
    books.nothing_is_held()


@every_kind
def test_a_stream_that_breaks_amid_its_chunks_is_not_asked_for_again(kind, wrap, provider, books, run):
    llm = wrap(kind)
    provider.set_faults(Fault(kind="broken_stream", after_events=3))
    seen = []
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the HTTP client's, of either SDK)
        seen.extend(llm.stream("hello"))
    assert seen
    assert not isinstance(caught.value, rk.RatekeeperError)
    with pytest.raises(type(caught.value)):
        run(consume(llm.astream("hello")))
    books.agree(2)


@every_kind
def test_a_stream_that_breaks_before_its_first_chunk_is_asked_for_again(kind, wrap, provider, books, run):
    llm = wrap(kind)
    for form in (lambda: list(llm.stream("hello")), lambda: run(consume(llm.astream("hello")))):
        provider.set_faults(Fault(kind="broken_stream", after_events=0, times=1))
        assert form()
    books.agree(4)


def test_a_server_that_is_not_there_is_asked_three_times_and_its_cause_is_told(wrap, books):
    llm = wrap(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(openai.APIConnectionError) as caught:
        llm.invoke("hello")
    assert caught.value.__cause__ is not None
    assert len(books.of("failed")) == 3
    books.nothing_is_held()


def test_without_a_policy_nothing_is_asked_twice(make, provider, books):
    llm = books.keeper().wrap(make("chat"))
    provider.set_faults(Fault(kind="server_error"))
    with pytest.raises(openai.InternalServerError):
        llm.invoke("hello")
    books.agree(1)


def test_fifty_callers_and_one_pause(make, provider, books, run):
    """Requests are the calls and the refusals of those in flight; nobody arrives before the time told."""
    provider.set_limits(rpm=60_000)
    llm = books.keeper(rk.Quota(rpm=60_000, concurrency=8), retry=rk.RetryPolicy()).wrap(make("chat"))
    run(llm.ainvoke("the limit is told"))
    books.agree(1)
    provider.set_faults(Fault(kind="rate_limit", retry_after=1.0, times=1))

    async def all_of_them():
        return await asyncio.gather(*(llm.ainvoke(f"hello {number}") for number in range(50)))

    began = time.monotonic()
    answers = run(all_of_them())
    assert all(answer.content for answer in answers)
    report = books.agree(1 + 51)
    assert report.statuses == {200: 51, 429: 1}
    refused = next(entry for entry in report.timeline if entry.status == 429)
    # What had left before the refusal came is on its way; the others come when the second is over.
    late = [entry.at - refused.ended for entry in report.timeline if entry.at > refused.ended + 0.1]
    assert len(late) >= 50 - 8
    assert min(late) >= 1.0
    assert time.monotonic() - began < 20


def test_refusals_of_all_in_flight_are_one_pause(make, provider, books, run):
    """Whatever arrives before 0.8 s is refused; only what was in flight does, and the others come after the pause."""
    provider.set_limits(rpm=60_000)
    llm = books.keeper(rk.Quota(rpm=60_000, concurrency=8), retry=rk.RetryPolicy()).wrap(make("chat"))
    run(llm.ainvoke("the limit is told"))
    seen = provider.report()
    provider.set_faults(Fault(kind="rate_limit", retry_after=1.0, until=seen.now - seen.started + 0.8))

    async def all_of_them():
        return await asyncio.gather(*(llm.ainvoke(f"hello {number}") for number in range(50)))

    assert all(answer.content for answer in run(all_of_them()))
    timeline = provider.report().timeline
    refused = [entry for entry in timeline if entry.status == 429]
    assert 1 <= len(refused) <= 8
    books.agree(51 + len(refused))
    late = [entry.at for entry in timeline if entry.at > refused[-1].at]
    assert len(late) == 50
    assert min(late) >= refused[0].ended + 1.0
