"""What a failure means, from Bedrock and the smaller providers, through litellm, and from HTTP clients alone."""

import pytest
from shapes import (
    NOW,
    PER_DAY,
    TO_PACIFIC_MIDNIGHT,
    TO_UTC_MIDNIGHT,
    TPM,
    aiohttp,
    bedrock,
    cases,
    exhausted,
    groq,
    is_kind,
    limited,
    litellm,
    mistral,
    openai,
    openai_amid_stream,
    openrouter,
    raw,
    urllib,
)

from ratekeeper.providers.failure import classify

MISTRAL = {
    "object": "error",
    "message": "Rate limit exceeded",
    "type": "rate_limited",
    "code": "1300",
    "raw_status_code": 429,
}

BEDROCK = {
    "throttled": (
        bedrock("ThrottlingException", 429, "Too many tokens, please wait before trying again."),
        limited("tokens"),
    ),
    "throttled, told how long": (
        bedrock("ThrottlingException", 429, "Too many requests", {"x-amz-retry-after": "1500"}),
        limited(None, None, 1.5),
    ),
    "tokens per day": (
        bedrock("ThrottlingException", 429, "Too many tokens per day, please wait before trying again."),
        is_kind("rate_limit", retryable=False, dimension="tokens", per="day"),
    ),
    "model not ready": (bedrock("ModelNotReadyException", 429), is_kind("overload", retryable=True)),
    "account quota": (bedrock("ServiceQuotaExceededException", 400), exhausted(status=400)),
    "unavailable": (bedrock("ServiceUnavailableException", 503), is_kind("overload", retryable=True)),
    "model timeout": (
        bedrock("ModelTimeoutException", 408),
        is_kind("timeout", retryable=True, reached="unknown"),
    ),
    "model error": (
        bedrock("ModelErrorException", 424),
        is_kind("server_error", retryable=True, reached="unknown"),
    ),
    "internal": (bedrock("InternalServerException", 500), is_kind("server_error", retryable=True)),
    "validation": (bedrock("ValidationException", 400, "malformed"), is_kind("bad_request", retryable=False)),
    "too long": (
        bedrock("ValidationException", 400, "Input is too long."),
        is_kind("too_large", retryable=False),
    ),
    "denied": (bedrock("AccessDeniedException", 403), is_kind("auth", retryable=False)),
    "throttled amid a stream": (bedrock("throttlingException", None), limited()),
}
OTHERS = {
    "Groq, tokens per minute": (
        groq(429, "on tokens per minute (TPM): Limit 6000, Used 5034, Requested 943. Please try again in 4.77s."),
        limited("tokens", "minute", 4.77),
    ),
    "Groq, tokens per day": (
        groq(429, "on tokens per day (TPD): Limit 100000, Used 97050, Requested 2619. Please try again in 9m38.016s."),
        limited("tokens", "day", 578.016),
    ),
    "Groq, requests per day": (
        groq(429, "on requests per day (RPD): Limit 1000, Used 1000.", kind="requests", headers={"retry-after": "7200"}),
        is_kind("rate_limit", retryable=False, dimension="requests", per="day", retry_after=7200.0),
    ),
    "Groq, too large": (
        groq(413, "Request too large on tokens per minute (TPM): Limit 6000, Requested 6294, please reduce"),
        is_kind("too_large", retryable=False, dimension="tokens"),
    ),
    "Mistral": (mistral(429, MISTRAL), limited()),
    "Mistral, told how long": (mistral(429, MISTRAL, headers={"Retry-After": "3"}), limited(None, None, 3.0)),
    "Mistral's monthly cap": (
        mistral(429, {**MISTRAL, "message": "Monthly token limit exceeded"}),
        exhausted(),
    ),
    "DeepSeek's balance": (openai(402, "Insufficient Balance"), exhausted(status=402)),
    "DeepSeek overloaded": (openai(503, "Server overloaded"), is_kind("overload", retryable=True)),
    "Cohere, trial per minute": (
        raw(429, {"message": "You are using a Trial key, which is limited to 20 API calls / minute."}),
        limited("requests", "minute"),
    ),
    "Cohere, trial per month": (
        raw(429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}),
        exhausted(per="month"),
    ),
    "OpenRouter's credits": (openrouter(402, "This request requires more credits"), exhausted()),
    "OpenRouter's free day": (
        openrouter(
            429,
            "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
            metadata={
                "headers": {
                    "X-RateLimit-Limit": "50",
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": str(int((NOW + TO_UTC_MIDNIGHT) * 1000)),
                }
            },
        ),
        is_kind(
            "rate_limit",
            retryable=False,
            dimension="requests",
            per="day",
            until=NOW + TO_UTC_MIDNIGHT,
            retry_after=TO_UTC_MIDNIGHT,
        ),
    ),
    "OpenRouter's free minute": (
        openrouter(
            429,
            "Rate limit exceeded: free-models-per-min.",
            headers={
                "X-RateLimit-Limit": "20",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(int((NOW + 14) * 1000)),
            },
        ),
        limited("requests", "minute", 14.0),
    ),
    "OpenRouter's upstream": (
        openrouter(429, "Provider returned error", metadata={"provider_code": 429, "raw": "rate-limited upstream"}),
        limited(),
    ),
    "OpenRouter amid a stream": (
        openai_amid_stream({"code": 502, "message": "Provider disconnected"}),
        is_kind("server_error", retryable=True, status=None, reached="unknown"),
    ),
    "OpenRouter's 429 amid a stream": (
        openai_amid_stream({"code": "429", "message": "Provider returned error"}),
        {**limited(), "reached": "unknown"},
    ),
    "Ollama's queue": (raw(503, {"error": "server busy, please try again. maximum pending requests exceeded"}),
                       is_kind("overload", retryable=True)),
}  # fmt: skip
LITELLM = {
    "headers elsewhere": (
        litellm(429, f"RateLimitError: OpenAIException - {TPM}", headers={"retry-after": "6"}),
        limited("tokens", "minute", 6.0),
    ),
    "insufficient_quota in the text": (
        litellm(
            429,
            "RateLimitError: OpenAIException - Error code: 429 - {'error': {'code': 'insufficient_quota'}}",
        ),
        exhausted(),
    ),
    "Anthropic's spend cap in the text": (
        litellm(
            429, 'AnthropicException - {"error":{"details":{"error_code":"enforced_spend_limit_reached"}}}'
        ),
        exhausted(per="month"),
    ),
    "Anthropic's 529": (
        litellm(
            500, 'AnthropicException - {"error":{"type":"overloaded_error"}}', name="InternalServerError"
        ),
        is_kind("overload", retryable=True),
    ),
    "request too large": (
        litellm(
            429,
            "OpenAIException - Request too large for gpt-4o on tokens per min (TPM): Limit 1, Requested 2.",
        ),
        is_kind("too_large", retryable=False),
    ),
    "Gemini's day in the text": (
        litellm(
            429,
            f'VertexAIException - {{"details": [{{"quotaId": "{PER_DAY}"}}], "status": "RESOURCE_EXHAUSTED"}}',
        ),
        is_kind("rate_limit", retryable=False, per="day", until=NOW + TO_PACIFIC_MIDNIGHT),
    ),
    "Gemini's delay in the text": (
        litellm(429, '{"status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "37s"}]}'),
        limited(None, None, 37.0),
    ),
    "context": (litellm(400, "x", name="ContextWindowExceededError"), is_kind("too_large", retryable=False)),
    "payment": (litellm(402, "x", name="PaymentRequiredError"), exhausted()),
}
RAW = {
    "httpx with a body": (
        raw(429, {"error": {"code": "rate_limit_exceeded", "type": "tokens"}}, {"retry-after": "2"}),
        limited("tokens", None, 2.0),
    ),
    "httpx and insufficient_quota": (raw(429, {"error": {"code": "insufficient_quota"}}), exhausted()),
    "urllib": (urllib(429, {"Retry-After": "4"}), limited(None, None, 4.0)),
    "aiohttp": (aiohttp(503), is_kind("overload", retryable=True)),
    "a date": (raw(429, headers={"Retry-After": "Sat, 21 Nov 2026 09:00:30 GMT"}), limited(None, None, 30.0)),
    "a date that is past": (raw(503, headers={"Retry-After": "Sat, 21 Nov 2026 08:00:30 GMT"}),
                            is_kind("overload", retryable=True, retry_after=0.0)),
    "a negative Retry-After": (raw(429, headers={"Retry-After": "-5"}), limited()),
    "garbage": (raw(429, headers={"Retry-After": "soon", "retry-after-ms": "NaN"}), limited()),
    "an hour": (raw(429, headers={"Retry-After": "3600"}), limited(None, None, 3600.0)),
    "more than an hour": (raw(429, headers={"Retry-After": "3601"}),
                          is_kind("rate_limit", retryable=False, retry_after=3601.0)),
    "a wait of years": (raw(429, headers={"Retry-After": "4294967"}), limited()),
}  # fmt: skip


@cases(Bedrock=BEDROCK, others=OTHERS, litellm=LITELLM, raw=RAW)
def test_a_failure_means_what_its_provider_says_it_means(error, expected):
    failure = classify(error, now=NOW)
    assert {name: getattr(failure, name) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 415, 422])
def test_a_request_refused_for_what_it_is_is_sent_once_whatever_its_retry_after(status):
    failure = classify(raw(status, headers={"retry-after": "1"}), now=NOW)
    assert not failure.is_retryable
    assert failure.retry_after is None
    assert failure.reached == "rejected"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
def test_a_failure_of_the_server_may_be_tried_again(status):
    failure = classify(raw(status), now=NOW)
    assert failure.is_retryable
    assert failure.status == status
    assert str(status) in failure.reason
