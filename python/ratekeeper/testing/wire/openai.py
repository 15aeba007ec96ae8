"""What OpenAI does its own way: bearer keys, max(max_tokens, characters/4) against TPM, Go durations.

Sources: OpenAI's rate-limit guide (admission, headers) and error-code guide (codes). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ratekeeper.testing.limits import Algorithm
from ratekeeper.testing.quotas import Account, Amounts, Refusal
from ratekeeper.testing.wire.call import Call, Headers, Json, Problem, Vendor

#: By dimension: of what there is too little, over which time, and the limit's usual letters.
_UNITS = {
    "requests": ("requests", "min", "RPM"),
    "daily-requests": ("requests", "day", "RPD"),
    "tokens": ("tokens", "min", "TPM"),
    "project-tokens": ("tokens", "min", "TPM"),
}
OF_REQUESTS = ("requests", "daily-requests", "concurrency")
_ERRORS: dict[str, tuple[int, str, str | None, str]] = {
    "insufficient_quota": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "slow_down": (
        429,
        "rate_limit_error",
        "slow_down",
        "Your rate of requests grew too quickly. Please slow down.",
    ),
    "overloaded": (
        503,
        "server_error",
        "server_is_overloaded",
        "The engine is currently overloaded, please try again later.",
    ),
    "server_error": (500, "server_error", None, "The server had an error while processing your request."),
    "model_error": (500, "server_error", None, "The model failed while processing your request."),
    "unavailable": (503, "server_error", "service_unavailable", "The service is temporarily unavailable."),
    "authentication": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "bad_request": (400, "invalid_request_error", None, "Invalid request."),
    "not_found": (404, "invalid_request_error", "unknown_url", "Invalid URL."),
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached."),
}


def go_duration(seconds: float) -> str:
    """Seconds as Go prints a duration: ``120ms``, ``1s``, ``7.66s``, ``6m0s``, ``1h0m0s``."""
    ms = max(0, math.ceil(seconds * 1000))
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def bearer(headers: Headers) -> str | None:
    """The key of an ``Authorization: Bearer`` header."""
    kind, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() or None if kind.lower() == "bearer" else None


def retry_headers(problem: Problem) -> dict[str, str]:
    """``retry-after`` in whole seconds and ``retry-after-ms``; nothing where waiting does not help."""
    if problem.retry_after is None:
        return {}
    seconds, ms = math.ceil(problem.retry_after), math.ceil(problem.retry_after * 1000)
    return {"retry-after": str(seconds), "retry-after-ms": str(ms)}


def retry_seconds(problem: Problem) -> dict[str, str]:
    """``retry-after`` in whole seconds alone, as most others send it."""
    return {name: value for name, value in retry_headers(problem).items() if name == "retry-after"}


def left(amount: float) -> int:
    """A remaining amount as headers give it: whole, never negative."""
    return max(0, math.floor(amount + 1e-9))


class OpenAI(Vendor):
    """The vendor ``openai``."""

    algorithm: Algorithm = "token_bucket"
    total_as_produced = False
    cached_is_free = False
    #: The dimensions that headers tell of, and their names there.
    told: Mapping[str, str] = {name: name for name in ("requests", "tokens", "project-tokens")}

    def key(self, headers: Headers) -> str | None:
        """A bearer key."""
        return bearer(headers)

    def amounts(self, call: Call) -> Amounts:
        """The greater of ``max_tokens`` and the estimate "based on the character count", not their sum."""
        estimate = call.prompt.estimate
        return {"requests": 1, "tokens": max(call.max_tokens or 0, estimate), "input": estimate, "output": 0}

    def limit_headers(self, account: Account, now: float, wall: float) -> dict[str, str]:  # noqa: ARG002
        """``x-ratelimit-{limit,remaining,reset}-{requests,tokens,project-tokens}``.

        A reset is a Go duration until full.
        """
        headers = {}
        for dimension, name in self.told.items():
            if meter := account.meters.get(dimension):
                headers[f"x-ratelimit-limit-{name}"] = str(left(meter.limit))
                headers[f"x-ratelimit-remaining-{name}"] = str(left(meter.remaining(now)))
                headers[f"x-ratelimit-reset-{name}"] = self.reset(min(meter.reset(now), 86_400.0))
        return headers

    def reset(self, seconds: float) -> str:
        """How long until a dimension is full again, as its header says it."""
        return go_duration(seconds)

    def retry_headers(self, problem: Problem) -> dict[str, str]:
        """Seconds and milliseconds."""
        return retry_headers(problem)

    def ident_headers(self, ident: int) -> dict[str, str]:
        """``x-request-id``, and the headers that stand in every answer."""
        return {"x-request-id": f"req_{ident:08d}", "openai-version": "2020-10-01"}

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:  # noqa: ARG002
        """``{"error": {message, type, param, code}}``."""
        status, kind, code, message = _ERRORS.get(problem.kind, _ERRORS["rate_limit"])
        if problem.refusal:
            kind = "requests" if problem.refusal.dimension in OF_REQUESTS else "tokens"
            message = self._limit_message(problem.refusal, problem.retry_after, model)
        message = problem.message or message
        return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def _limit_message(self, refusal: Refusal, retry_after: float | None, model: str) -> str:
        dimension = refusal.dimension
        name, per, letters = _UNITS.get(dimension, (dimension, "min", dimension))
        whose = f"{model} in project proj_ratekeeper" if dimension == "project-tokens" else model
        what = f"for {whose} on {name} per {per} ({letters})"
        asked = f"Limit {left(refusal.limit)}, Used {left(refusal.used)}, Requested {left(refusal.requested)}"
        if refusal.requested > refusal.limit:
            return f"Request too large {what}: {asked}."
        again = f" Please try again in {go_duration(retry_after)}." if retry_after else ""
        return f"Rate limit reached {what}: {asked}.{again}"


def model_list(models: list[str]) -> Json:
    """The answer of ``GET /v1/models``."""
    data = [{"id": model, "object": "model", "created": 0, "owned_by": "ratekeeper"} for model in models]
    return {"object": "list", "data": data}
