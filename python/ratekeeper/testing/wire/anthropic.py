"""What Anthropic does its own way: x-api-key, input and output tokens apart, RFC 3339 resets.

Source: platform.claude.com/docs/en/api/rate-limits. Input is estimated at the start and corrected during the
request, cache reads are not counted, output is counted as produced. Pure.
"""

from __future__ import annotations

import math
from datetime import datetime, timezone

from ratekeeper.testing.limits import Algorithm
from ratekeeper.testing.meters import Meter
from ratekeeper.testing.quotas import Account, Amounts, Refusal
from ratekeeper.testing.wire.call import Call, Headers, Json, Problem, Vendor
from ratekeeper.testing.wire.openai import bearer, left, retry_seconds

_NAMES = {"requests": "requests", "input": "input-tokens", "output": "output-tokens", "tokens": "tokens"}
_COUNTED = {**_NAMES, "daily-requests": "requests", "project-tokens": "tokens"}
_DETAILS = {"insufficient_quota": "enforced_spend_limit_reached", "ramp_limit": "ramp_limit_exceeded"}
_ERRORS: dict[str, tuple[int, str, str]] = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your organization's rate limit."),
    "insufficient_quota": (
        429,
        "rate_limit_error",
        "You have reached your enforced spend limit. Access returns at 00:00 UTC on the 1st.",
    ),
    "ramp_limit": (429, "rate_limit_error", "Usage grew too quickly. Scale up more gradually."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
    "model_error": (500, "api_error", "The model failed"),
    "unavailable": (503, "api_error", "Service unavailable"),
    "authentication": (401, "authentication_error", "invalid x-api-key"),
    "bad_request": (400, "invalid_request_error", "Invalid request."),
}


class Anthropic(Vendor):
    """The vendor ``anthropic``."""

    algorithm: Algorithm = "token_bucket"
    total_as_produced = True
    cached_is_free = True

    def key(self, headers: Headers) -> str | None:
        """An ``x-api-key`` header, or a bearer token."""
        return headers.get("x-api-key") or bearer(headers)

    def amounts(self, call: Call) -> Amounts:
        """Input as estimated; ``max_tokens`` does not factor in. A ``tpm`` limit counts input and output."""
        estimate = call.prompt.estimate
        return {"requests": 1, "tokens": estimate, "input": estimate, "output": 0}

    def limit_headers(self, account: Account, now: float, wall: float) -> dict[str, str]:
        """``anthropic-ratelimit-*``; remaining tokens in thousands, a reset is when all is replenished."""
        headers = {}
        for name, meter in _shown(account, now).items():
            remaining = left(meter.remaining(now))
            shown = remaining if name == "requests" else round(remaining, -3)
            prefix = f"anthropic-ratelimit-{name}"
            headers[f"{prefix}-limit"] = str(left(meter.limit))
            headers[f"{prefix}-remaining"] = str(shown)
            headers[f"{prefix}-reset"] = _date(wall + min(meter.reset(now), 86_400.0))
        return headers

    def retry_headers(self, problem: Problem) -> dict[str, str]:
        """Whole seconds only."""
        return retry_seconds(problem)

    def ident_headers(self, ident: int) -> dict[str, str]:
        """``request-id``."""
        return {"request-id": f"req_{ident:08d}"}

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:
        """``{"type": "error", "error": {type, message}, …}``; a spend or ramp limit carries ``details``."""
        status, kind, message = _ERRORS.get(problem.kind, _ERRORS["rate_limit"])
        if problem.refusal:
            message = _limit_message(problem.refusal, model)
        error: Json = {"type": kind, "message": problem.message or message}
        if code := _DETAILS.get(problem.kind):
            error["details"] = {"error_code": code}
        return status, {"type": "error", "error": error, "request_id": f"req_{ident:08d}"}


def _shown(account: Account, now: float) -> dict[str, Meter]:
    """Meters by header name; ``tokens`` is the most restrictive one where it has none of its own."""
    shown = {_NAMES[dimension]: meter for dimension, meter in account.meters.items() if dimension in _NAMES}
    counted = [meter for name, meter in shown.items() if name.endswith("-tokens")]
    if counted and "tokens" not in shown:
        shown["tokens"] = min(counted, key=lambda meter: meter.remaining(now) / (meter.limit or 1))
    return shown


def _date(wall: float) -> str:
    return datetime.fromtimestamp(math.ceil(wall), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _limit_message(refusal: Refusal, model: str) -> str:
    what = _COUNTED.get(refusal.dimension, refusal.dimension).replace("-", " ")
    per = "day" if refusal.dimension == "daily-requests" else "minute"
    return f"This request would exceed the rate limit of {left(refusal.limit)} {what} per {per} for {model}."


def model_list(models: list[str]) -> Json:
    """The answer of ``GET /v1/models``."""
    data = [
        {
            "type": "model",
            "id": model,
            "display_name": model,
            "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
        }
        for model in models
    ]
    ends = {"first_id": models[0] if models else None, "last_id": models[-1] if models else None}
    return {"data": data, "has_more": False, **ends}
