"""What the fake provider's vendors say of limits and refusals, in virtual time."""

from __future__ import annotations

import pytest

from ratekeeper.testing.limits import Limits, QuotaChange
from ratekeeper.testing.quotas import Account
from ratekeeper.testing.usage import Prompt
from ratekeeper.testing.wire.anthropic import Anthropic
from ratekeeper.testing.wire.azure import Azure, AzureUnknown
from ratekeeper.testing.wire.call import Call, Problem
from ratekeeper.testing.wire.groq import Groq
from ratekeeper.testing.wire.mistral import Mistral
from ratekeeper.testing.wire.openai import OpenAI

VENDORS = [OpenAI, Azure, AzureUnknown, Anthropic, Groq, Mistral]


def account(vendor, **limits):
    made = Account(Limits(**limits), vendor.algorithm)
    made.apply(made.limits, 0.0)
    return made


def told(vendor, own, now=0.0):
    return {
        name.removeprefix("x-ratelimit-"): value
        for name, value in vendor.limit_headers(own, now, now).items()
    }


def refused(vendor, own, amounts, now=0.0):
    """The problem that the exchange would make of it, status and body."""
    refusal = own.admit(amounts, now)
    problem = Problem("rate_limit", retry_after=refusal.retry_after, refusal=refusal)
    return problem, *vendor.error(problem, "m", 1)


def test_openai_tells_the_projects_tokens_beside_the_organisations():
    own = account(OpenAI(), rpm=60, tpm=6000, project_tpm=600)
    own.admit({"requests": 1, "tokens": 500}, 0.0)
    headers = told(OpenAI(), own)
    assert (headers["limit-tokens"], headers["remaining-tokens"], headers["reset-tokens"]) == (
        "6000",
        "5500",
        "5s",
    )
    assert headers["limit-project-tokens"] == "600"
    assert headers["remaining-project-tokens"] == "100"
    assert headers["reset-project-tokens"] == "50s"


def test_a_refusal_for_the_projects_sake_names_the_projects_numbers():
    own = account(OpenAI(), tpm=6000, project_tpm=600)
    own.admit({"requests": 1, "tokens": 500}, 0.0)
    problem, status, body = refused(OpenAI(), own, {"requests": 1, "tokens": 200})
    assert (status, body["error"]["type"], body["error"]["code"]) == (429, "tokens", "rate_limit_exceeded")
    for part in (
        "project",
        "on tokens per min (TPM)",
        "Limit 600, Used 500, Requested 200",
        "try again in 10s",
    ):
        assert part in body["error"]["message"]
    assert OpenAI().retry_headers(problem) == {"retry-after": "10", "retry-after-ms": "10000"}


def test_openai_says_slow_down_in_its_code_and_anthropic_ramp_limit_in_its_details():
    status, body = OpenAI().error(Problem("slow_down"), "m", 1)
    assert (status, body["error"]["type"], body["error"]["code"]) == (429, "rate_limit_error", "slow_down")
    problem = Problem("ramp_limit", retry_after=6.2)
    status, body = Anthropic().error(problem, "m", 1)
    assert (status, body["error"]["type"]) == (429, "rate_limit_error")
    assert body["error"]["details"] == {"error_code": "ramp_limit_exceeded"}
    assert Anthropic().retry_headers(problem) == {"retry-after": "7"}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("kind", ["slow_down", "ramp_limit"])
def test_who_has_no_word_for_growing_too_fast_refuses_as_ever(vendor, kind):
    status, body = vendor().error(Problem(kind), "m", 1)
    assert status == 429
    if (vendor, kind) not in [(Anthropic, "ramp_limit")] and kind == "ramp_limit":
        assert body == vendor().error(Problem("rate_limit"), "m", 1)[1]


def test_azure_tells_nothing_of_a_project_and_after_an_adjustment_the_lowered_limit():
    own = account(Azure(), tpm=1000, project_tpm=500)
    own.admit({"requests": 1, "tokens": 200}, 0.0)
    own.apply(own.limits.changed_by(QuotaChange(tpm=300)), 1.0)
    assert told(Azure(), own, 1.0) == {"limit-tokens": "300", "remaining-tokens": "100", "reset-tokens": "59"}


def test_azures_unknown_limits_are_minus_one_and_it_names_no_wait_in_headers():
    own = account(AzureUnknown(), rpm=10, tpm=1000)
    headers = told(AzureUnknown(), own)
    assert headers == {
        f"{part}-{name}": "0" if part == "reset" else "-1"
        for part in ("limit", "remaining", "reset")
        for name in ("requests", "tokens")
    }
    assert AzureUnknown().retry_headers(Problem("rate_limit", retry_after=3.0)) == {}


def test_groq_tells_requests_of_the_day_and_tokens_of_the_minute():
    own = account(Groq(), rpm=1000, rpd=14_400, tpm=18_000)
    own.admit({"requests": 30, "tokens": 3}, 0.0)
    assert told(Groq(), own, 0.44) == {
        "limit-requests": "14400",
        "remaining-requests": "14370",
        "reset-requests": "2m59.56s",
        "limit-tokens": "18000",
        "remaining-tokens": "18000",
        "reset-tokens": "0s",
    }


def test_groq_refuses_a_days_requests_with_the_day_in_its_words_and_a_retry_header_only_with_a_429():
    own = account(Groq(), rpd=10)
    own.admit({"requests": 10}, 0.0)
    problem, status, body = refused(Groq(), own, {"requests": 1})
    assert status == 429
    assert "on requests per day (RPD): Limit 10, Used 10, Requested 1" in body["error"]["message"]
    assert "2h24m0s" in body["error"]["message"]
    assert Groq().retry_headers(problem) == {"retry-after": "8640"}
    assert Groq().retry_headers(Problem("unavailable", retry_after=5.0)) == {}
    assert "param" not in body["error"]


def test_mistral_names_the_minute_in_its_headers_and_not_what_ran_out_in_its_429():
    own = account(Mistral(), rpm=60, tpm=6000)
    own.admit({"requests": 60, "tokens": 1000}, 0.0)
    assert told(Mistral(), own) == {
        "limit-req-minute": "60",
        "remaining-req-minute": "0",
        "limit-tokens-minute": "6000",
        "remaining-tokens-minute": "5000",
    }
    problem, status, body = refused(Mistral(), own, {"requests": 1})
    assert status == 429
    assert body == {
        "object": "error",
        "message": "Rate limit exceeded",
        "type": "rate_limited",
        "code": "1300",
        "raw_status_code": 429,
    }
    assert Mistral().retry_headers(problem) == {"retry-after": "1"}


@pytest.mark.parametrize("vendor", [Groq, Mistral])
def test_max_tokens_plays_no_part_where_nobody_documented_that_it_does(vendor):
    call = Call(model="m", prompt=Prompt(chars=400), max_tokens=10_000)
    assert vendor().amounts(call)["tokens"] == 100


def test_anthropic_says_of_which_day_or_minute_a_limit_is():
    own = account(Anthropic(), rpd=1, itpm=1000)
    own.admit({"requests": 1, "input": 1}, 0.0)
    _, _, body = refused(Anthropic(), own, {"requests": 1, "input": 1})
    assert "1 requests per day" in body["error"]["message"]
    assert not [
        name for name in Anthropic().limit_headers(own, 0.0, 0.0) if "daily" in name or "-requests" in name
    ]
