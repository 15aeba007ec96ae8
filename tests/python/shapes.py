"""Exceptions in the shapes of the SDKs', without the SDKs: attributes and texts as facts of each one's source.

The real classes are in tests/frameworks/sdks/test_failures.py.
"""

import json
from types import SimpleNamespace

import pytest

#: 2026-11-21 09:00:00 UTC, a Saturday; 01:00 in Los Angeles.
NOW = 1_795_251_600.0
HOUR = 3600.0
TO_PACIFIC_MIDNIGHT = 23 * HOUR
TO_UTC_MIDNIGHT = 15 * HOUR
TO_DECEMBER = 9 * 24 * HOUR + TO_UTC_MIDNIGHT
TPM = "Rate limit reached for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, Used 25000, Requested 8000."
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"


class Headers:
    """As httpx's: items() and get() without case, and no dict."""

    def __init__(self, headers):
        self._raw = [(name.lower(), value) for name, value in (headers or {}).items()]

    def items(self):
        return iter(self._raw)

    def get(self, name, default=None):
        return dict(self._raw).get(name.lower(), default)


def named(name, *bases):
    """A class of that name, as SDKs and HTTP clients call theirs."""
    return type(name, bases or (Exception,), {})


def response(status, headers=None):
    return SimpleNamespace(status_code=status, headers=Headers(headers))


def raised_from(outer, cause):
    outer.__cause__ = cause
    return outer


def openai(status, message="", *, code=None, kind=None, headers=None):
    """openai 2 and 3: `body` is already the inner error; Azure and DeepSeek come through the same SDK."""
    body = {"message": message, "type": kind, "param": None, "code": code}
    error = named("APIStatusError")(f"Error code: {status} - {{'error': {body}}}")
    error.status_code, error.response, error.body = status, response(status, headers), body
    error.code, error.type = code, kind
    return error


def openai_amid_stream(body):
    """openai: an SSE event with an error after the answer began; no status, no response."""
    error = named("APIError")(body.get("message", ""))
    error.body, error.code, error.type = body, body.get("code"), body.get("type")
    return error


def anthropic(status, kind, message="", *, error_code=None, headers=None):
    """anthropic: `body` is the whole one."""
    inner = {"type": kind, "message": message}
    if error_code:
        inner["details"] = {"error_code": error_code}
    body = {"type": "error", "error": inner}
    error = named("APIStatusError")(f"Error code: {status} - {body}")
    error.status_code, error.response, error.body, error.type = status, response(status, headers), body, kind
    return error


def groq(status, message, *, kind="tokens", code="rate_limit_exceeded", headers=None):
    """groq: no `code`, and the whole body."""
    body = {"error": {"message": message, "type": kind, "code": code}}
    error = named("RateLimitError")(f"Error code: {status} - {body}")
    error.status_code, error.response, error.body = status, response(status, headers), body
    return error


def mistral(status, body, *, headers=None):
    """mistralai: `body` is text."""
    text = json.dumps(body)
    error = named("SDKError")(f"API error occurred: Status {status}. Body: {text}")
    error.status_code, error.headers, error.body = status, Headers(headers), text
    error.raw_response = response(status, headers)
    return error


def gemini(code, status, message="", details=()):
    """google-genai: `code` is the HTTP status, `status` the name, `details` the whole body."""
    body = {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    error = named("ClientError", named("APIError"))(f"{code} {status}. {body}")
    error.code, error.status, error.message, error.details = code, status, message, body
    error.response = response(code)
    return error


def quota_failure(*quota_ids, value="10", metric="generate_content_free_tier_requests"):
    metric = f"generativelanguage.googleapis.com/{metric}"
    violations = [{"quotaMetric": metric, "quotaId": name, "quotaValue": value} for name in quota_ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def retry_info(delay):
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def bedrock(code, status, message="", headers=None):
    """botocore's ClientError: `response` is a dict."""
    error = named("ClientError")(f"An error occurred ({code}) when calling the Converse operation: {message}")
    error.response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}, "RetryAttempts": 0},
    }
    error.operation_name = "Converse"
    return error


def openrouter(status, message, *, metadata=None, headers=None):
    """OpenRouter through openai's SDK: `code` is a number."""
    error = openai(status, message, code=status, headers=headers)
    error.body = {"message": message, "code": status, "metadata": metadata or {}}
    return error


def litellm(status, text, *, name="RateLimitError", headers=None):
    """litellm: response without headers, code overwritten, the provider's words in the message alone."""
    error = named(name, named(f"OpenAI{name}"))(f"litellm.{name}: {text}")
    error.status_code, error.response, error.body = status, response(status), None
    error.code, error.type, error.headers = str(status), "throttling_error", None
    error.litellm_response_headers = Headers(headers)
    return error


def raw(status, body=None, headers=None):
    """httpx.HTTPStatusError or requests.HTTPError: the body unparsed, on the response."""
    error = named("HTTPStatusError")(
        f"Client error '{status} Too Many Requests' for url 'https://example.com'"
    )
    error.response = response(status, headers)
    error.response._content = json.dumps(body).encode() if body is not None else b""
    return error


def urllib(status, headers=None):
    """urllib.error.HTTPError: `code` and `headers` on itself."""
    error = named("HTTPError", OSError)(f"HTTP Error {status}")
    error.code, error.headers = status, headers or {}
    return error


def aiohttp(status, headers=None):
    """aiohttp.ClientResponseError: `status`."""
    error = named("ClientResponseError")(f"{status}, message='', url='https://example.com'")
    error.status, error.headers = status, Headers(headers)
    return error


# What `classify` is expected to say of them.


def limited(dimension=None, per=None, retry_after=None):
    return {
        "kind": "rate_limit",
        "dimension": dimension,
        "per": per,
        "retry_after": retry_after,
        "is_retryable": True,
    }


def exhausted(**more):
    return {"kind": "exhausted", "is_retryable": False, "retry_after": None, **more}


def is_kind(kind, *, retryable, **more):
    return {"kind": kind, "is_retryable": retryable, **more}


def cases(**families):
    """The cases of several tables, for `parametrize`, each named by its table too."""
    named_cases = {
        f"{family}: {name}": case for family, table in families.items() for name, case in table.items()
    }
    return pytest.mark.parametrize(("error", "expected"), named_cases.values(), ids=named_cases.keys())
