"""Limits as clients of each vendor meet them: what headers and refusals say, and who else uses the key."""

from __future__ import annotations

import anthropic
import openai
import pytest

from ratekeeper.testing import FakeProvider, Fault, QuotaChange

MESSAGES = [{"role": "user", "content": "Hello there"}]


def make_client(provider, url=None, **more):
    return openai.OpenAI(
        **{"api_key": "sk-one", "base_url": url or provider.openai_url, "max_retries": 0, **more}
    )


def make_azure(provider):
    return openai.AzureOpenAI(
        api_key="key", azure_endpoint=provider.azure_url, api_version="2025-03-01-preview", max_retries=0
    )


def headers_of(client, **more):
    body = {"model": "m", "messages": MESSAGES, **more}
    return client.chat.completions.with_raw_response.create(**body).headers


def refusal_of(client, **more):
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**{"model": "m", "messages": MESSAGES, **more})
    return refused.value


def about_limits(headers):
    return {name for name in headers if "ratelimit" in name or "retry" in name}


def test_azures_responses_api_tells_nothing_and_its_chat_api_still_does():
    with FakeProvider(rpm=1, tpm=1000, azure_unknown=True) as provider, make_azure(provider) as client:
        raw = client.responses.with_raw_response.create(model="d", input="Hello")
        with pytest.raises(openai.RateLimitError) as refused:
            client.responses.create(model="d", input="Hello")
        assert headers_of(client, model="other")["x-ratelimit-limit-tokens"] == "1000"
    for headers in (raw.headers, refused.value.response.headers):
        for name in ("requests", "tokens"):
            assert headers[f"x-ratelimit-limit-{name}"] == headers[f"x-ratelimit-remaining-{name}"] == "-1"
            assert headers[f"x-ratelimit-reset-{name}"] == "0"
        assert not [name for name in headers if "retry" in name]


def test_azures_temporary_adjustment_shows_in_the_headers_of_the_next_answer():
    with FakeProvider(tpm=1000) as provider, make_azure(provider) as client:
        assert headers_of(client)["x-ratelimit-limit-tokens"] == "1000"
        provider.set_limits(tpm=400)
        headers = headers_of(client)
    assert headers["x-ratelimit-limit-tokens"] == "400"
    assert headers["x-ratelimit-remaining-tokens"] == str(400 - 2 * 3)


def test_a_limit_cut_by_plan_shows_in_the_headers_too():
    changes = [QuotaChange(at=0.0, tpm=400, project_tpm=300)]
    with FakeProvider(tpm=1000, changes=changes) as provider, make_client(provider) as client:
        headers = headers_of(client)
    assert headers["x-ratelimit-limit-tokens"] == "400"
    assert headers["x-ratelimit-limit-project-tokens"] == "300"


def test_a_projects_limit_refuses_where_the_organisation_has_room():
    limits = {"tpm": 10_000, "project_tpm": 1000, "algorithm": "fixed_window"}
    with FakeProvider(**limits) as provider, make_client(provider) as client:
        headers = headers_of(client, max_tokens=900)
        error = refusal_of(client, max_tokens=900)
    assert headers["x-ratelimit-remaining-tokens"] == "9100"
    assert headers["x-ratelimit-remaining-project-tokens"] == "100"
    assert "Limit 1000, Used 900, Requested 900" in error.message
    assert error.response.headers["x-ratelimit-remaining-tokens"] == "9100"
    assert 0 < int(error.response.headers["retry-after"]) <= 60


def test_growing_too_fast_is_told_by_openai_and_anthropic_in_their_own_words():
    faults = [
        Fault(kind="slow_down", model="gpt*", retry_after=2),
        Fault(kind="ramp_limit", model="claude*", retry_after=7),
    ]
    with FakeProvider(faults=faults) as provider:
        with make_client(provider) as client:
            error = refusal_of(client, model="gpt-4o")
        with (
            anthropic.Anthropic(api_key="k", base_url=provider.anthropic_url, max_retries=0) as client,
            pytest.raises(anthropic.RateLimitError) as refused,
        ):
            client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=MESSAGES)
        entries = provider.report().timeline
    assert (error.type, error.code, error.response.headers["retry-after"]) == (
        "rate_limit_error",
        "slow_down",
        "2",
    )
    assert refused.value.body["error"]["details"]["error_code"] == "ramp_limit_exceeded"
    assert refused.value.response.headers["retry-after"] == "7"
    assert [(entry.status, entry.retry_after) for entry in entries] == [(429, 2), (429, 7)]


def test_groq_answers_under_its_own_path_with_daily_requests():
    limits = {"rpd": 14_400, "tpm": 6000, "algorithm": "fixed_window"}
    with FakeProvider(**limits, output_tokens=100) as provider:
        with make_client(provider, provider.groq_url) as client:
            first = headers_of(client)
            list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
            second = headers_of(client)
        report = provider.report()
    assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-remaining-requests"]) == (
        "14400",
        "14399",
    )
    assert second["x-ratelimit-remaining-requests"] == "14397"
    assert first["x-ratelimit-reset-requests"].startswith(("23h59m", "24h0m"))
    assert first["x-ratelimit-limit-tokens"] == "6000"
    used = sum(entry.input + entry.output for entry in report.timeline)
    assert second["x-ratelimit-remaining-tokens"] == str(6000 - used)
    assert not [name for name in second if "retry" in name]


def test_groq_names_the_wait_with_a_429():
    with FakeProvider(rpd=1) as provider, make_client(provider, provider.groq_url) as client:
        headers_of(client)
        error = refusal_of(client)
        entry = provider.report().timeline[-1]
    assert 86_300 < int(error.response.headers["retry-after"]) <= 86_400
    assert 86_300 < entry.retry_after <= 86_400
    assert "requests per day (RPD)" in error.message


def test_mistral_answers_under_its_own_path_without_resets():
    limits = {"rpm": 1, "tpm": 6000, "algorithm": "fixed_window"}
    with FakeProvider(**limits) as provider, make_client(provider, provider.mistral_url) as client:
        headers = headers_of(client)
        error = refusal_of(client)
    assert (headers["x-ratelimit-limit-req-minute"], headers["x-ratelimit-remaining-req-minute"]) == (
        "1",
        "0",
    )
    assert headers["x-ratelimit-remaining-tokens-minute"] == str(6000 - 9 - 32)
    assert not [name for name in headers if "reset" in name]
    assert error.response.json()["raw_status_code"] == 429


@pytest.mark.parametrize(("share", "counted"), [(0.0, 106), (1.0, 0)])
def test_cached_tokens_are_free_at_groq_and_count_at_mistral(share, counted):
    settings = {"tpm": 10_000, "output_tokens": 1, "cached_share": share, "algorithm": "sliding_window"}
    messages = [{"role": "user", "content": "x" * 400}]
    with FakeProvider(**settings) as provider:
        left = []
        for url in (provider.groq_url, provider.mistral_url):
            with make_client(provider, url) as client:
                left.append(int(_tokens_left(headers_of(client, model=url, messages=messages))))
    assert left == [10_000 - counted - 1, 10_000 - 106 - 1]


def _tokens_left(headers):
    return headers.get("x-ratelimit-remaining-tokens") or headers["x-ratelimit-remaining-tokens-minute"]


@pytest.mark.parametrize("process", [False, True])
def test_somebody_elses_use_is_missing_from_what_is_left_and_from_the_report(process):
    limits = {"rpm": 100, "tpm": 10_000, "algorithm": "sliding_window"}
    with FakeProvider(**limits, process=process) as provider, make_client(provider) as client:
        headers_of(client)
        provider.use("m", key="sk-one", requests=50, tokens=2000)
        provider.use("m", key="sk-two", requests=7)
        headers = headers_of(client)
        provider.use(requests=10)
        fresh = headers_of(client, model="new")
        report = provider.report()
    assert headers["x-ratelimit-remaining-requests"] == "48"
    assert headers["x-ratelimit-remaining-tokens"] == str(10_000 - 2000 - 2 * 3)
    assert fresh["x-ratelimit-remaining-requests"] == "89"
    assert report.requests == 3


def test_a_use_of_a_negative_amount_is_an_error_before_anything_is_asked():
    with FakeProvider(rpm=1) as provider, pytest.raises(ValueError, match="requests must be at least 0"):
        provider.use(requests=-1)


@pytest.mark.parametrize("vendor", ["openai", "azure", "groq", "mistral"])
def test_without_headers_and_hints_nothing_tells_how_long_to_wait(vendor):
    with FakeProvider(rpm=1, headers=False, hints=False) as provider:
        urls = {
            "openai": provider.openai_url,
            "azure": f"{provider.azure_url}/openai/v1",
            "groq": provider.groq_url,
            "mistral": provider.mistral_url,
        }
        with make_client(provider, urls[vendor]) as client:
            headers_of(client)
            error = refusal_of(client)
        entry = provider.report().timeline[-1]
    assert not about_limits(error.response.headers)
    for word in ("again", "retry", "seconds", "wait"):
        assert word not in error.response.text.lower()
    assert 30 < entry.retry_after <= 60  # the test may know


def test_without_hints_alone_the_limit_headers_stay():
    with FakeProvider(rpm=1, hints=False) as provider, make_client(provider) as client:
        headers_of(client)
        error = refusal_of(client)
    assert about_limits(error.response.headers) == {
        f"x-ratelimit-{part}-requests" for part in ("limit", "remaining", "reset")
    }
    assert "again" not in error.message


def test_the_report_tells_when_requests_came():
    with FakeProvider() as provider, make_client(provider) as client:
        for _ in range(3):
            headers_of(client)
        report = provider.report()
    assert report.arrivals() == sorted(report.arrivals())
    assert len(report.arrivals("m", status=200)) == 3
    assert report.arrivals()[0] + sum(report.gaps()) == pytest.approx(report.arrivals()[-1])
    assert report.arrivals()[-1] <= report.now - report.started
    assert {entry.retry_after for entry in report.timeline} == {None}
