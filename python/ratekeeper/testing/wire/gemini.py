"""What the Gemini API does its own way: input tokens alone against TPM, no limit headers, all of it in a 429's body.

Source: ai.google.dev/gemini-api/docs/rate-limits; the bodies of 429s as users of Google's own command line tool
reported them (gemini-cli#4656). How the quotas are counted is not documented. Pure.
"""

from __future__ import annotations

import math
from urllib.parse import parse_qs, urlsplit

from ratekeeper.testing.limits import Algorithm
from ratekeeper.testing.quotas import Account, Amounts, Refusal
from ratekeeper.testing.usage import Usage
from ratekeeper.testing.wire.call import Call, Headers, Json, Problem, Vendor
from ratekeeper.testing.wire.openai import bearer, left

_HOST = "generativelanguage.googleapis.com"
_TYPE = "type.googleapis.com/google.rpc"
_PAGE = "https://ai.google.dev/gemini-api/docs/rate-limits"
_INPUT = (
    "generate_content_paid_tier_input_token_count",
    "GenerateContentPaidTierInputTokensPerModelPerMinute",
)
#: By dimension: the metric and the quota's name.
_QUOTAS = {
    "requests": ("generate_requests_per_model", "GenerateRequestsPerMinutePerProjectPerModel"),
    "daily-requests": ("generate_requests_per_model_per_day", "GenerateRequestsPerDayPerProjectPerModel"),
    "tokens": _INPUT,
    "input": _INPUT,
}
_LIMITED = (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
_OVERLOADED = (503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
_INTERNAL = (500, "INTERNAL", "An internal error has occurred. Please retry or report it.")
_ERRORS: dict[str, tuple[int, str, str]] = {
    "overloaded": _OVERLOADED,
    "server_error": _INTERNAL,
    "model_error": _INTERNAL,
    "unavailable": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "authentication": (
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    ),
    "bad_request": (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
}
_NOTHING = Refusal("requests", 0, 0, 1, None)


class Gemini(Vendor):
    """The vendor ``gemini``."""

    algorithm: Algorithm = "token_bucket"
    total_as_produced = False
    cached_is_free = False

    def key(self, headers: Headers) -> str | None:
        """An ``x-goog-api-key`` header, ``?key=``, or a bearer token."""
        query = parse_qs(urlsplit(headers.get(":path", "")).query)
        return headers.get("x-goog-api-key") or query.get("key", [""])[0] or bearer(headers)

    def amounts(self, call: Call) -> Amounts:
        """The estimate of the prompt: output does not count."""
        estimate = call.prompt.estimate
        return {"requests": 1, "tokens": estimate, "input": estimate, "output": 0}

    def settled(self, call: Call, usage: Usage) -> int:  # noqa: ARG002
        """The prompt as it was counted. That cached tokens count is not documented."""
        return usage.input

    def limit_headers(self, account: Account, now: float, wall: float) -> dict[str, str]:  # noqa: ARG002
        """None."""
        return {}

    def retry_headers(self, problem: Problem) -> dict[str, str]:  # noqa: ARG002
        """None: the wait is in the body."""
        return {}

    def ident_headers(self, ident: int) -> dict[str, str]:  # noqa: ARG002
        """None: ``responseId`` is in the body."""
        return {}

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:  # noqa: ARG002
        """``{"error": {code, message, status, details}}``; a 429 for a quota names it, its limit and the wait.

        A quota that no wait brings back is one whose limit is 0, as of a model that a plan does not have.
        """
        code, status, message = _ERRORS.get(problem.kind, _LIMITED)
        refusal = _NOTHING if problem.kind == "insufficient_quota" else problem.refusal
        if refusal:
            message = _quota_message(refusal, problem.retry_after, model)
        error: Json = {"code": code, "message": problem.message or message, "status": status}
        if details := _details(refusal, problem.retry_after, model):
            error["details"] = details
        return code, {"error": error}


def _quota_message(refusal: Refusal, retry_after: float | None, model: str) -> str:
    """Google's words for any limit that was reached, money or not."""
    lines = ["You exceeded your current quota, please check your plan and billing details."]
    lines[0] += f" For more information on this error, head to: {_PAGE}."
    if quota := _QUOTAS.get(refusal.dimension):
        limit = left(refusal.limit)
        lines.append(f"* Quota exceeded for metric: {_HOST}/{quota[0]}, limit: {limit}, model: {model}")
    if retry_after is not None:
        lines.append(f"Please retry in {_seconds(retry_after)}.")
    return "\n".join(lines)


def _details(refusal: Refusal | None, retry_after: float | None, model: str) -> list[Json]:
    details: list[Json] = []
    if refusal and (quota := _QUOTAS.get(refusal.dimension)):
        violation = {
            "quotaMetric": f"{_HOST}/{quota[0]}",
            "quotaId": quota[1],
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": str(left(refusal.limit)),
        }
        details.append({"@type": f"{_TYPE}.QuotaFailure", "violations": [violation]})
        links = [{"description": "Learn more about Gemini API quotas", "url": _PAGE}]
        details.append({"@type": f"{_TYPE}.Help", "links": links})
    if retry_after is not None:
        details.append({"@type": f"{_TYPE}.RetryInfo", "retryDelay": _seconds(retry_after)})
    return details


def _seconds(wait: float) -> str:
    """A duration as Google writes it: ``37s``, ``0.250s``."""
    ms = math.ceil(wait * 1000)
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms / 1000:.3f}s"
