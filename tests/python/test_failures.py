"""What a failure means, for every kind that OpenAI, Azure, Anthropic and Google are known to have."""

import pytest
from shapes import (
    HOUR,
    NOW,
    PER_DAY,
    TO_DECEMBER,
    TO_PACIFIC_MIDNIGHT,
    TPM,
    anthropic,
    cases,
    exhausted,
    gemini,
    groq,
    is_kind,
    limited,
    openai,
    openai_amid_stream,
    quota_failure,
    retry_info,
)

from ratekeeper.providers.failure import classify

VISIT = "Visit https://platform.openai.com/account/rate-limits to learn more. Add a payment method at .../account/billing."
EXCEEDED = "You exceeded your current quota, please check your plan and billing details."
GEMINI = f"{EXCEEDED} For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
PER_MINUTE = "GenerateContentInputTokensPerModelPerMinute-FreeTier"
SPENT = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_usage_limit_exceeded",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "billing_hard_limit_reached",
)
ANTHROPIC_SPENT = (
    "contract_spend_limit_reached",
    "organization_on_hold",
    "linked_organization_billing_unavailable",
    "linked_organization_spend_limit_reached",
)

OPENAI = {
    "tokens per minute": (
        openai(429, f"{TPM} Please try again in 6s. {VISIT}", code="rate_limit_exceeded", kind="tokens"),
        limited("tokens", "minute", 6.0),
    ),
    "the header before the message": (
        openai(429, f"{TPM} Please try again in 6s.", headers={"retry-after-ms": "5300", "retry-after": "6"}),
        limited("tokens", "minute", 5.3),
    ),
    "retry-after alone": (openai(429, TPM, headers={"Retry-After": "12"}), limited("tokens", "minute", 12.0)),
    "the type is all there is": (openai(429, "Rate limit reached.", kind="requests"), limited("requests")),
    "requests per day that come back in minutes": (
        openai(
            429, "on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s."
        ),
        limited("requests", "day", 432.0),
    ),
    "requests per day that come back tomorrow": (
        openai(
            429, "on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7h12m0s."
        ),
        is_kind("rate_limit", retryable=False, per="day", retry_after=25_920.0),
    ),
    "images per minute": (
        openai(429, "Rate limit reached for images per minute (IPM): Limit 5. Please try again in 12s."),
        limited("images", "minute", 12.0),
    ),
    "the reset of what has run out": (
        openai(
            429,
            headers={
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "12",
                "x-ratelimit-reset-requests": "6m0s",
                "x-ratelimit-limit-tokens": "30000",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "59.99s",
            },
        ),
        limited("tokens", "minute", 59.99),
    ),
    "acceleration": (openai(429, "Slow down", code="slow_down", kind="rate_limit_error"), limited()),
    "acceleration as it was": (openai(503, "Slow down", code="slow_down"), limited()),
    "overloaded": (
        openai(
            503, "The engine is currently overloaded, please try again later", code="server_is_overloaded"
        ),
        is_kind("overload", retryable=True, retry_after=None),
    ),
    "a 500": (openai(500, "The server had an error"), is_kind("server_error", retryable=True, status=500)),
    "a 429 that says it is overloaded": (
        openai(429, "The engine is currently overloaded", kind="engine_overloaded_error"),
        is_kind("overload", retryable=True),
    ),
    "request too large": (
        openai(
            429,
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000. The input or output "
            "tokens must be reduced in order to run successfully.",
            code="rate_limit_exceeded",
            kind="tokens",
        ),
        is_kind("too_large", retryable=False, dimension="tokens", retry_after=None),
    ),
    "more asked than the limit holds, though it says when": (
        groq(
            429,
            "on tokens per minute (TPM): Limit 7000, Used 0, Requested ~12903. Please try again in 50.5s.",
        ),
        is_kind("too_large", retryable=False),
    ),
    "context": (
        openai(400, "This model's maximum context length is 128000 tokens.", code="context_length_exceeded"),
        is_kind("too_large", retryable=False, reached="rejected"),
    ),
    **{
        f"{code} as code": (
            openai(429, EXCEEDED, code=code, kind="insufficient_quota"),
            exhausted(status=429),
        )
        for code in SPENT
    },
    "insufficient_quota as type alone": (openai(429, "x", kind="insufficient_quota"), exhausted()),
    "insufficient_quota in words alone": (openai(429, EXCEEDED), exhausted()),
    "told not to retry": (
        openai(429, TPM, headers={"x-should-retry": "false", "retry-after": "1"}),
        is_kind("rate_limit", retryable=False),
    ),
    "told to retry": (
        openai(400, headers={"x-should-retry": "true"}),
        is_kind("bad_request", retryable=True),
    ),
    "told to retry without a chance": (
        openai(429, EXCEEDED, code="insufficient_quota", headers={"x-should-retry": "true"}),
        exhausted(),
    ),
    "a lock": (openai(409), is_kind("server_error", retryable=True)),
    "a timeout of the server": (openai(408), is_kind("timeout", retryable=True)),
    "content filter": (openai(400, code="content_filter"), is_kind("bad_request", retryable=False)),
    "bad key": (openai(401, code="invalid_api_key"), is_kind("auth", retryable=False)),
    "amid a stream": (
        openai_amid_stream(
            {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}
        ),
        {**limited("tokens"), "reached": "unknown", "status": None},
    ),
    "the server's error amid a stream": (
        openai_amid_stream({"message": "The server had an error", "type": "server_error", "code": None}),
        is_kind("server_error", retryable=True),
    ),
}
AZURE = {
    "tokens": (
        openai(
            429,
            "Requests have exceeded the token rate limit of your tier. Please retry after 37 seconds.",
            code="429",
        ),
        limited("tokens", None, 37.0),
    ),
    "calls": (
        openai(
            429,
            "Requests have exceeded the call rate limit of your tier. Please retry after 3 seconds.",
            code="429",
        ),
        limited("requests", None, 3.0),
    ),
    "a day": (
        openai(429, "Please retry after 86400 seconds.", code="429"),
        is_kind("rate_limit", retryable=False, retry_after=86_400.0),
    ),
    "high demand": (
        openai(
            429, "The system is currently experiencing high demand.", code="429", headers={"retry-after": "5"}
        ),
        is_kind("overload", retryable=True, retry_after=5.0),
    ),
    "nothing known": (
        openai(
            429,
            headers={
                "x-ratelimit-limit-tokens": "-1",
                "x-ratelimit-remaining-tokens": "-1",
                "x-ratelimit-reset-tokens": "0",
            },
        ),
        limited(),
    ),
    "no such deployment": (openai(404, code="DeploymentNotFound"), is_kind("bad_request", retryable=False)),
}
ANTHROPIC = {
    "input tokens": (
        anthropic(
            429,
            "rate_limit_error",
            "This request would exceed the rate limit for your organization of 50,000 input tokens per minute.",
            headers={"retry-after": "23"},
        ),
        limited("input_tokens", "minute", 23.0),
    ),
    "requests": (
        anthropic(429, "rate_limit_error", "Number of requests has exceeded your per-minute rate limit"),
        limited("requests", "minute"),
    ),
    "a day's tokens": (
        anthropic(429, "rate_limit_error", "Number of request tokens has exceeded your daily rate limit"),
        is_kind("rate_limit", retryable=False, dimension="tokens", per="day", retry_after=None),
    ),
    "connections": (
        anthropic(429, "rate_limit_error", "Number of concurrent connections has exceeded your rate limit."),
        limited("concurrency"),
    ),
    "acceleration": (
        anthropic(
            429, "rate_limit_error", "x", error_code="ramp_limit_exceeded", headers={"retry-after": "9"}
        ),
        limited(None, None, 9.0),
    ),
    "the tier's monthly spend": (
        anthropic(429, "rate_limit_error", "x", error_code="enforced_spend_limit_reached"),
        exhausted(per="month", until=NOW + TO_DECEMBER),
    ),
    **{
        code: (anthropic(400, "invalid_request_error", "x", error_code=code), exhausted())
        for code in ANTHROPIC_SPENT
    },
    "one's own spend limit": (
        anthropic(
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 2026-11-28 at 06:30 UTC.",
        ),
        exhausted(per="month", until=NOW + 7 * 24 * HOUR - 2.5 * HOUR, reached="rejected"),
    ),
    "the workspace's spend limit": (
        anthropic(
            400, "invalid_request_error", "You have reached your specified workspace API usage limits."
        ),
        exhausted(until=NOW + TO_DECEMBER),
    ),
    "billing": (anthropic(402, "billing_error"), exhausted()),
    "no credit": (
        anthropic(
            400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."
        ),
        exhausted(until=None),
    ),
    "overloaded": (
        anthropic(529, "overloaded_error", "Overloaded"),
        is_kind("overload", retryable=True, status=529),
    ),
    "overloaded amid a stream": (
        anthropic(200, "overloaded_error", "Overloaded"),
        is_kind("overload", retryable=True, status=200, reached="unknown"),
    ),
    "api_error amid a stream": (anthropic(200, "api_error"), is_kind("server_error", retryable=True)),
    "prompt too long": (
        anthropic(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        is_kind("too_large", retryable=False),
    ),
    "request too large": (anthropic(413, "request_too_large"), is_kind("too_large", retryable=False)),
    "permission": (anthropic(403, "permission_error"), is_kind("auth", retryable=False)),
}
GOOGLE = {
    "input tokens per minute": (
        gemini(429, "RESOURCE_EXHAUSTED", GEMINI, [quota_failure(PER_MINUTE), retry_info("37s")]),
        limited("input_tokens", "minute", 37.0),
    ),
    "a fraction": (
        gemini(429, "RESOURCE_EXHAUSTED", GEMINI, [quota_failure(PER_MINUTE), retry_info("26.386536021s")]),
        limited("input_tokens", "minute", 26.386536021),
    ),
    "per day, whatever RetryInfo says": (
        gemini(429, "RESOURCE_EXHAUSTED", GEMINI, [quota_failure(PER_MINUTE, PER_DAY), retry_info("47s")]),
        is_kind(
            "rate_limit",
            retryable=False,
            dimension="requests",
            per="day",
            until=NOW + TO_PACIFIC_MIDNIGHT,
            retry_after=TO_PACIFIC_MIDNIGHT,
        ),
    ),
    "a limit of 0 in prose": (
        gemini(
            429,
            "RESOURCE_EXHAUSTED",
            f"{GEMINI} * Quota exceeded for metric: x, limit: 0\nPlease retry in 37s.",
        ),
        exhausted(),
    ),
    "a limit of 0": (
        gemini(429, "RESOURCE_EXHAUSTED", GEMINI, [quota_failure(PER_MINUTE, value="0"), retry_info("37s")]),
        exhausted(),
    ),
    "a limit that is not 0": (
        gemini(
            429,
            "RESOURCE_EXHAUSTED",
            f"{GEMINI} * Quota exceeded, limit: 10, model: x. Please retry in 8.25s.",
        ),
        limited(None, None, 8.25),
    ),
    "no details": (
        gemini(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
        limited(),
    ),
    "prepaid": (gemini(402, "FAILED_PRECONDITION"), exhausted()),
    "Vertex's shared quota": (
        gemini(429, "RESOURCE_EXHAUSTED", "Resource exhausted, please try again later."),
        is_kind("overload", retryable=True),
    ),
    "Vertex's provisioned throughput": (
        gemini(429, "RESOURCE_EXHAUSTED", "Too many requests. Exceeded the Provisioned Throughput."),
        limited(),
    ),
    "Interactions": (gemini(429, "rate_limit_exceeded"), limited()),
    "unavailable": (
        gemini(503, "UNAVAILABLE", "The model is overloaded."),
        is_kind("overload", retryable=True),
    ),
    "deadline": (gemini(504, "DEADLINE_EXCEEDED"), is_kind("timeout", retryable=True)),
    "bad key": (
        gemini(400, "INVALID_ARGUMENT", "API key not valid.", [{"reason": "API_KEY_INVALID"}]),
        is_kind("auth", retryable=False),
    ),
    "too many tokens": (
        gemini(
            400,
            "INVALID_ARGUMENT",
            "The input token count (2) exceeds the maximum number of tokens allowed (1).",
        ),
        is_kind("too_large", retryable=False),
    ),
}


@cases(OpenAI=OPENAI, Azure=AZURE, Anthropic=ANTHROPIC, Google=GOOGLE)
def test_a_failure_means_what_its_provider_says_it_means(error, expected):
    failure = classify(error, now=NOW)
    assert {name: getattr(failure, name) for name in expected} == pytest.approx(expected)
