"""How much a keeper adds to one `completion` of LiteLLM; run it for the figures."""

from __future__ import annotations

import httpx
import litellm
import openai

from ..measuring import MESSAGES, Added, at_once, in_turns, keeper


def added_by_wrapping() -> Added:
    """A `completion` whose answers are there at once."""
    http_client = httpx.Client(transport=at_once(httpx))
    with openai.OpenAI(api_key="sk-test", http_client=http_client, max_retries=0) as client:
        given = {"model": "openai/gpt-4o-mini", "messages": MESSAGES, "client": client}
        wrapped = keeper().litellm()
        return in_turns(lambda: litellm.completion(**given), lambda: wrapped.completion(**given))


if __name__ == "__main__":
    print(added_by_wrapping())
