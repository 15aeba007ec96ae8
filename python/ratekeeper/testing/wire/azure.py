"""What Azure OpenAI does its own way: api-key, prompt estimate + max_tokens in fixed minutes, bare seconds.

Source: Microsoft's quota guide (articles/ai-foundry/openai/how-to/quota.md). The quota is the deployment's.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ratekeeper.testing.limits import Algorithm
from ratekeeper.testing.quotas import Account, Amounts
from ratekeeper.testing.wire.call import Answer, Call, Event, Headers, Json, Problem
from ratekeeper.testing.wire.chat import Chat
from ratekeeper.testing.wire.openai import OF_REQUESTS, OpenAI, bearer

_SAFE = {
    kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")
}
_PROMPT_FILTER = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}]}


class AzureChat(Chat):
    """Chat completions with Azure's content filter, whose chunk without choices trips up clients."""

    def write(self, call: Call, answer: Answer) -> Json:
        """OpenAI's, and what the filter said of the prompt."""
        return {**super().write(call, answer), **_PROMPT_FILTER}

    def events(self, call: Call, answer: Answer, size: int) -> Iterator[Event]:
        """What the filter said of the prompt, then OpenAI's."""
        nothing: Json = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
        yield self._event({**nothing, **_PROMPT_FILTER})
        yield from super().events(call, answer, size)


class Azure(OpenAI):
    """The vendor ``azure``: OpenAI's bodies, its own counting, headers and 429s."""

    algorithm: Algorithm = "fixed_window"
    told: Mapping[str, str] = {name: name for name in ("requests", "tokens")}

    def key(self, headers: Headers) -> str | None:
        """An ``api-key`` header, or a bearer token (Entra ID, and the v1 API)."""
        return headers.get("api-key") or bearer(headers)

    def amounts(self, call: Call) -> Amounts:
        """The estimate of the prompt plus ``max_tokens`` times ``best_of`` (or ``n``)."""
        estimate = call.prompt.estimate
        best_of = max(call.choices, call.body.get("best_of") or 1)
        tokens = estimate + (call.max_tokens or 0) * best_of
        return {"requests": 1, "tokens": tokens, "input": estimate, "output": 0}

    def reset(self, seconds: float) -> str:
        """Bare seconds."""
        return str(math.ceil(seconds))

    def ident_headers(self, ident: int) -> dict[str, str]:
        """``apim-request-id`` and ``x-ms-region`` beside OpenAI's."""
        return {
            "x-request-id": f"req_{ident:08d}",
            "apim-request-id": f"{ident:08d}",
            "x-ms-region": "East US",
        }

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:
        """A 429's code is the string ``"429"``, its message names the wait in seconds."""
        status, body = super().error(problem, model, ident)
        if body["error"]["code"] != "rate_limit_exceeded":
            return status, body
        dimension = problem.refusal.dimension if problem.refusal else "requests"
        what = "call" if dimension in OF_REQUESTS else "token"
        message = f"Requests to {model} have exceeded the {what} rate limit of your current pricing tier."
        if problem.retry_after is not None:
            message += f" Please retry after {math.ceil(problem.retry_after)} seconds."
        return status, {"error": {"code": "429", "message": problem.message or message}}


class AzureUnknown(Azure):
    """Azure's Responses API where it does not tell its limits (learn.microsoft.com, question 5625878)."""

    def limit_headers(self, account: Account, now: float, wall: float) -> dict[str, str]:
        """The usual names, with limit and remaining -1 and reset 0."""
        told = super().limit_headers(account, now, wall)
        return {name: "0" if "reset" in name else "-1" for name in told}

    def retry_headers(self, problem: Problem) -> dict[str, str]:  # noqa: ARG002
        """None."""
        return {}
