"""What goes wrong on purpose, seen through OpenAI's SDK."""

from __future__ import annotations

import asyncio
import contextlib
import time

import httpx
import openai
import pytest

from ratekeeper.testing import FakeProvider, Fault, Limits, QuotaChange, Reply

MESSAGES = [{"role": "user", "content": "Hello there"}]


def make_client(provider, **more):
    return openai.OpenAI(**{"api_key": "sk-one", "base_url": provider.openai_url, "max_retries": 0, **more})


def chat(client, **more):
    return client.chat.completions.create(**{"model": "gpt-4o-mini", "messages": MESSAGES, **more})


def test_a_429_carries_the_headers_a_client_needs():
    with FakeProvider(rpm=2, tpm=1000) as provider, make_client(provider) as client:
        first = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES, max_tokens=400)
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-remaining-tokens"] == "600"
        assert first.headers["x-ratelimit-reset-tokens"].startswith("2")  # 24 s of refilling
        with pytest.raises(openai.RateLimitError) as refused:
            chat(client, model="m", max_tokens=900)
    headers = refused.value.response.headers
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.type == "tokens"
    assert 0 < int(headers["retry-after-ms"]) <= 1000 * int(headers["retry-after"]) <= 60_000


def test_a_call_larger_than_the_limit_is_told_that_it_is_too_large_and_not_when_to_come_back():
    with (
        FakeProvider(tpm=100) as provider,
        make_client(provider) as client,
        pytest.raises(openai.RateLimitError, match="Request too large") as refused,
    ):
        chat(client, max_tokens=101)
    assert "retry-after" not in refused.value.response.headers


def test_without_headers_there_are_none_at_all():
    with FakeProvider(rpm=1, headers=False) as provider, make_client(provider) as client:
        first = client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError) as refused:
            chat(client, model="m")
    for headers in (first.headers, refused.value.response.headers):
        assert not [name for name in headers if "ratelimit" in name or "retry" in name]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("insufficient_quota", 429, "insufficient_quota"),
        ("rate_limit", 429, "rate_limit_exceeded"),
        ("overloaded", 503, "server_is_overloaded"),
        ("server_error", 500, None),
        ("unavailable", 503, "service_unavailable"),
    ],
)
def test_each_fault_comes_with_its_status_and_code(kind, status, code):
    with FakeProvider(faults=[Fault(kind=kind, times=1)]) as provider, make_client(provider) as client:
        with pytest.raises(openai.APIStatusError) as failed:
            chat(client)
        assert (failed.value.status_code, failed.value.code) == (status, code)
        assert chat(client).usage.total_tokens > 0
        assert provider.report().statuses == {200: 1, status: 1}


def test_a_broken_stream_ends_in_an_error_after_the_events_that_were_sent(caplog):
    fault = Fault(kind="broken_stream", after_events=3)
    with FakeProvider(faults=[fault]) as provider, make_client(provider) as client:
        got = []
        # openai 3 wraps what its transport raised, openai 2 lets it through
        with pytest.raises((openai.APIError, httpx.TransportError)):
            got.extend(chunk for chunk in chat(client, stream=True))
        report = provider.report()
    assert report.timeline[0].outcome == "cut"
    assert report.timeline[0].output == 16
    assert not caplog.records


def test_a_broken_answer_without_a_stream_is_a_connection_error():
    with (
        FakeProvider(faults=[Fault(kind="broken_stream")]) as provider,
        make_client(provider) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        chat(client)


def test_the_sdks_own_retries_are_seen_as_such():
    faults = [Fault(kind="rate_limit", times=2, retry_after=0.001)]
    with FakeProvider(faults=faults) as provider, make_client(provider, max_retries=2) as client:
        chat(client)
        report = provider.report()
    assert [entry.attempt for entry in report.timeline] == [1, 2, 3]
    assert report.retries == 2


def test_latency_and_token_latency_slow_plain_and_streamed_answers_alike():
    settings = {"latency": 0.05, "token_latency": 0.01, "output_tokens": 10, "stream_tokens": 2}
    with FakeProvider(**settings) as provider, make_client(provider) as client:
        chat(client)
        list(chat(client, stream=True))
        took = [entry.ended - entry.at for entry in provider.report().timeline]
    assert all(seconds >= 0.14 for seconds in took)  # a timer may be a millisecond early


def test_a_client_that_hangs_up_is_seen_and_frees_its_place():
    with FakeProvider(latency=30.0) as provider, make_client(provider, timeout=0.2) as client:
        with pytest.raises(openai.APITimeoutError):
            chat(client)
        report = _until(provider, lambda report: report.disconnects == 1)
    assert report.in_flight == 0
    assert report.statuses == {499: 1}


def test_a_stream_left_in_the_middle_reports_what_was_sent_until_then():
    reply = Reply(tokens=400)
    with FakeProvider(token_latency=0.005, replies=[reply]) as provider, make_client(provider) as client:
        with chat(client, stream=True) as stream:
            for number, _ in enumerate(stream):
                if number == 3:
                    break
        report = _until(provider, lambda report: report.disconnects == 1)
    assert 0 < report.output_tokens < 400


def _until(provider, met, step=lambda: time.sleep(0.01)):
    end = time.monotonic() + 20
    while not met(report := provider.report()):
        assert time.monotonic() < end, f"never came to be: {report}"
        step()
    return report


def _tried(client):
    with contextlib.suppress(openai.RateLimitError):
        chat(client)


def test_a_request_is_off_the_books_before_its_client_has_the_answer():
    """So that a client that holds N permits is never seen with N + 1 requests."""

    async def flood(url):
        async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
            permits = asyncio.Semaphore(4)

            async def one(stream):
                async with permits:
                    answer = await chat(client, stream=stream)
                    if stream:
                        async for _ in answer:
                            pass

            await asyncio.gather(*(one(number % 2 == 0) for number in range(60)))

    with FakeProvider(latency=0.005) as provider:
        asyncio.run(flood(provider.openai_url))
        report = provider.report()
    assert report.answered == 60
    assert 1 < report.peak_concurrency <= 4


def test_limits_are_kept_apart_by_key_and_model_and_named_by_pattern():
    with FakeProvider(models={"gpt-4*": Limits(rpm=1)}) as provider, make_client(provider) as client:
        for model in ("gpt-4o", "gpt-4o-mini", "other", "other"):
            chat(client, model=model)
        chat(client.with_options(api_key="sk-two"), model="gpt-4o")
        with pytest.raises(openai.RateLimitError):
            chat(client, model="gpt-4o")
        scopes = provider.report().scopes
    assert len(scopes) == 4
    assert {scope.key for scope in scopes if scope.model == "gpt-4o"} == {scope.key for scope in scopes}


def test_a_quota_is_cut_at_its_moment_and_raised_by_hand():
    changes = [QuotaChange(at=0.3, rpm=0)]
    with FakeProvider(rpm=1_000_000, changes=changes) as provider, make_client(provider) as client:
        report = _until(provider, lambda report: report.refused == 1, step=lambda: _tried(client))
        provider.set_limits("gpt-*", rpm=60_000)  # a thousand a second refill it at once
        time.sleep(0.05)
        chat(client)
    assert report.timeline[-1].at - report.started >= 0.3
    assert all(entry.at - report.started < 0.3 for entry in report.timeline[:-1])


def test_calls_at_once_beyond_the_limit_are_refused():
    async def two(url):
        async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
            return await asyncio.gather(chat(client), chat(client), return_exceptions=True)

    with FakeProvider(concurrency=1, latency=1.0) as provider:
        answers = asyncio.run(two(provider.openai_url))
    assert sorted(type(answer).__name__ for answer in answers) == ["ChatCompletion", "RateLimitError"]
