"""What the fake provider's vendors say of limits and refusals, in virtual time."""

from __future__ import annotations

import pytest

from ratekeeper.testing.limits import Limits, QuotaChange
from ratekeeper.testing.quotas import Account
from ratekeeper.testing.usage import Prompt, Usage
from ratekeeper.testing.wire.anthropic import Anthropic
from ratekeeper.testing.wire.azure import Azure, AzureUnknown
from ratekeeper.testing.wire.bedrock import Bedrock, burndown
from ratekeeper.testing.wire.call import Call, Problem
from ratekeeper.testing.wire.gemini import Gemini
from ratekeeper.testing.wire.groq import Groq
from ratekeeper.testing.wire.mistral import Mistral
from ratekeeper.testing.wire.openai import OpenAI

VENDORS = [OpenAI, Azure, AzureUnknown, Anthropic, Groq, Mistral, Gemini, Bedrock]


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


@pytest.mark.parametrize(
    ("dimension", "quota", "metric"),
    [
        ("rpm", "GenerateRequestsPerMinutePerProjectPerModel", "generate_requests_per_model"),
        ("rpd", "GenerateRequestsPerDayPerProjectPerModel", "generate_requests_per_model_per_day"),
        (
            "tpm",
            "GenerateContentPaidTierInputTokensPerModelPerMinute",
            "generate_content_paid_tier_input_token_count",
        ),
    ],
)
def test_gemini_refuses_with_the_quotas_name_its_value_and_the_wait_in_the_body(dimension, quota, metric):
    own = account(Gemini(), **{dimension: 60})
    own.admit({"requests": 60, "tokens": 60}, 0.0)
    problem, status, body = refused(Gemini(), own, {"requests": 1, "tokens": 1})
    error = body["error"]
    assert (status, error["code"], error["status"]) == (429, 429, "RESOURCE_EXHAUSTED")
    failed, _, retry = error["details"]
    assert failed["violations"] == [
        {
            "quotaMetric": f"generativelanguage.googleapis.com/{metric}",
            "quotaId": quota,
            "quotaDimensions": {"location": "global", "model": "m"},
            "quotaValue": "60",
        }
    ]
    wait = {"rpm": "1s", "rpd": "1440s", "tpm": "1s"}[dimension]
    assert retry["retryDelay"] == wait
    assert error["message"].endswith(f"Please retry in {wait}.")
    assert Gemini().retry_headers(problem) == Gemini().limit_headers(own, 0.0, 0.0) == {}


def test_gemini_without_a_wait_to_name_sends_no_retry_info():
    _, body = Gemini().error(Problem("rate_limit"), "m", 1)
    assert "details" not in body["error"]
    _, body = Gemini().error(Problem("insufficient_quota"), "m", 1)
    assert "limit: 0" in body["error"]["message"]
    assert [detail["@type"].rpartition(".")[2] for detail in body["error"]["details"]] == [
        "QuotaFailure",
        "Help",
    ]


def test_geminis_key_stands_in_a_header_or_in_the_query():
    assert Gemini().key({"x-goog-api-key": "one", ":path": "/v1beta/models/m?key=two"}) == "one"
    assert Gemini().key({":path": "/v1beta/models/m:generateContent?alt=sse&key=two"}) == "two"
    assert Gemini().key({":path": "/v1beta/models/m?alt=sse"}) is None


def test_gemini_counts_the_prompt_and_no_output():
    call = Call(model="m", prompt=Prompt(chars=400), max_tokens=10_000)
    assert Gemini().amounts(call)["tokens"] == 100
    assert Gemini().settled(call, Usage(120, 5000, cached=50)) == 120


@pytest.mark.parametrize(
    ("authorization", "key"),
    [
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/bedrock/aws4_request, Signature=0",
            "AKIDEXAMPLE",
        ),
        ("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-east-1/s3/aws4_request, Signature=0", None),
        ("Bearer bedrock-api-key", "bedrock-api-key"),
        ("", None),
    ],
)
def test_bedrocks_key_is_the_access_key_id_of_the_signature_or_its_api_key(authorization, key):
    assert Bedrock().key({"authorization": authorization}) == key


@pytest.mark.parametrize(
    ("model", "times"),
    [
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", 1),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", 5),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", 5),
        ("global.anthropic.claude-opus-4-7", 5),
        ("anthropic.claude-opus-4-8", 15),
        ("anthropic.claude-sonnet-5", 10),
        ("amazon.nova-lite-v1:0", 1),
    ],
)
def test_output_counts_on_bedrock_as_often_as_the_model_says(model, times):
    call = Call(model=model, prompt=Prompt(chars=400), max_tokens=1000)
    assert burndown(model) == times
    assert Bedrock().amounts(call)["tokens"] == 1100
    assert Bedrock().settled(call, Usage(100, 20, cached=60, cache_write=30)) == 40 + times * 20
    unnamed = Call(model=model, prompt=Prompt(chars=400))
    assert Bedrock().amounts(unnamed)["tokens"] == 100 + (64_000 if times > 1 else 4_096)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"rpm": 1}, "Too many requests, please wait before trying again."),
        ({"rpd": 1}, "Too many requests per day, please wait before trying again."),
        ({"tpm": 1}, "Too many tokens, please wait before trying again."),
    ],
)
def test_bedrock_says_of_what_there_are_too_many_and_names_no_wait(limits, message):
    own = account(Bedrock(), **limits)
    own.admit({"requests": 1, "tokens": 1}, 0.0)
    problem, status, body = refused(Bedrock(), own, {"requests": 1, "tokens": 1})
    assert (status, body) == (429, {"message": message})
    assert Bedrock().error_headers(problem)["x-amzn-ErrorType"].startswith("ThrottlingException:")
    assert problem.retry_after is not None
    assert Bedrock().retry_headers(problem) == Bedrock().limit_headers(own, 0.0, 0.0) == {}
    named = Problem("unavailable", retry_after=1.5)
    assert Bedrock().retry_headers(named) == {"x-amz-retry-after": "1500"}
