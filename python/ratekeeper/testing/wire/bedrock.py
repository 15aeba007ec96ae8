"""What Bedrock's runtime does its own way: signed keys, max_tokens held from the start, output counted several times.

Sources: docs.aws.amazon.com/bedrock, "How tokens are counted" (what is held and what stays counted), botocore's
service model of bedrock-runtime (errors). No limit has a header, and no refusal names a wait. Pure.
"""

from __future__ import annotations

import math
import re

from ratekeeper.testing.limits import Algorithm
from ratekeeper.testing.quotas import Account, Amounts
from ratekeeper.testing.usage import Usage
from ratekeeper.testing.wire.call import Call, Headers, Json, Problem, Vendor
from ratekeeper.testing.wire.openai import OF_REQUESTS, bearer

_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/\s,]+)/[^/]+/[^/]+/bedrock/aws4_request\b")
#: What one token of output counts, by what the model's name has. 5 as AWS documents it; the others as third parties
#: quote it.
_BURNDOWN = (
    (re.compile(r"claude-(?:opus|sonnet|haiku)-4-8"), 15),
    (re.compile(r"claude-(?:opus|sonnet)-5|gpt-5[.-]6"), 10),
    (re.compile(r"claude-3-7|claude-(?:opus|sonnet|haiku)-4"), 5),
)
#: Held where a request names no maximum: the model's own, which for models with a burndown is 64k at least.
_LARGE, _SMALL = 64_000, 4_096
_LIMITED = (429, "ThrottlingException", "Too many requests, please wait before trying again.")
_ERRORS: dict[str, tuple[int, str, str]] = {
    "insufficient_quota": (
        400,
        "ServiceQuotaExceededException",
        "Your request exceeds the service quota for your account.",
    ),
    "overloaded": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "server_error": (500, "InternalServerException", "The system encountered an unexpected error."),
    "model_error": (424, "ModelErrorException", "The model failed while processing the request."),
    "unavailable": (503, "ServiceUnavailableException", "The service is currently unavailable."),
    "authentication": (403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
    "bad_request": (400, "ValidationException", "The input fails to satisfy the constraints."),
}


def burndown(model: str) -> int:
    """What one output token of a model counts."""
    return next((times for name, times in _BURNDOWN if name.search(model)), 1)


class Bedrock(Vendor):
    """The vendor ``bedrock``."""

    algorithm: Algorithm = "token_bucket"
    total_as_produced = False
    cached_is_free = True

    def key(self, headers: Headers) -> str | None:
        """The access key id of a signature (version 4), which is not checked; or a Bedrock API key as bearer."""
        signed = _SIGNED.match(headers.get("authorization", ""))
        return signed[1] if signed else bearer(headers)

    def amounts(self, call: Call) -> Amounts:
        """The estimate of the prompt plus ``maxTokens``, or the model's own maximum."""
        estimate = call.prompt.estimate
        most = call.max_tokens or (_LARGE if burndown(call.model) > 1 else _SMALL)
        return {"requests": 1, "tokens": estimate + most, "input": estimate, "output": 0}

    def settled(self, call: Call, usage: Usage) -> int:
        """Input without cache reads, and the output as often as the model's burndown says.

        Of a call that fails or is left, what came of it stays counted: AWS does not document what it does then.
        """
        return usage.input - usage.cached + burndown(call.model) * usage.output

    def limit_headers(self, account: Account, now: float, wall: float) -> dict[str, str]:  # noqa: ARG002
        """None."""
        return {}

    def retry_headers(self, problem: Problem) -> dict[str, str]:
        """``x-amz-retry-after`` in milliseconds where a fault names a wait; a quota's refusal names none."""
        if problem.refusal or problem.retry_after is None:
            return {}
        return {"x-amz-retry-after": str(math.ceil(problem.retry_after * 1000))}

    def ident_headers(self, ident: int) -> dict[str, str]:
        """``x-amzn-requestid``."""
        return {"x-amzn-requestid": f"00000000-0000-4000-8000-{ident:012d}"}

    def error_headers(self, problem: Problem) -> dict[str, str]:
        """``x-amzn-ErrorType``: the only place that has the error's name."""
        name = _ERRORS.get(problem.kind, _LIMITED)[1]
        return {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"}

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:  # noqa: ARG002
        """``{"message": …}``; a throttled call is told of what there were too many, and no number."""
        status, name, message = _ERRORS.get(problem.kind, _LIMITED)
        if problem.refusal:
            what = "requests" if problem.refusal.dimension in OF_REQUESTS else "tokens"
            per = " per day" if problem.refusal.dimension == "daily-requests" else ""
            message = f"Too many {what}{per}, please wait before trying again."
        body = {"message": problem.message or message}
        return status, {**body, "originalStatusCode": 500} if name == "ModelErrorException" else body
