"""What Groq does its own way: requests of a day and tokens of a minute in the headers, cached tokens free.

Source: console.groq.com/docs/rate-limits. Whether ``max_tokens`` counts at the start is not documented: here it
does not, and tokens count as they are produced. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from ratekeeper.testing.quotas import Amounts
from ratekeeper.testing.wire.call import Call, Json, Problem
from ratekeeper.testing.wire.openai import OpenAI, retry_seconds

_LIMITED = ("rate_limit", "slow_down", "ramp_limit")


class Groq(OpenAI):
    """The vendor ``groq``: OpenAI's bodies under ``/groq/openai/v1``."""

    total_as_produced = True
    cached_is_free = True
    #: Requests a minute and tokens a day are limited too, but have no header.
    told: Mapping[str, str] = {"daily-requests": "requests", "tokens": "tokens"}

    def amounts(self, call: Call) -> Amounts:
        """The estimate of the prompt."""
        estimate = call.prompt.estimate
        return {"requests": 1, "tokens": estimate, "input": estimate, "output": 0}

    def retry_headers(self, problem: Problem) -> dict[str, str]:
        """Whole seconds, and only with a 429 for a limit."""
        return retry_seconds(problem) if problem.kind in _LIMITED else {}

    def ident_headers(self, ident: int) -> dict[str, str]:
        """``x-request-id``."""
        return {"x-request-id": f"req_{ident:08d}"}

    def error(self, problem: Problem, model: str, ident: int) -> tuple[int, Json]:
        """OpenAI's, without ``param``."""
        status, body = super().error(problem, model, ident)
        return status, {"error": {name: value for name, value in body["error"].items() if name != "param"}}
