"""What Mistral does its own way: headers that name the minute and no reset, input and output counted together.

Sources: docs.mistral.ai (limits, the body of a 429), mistralai/client-ts#169 (headers). Other bodies are in the form
of that 429. Pure.
"""

from __future__ import annotations

from ratekeeper.testing.limits import Algorithm
from ratekeeper.testing.quotas import Account, Amounts
from ratekeeper.testing.wire.call import Call, Headers, Json, Problem, Vendor
from ratekeeper.testing.wire.openai import bearer, left, retry_seconds

_TOLD = {"requests": "req-minute", "tokens": "tokens-minute"}
_LIMITED = (429, "rate_limited", "1300", "Rate limit exceeded")
_ERRORS: dict[str, tuple[int, str, str, str]] = {
    "insufficient_quota": (429, "rate_limited", "1300", "Monthly token limit exceeded"),
    "overloaded": (503, "service_unavailable", "3000", "Service unavailable."),
    "server_error": (500, "internal_server_error", "3000", "Internal server error."),
    "model_error": (500, "internal_server_error", "3000", "The model failed."),
    "unavailable": (503, "service_unavailable", "3000", "Service unavailable."),
    "authentication": (401, "invalid_api_key", "1000", "Unauthorized"),
    "bad_request": (400, "invalid_request_error", "2000", "Invalid request."),
}


class Mistral(Vendor):
    """The vendor ``mistral``: OpenAI's chat format under ``/mistral/v1``."""

    algorithm: Algorithm = "token_bucket"
    total_as_produced = True
    cached_is_free = False

    def key(self, headers: Headers) -> str | None:
        """A bearer key."""
        return bearer(headers)

    def amounts(self, call: Call) -> Amounts:
        """The estimate of the prompt; the output counts as it is produced."""
        estimate = call.prompt.estimate
        return {"requests": 1, "tokens": estimate, "input": estimate, "output": 0}

    def limit_headers(self, account: Account, now: float, wall: float) -> dict[str, str]:  # noqa: ARG002
        """``x-ratelimit-{limit,remaining}-{req,tokens}-minute``."""
        headers = {}
        for dimension, name in _TOLD.items():
            if meter := account.meters.get(dimension):
                headers[f"x-ratelimit-limit-{name}"] = str(left(meter.limit))
                headers[f"x-ratelimit-remaining-{name}"] = str(left(meter.remaining(now)))
        return headers

    def retry_headers(self, problem: Problem) -> dict[str, str]:
        """Whole seconds."""
        return retry_seconds(problem)

    def ident_headers(self, ident: int) -> dict[str, str]:
        """``mistral-correlation-id``."""
        return {"mistral-correlation-id": f"{ident:08d}"}

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:  # noqa: ARG002
        """``{"object": "error", message, type, code, raw_status_code}``; a 429 does not say of what."""
        status, kind, code, message = _ERRORS.get(problem.kind, _LIMITED)
        message = problem.message or message
        told = {"message": message, "type": kind, "code": code, "raw_status_code": status}
        return status, {"object": "error", **told}
