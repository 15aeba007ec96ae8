"""How much a wrapper adds to one call of CrewAI's OpenAI LLM; run it for the figures."""

from __future__ import annotations

from typing import Any

import httpx
from crewai import LLM

from ..measuring import MESSAGES, MODEL, Added, at_once, in_turns, keeper


def added_by_wrapping() -> Added:
    """A `call` of an LLM whose answers are there at once."""
    with httpx.Client(transport=at_once(httpx)) as http_client:
        bare: Any = LLM(MODEL, api_key="sk-test")
        # CrewAI takes no HTTP client for one of the two.
        bare._client = bare._client.with_options(http_client=http_client)
        wrapped = keeper().wrap(bare)
        return in_turns(lambda: bare.call(MESSAGES), lambda: wrapped.call(MESSAGES))


if __name__ == "__main__":
    print(added_by_wrapping())
