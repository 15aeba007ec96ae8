"""How much a wrapper adds to one call of an SDK's client; run it for the figures."""

from __future__ import annotations

import sys
from typing import Any

import openai

from ..measuring import MESSAGES, MODEL, Added, at_once, in_turns, keeper


def added_by_wrapping() -> Added:
    """A `create` of a client whose answers are there at once."""
    http: Any = sys.modules["httpx2" if int(openai.__version__.partition(".")[0]) >= 3 else "httpx"]
    with openai.OpenAI(api_key="sk-test", http_client=http.Client(transport=at_once(http))) as bare:
        wrapped = keeper().wrap(bare)
        return in_turns(lambda: _ask(bare), lambda: _ask(wrapped))


def _ask(client: Any) -> None:
    client.chat.completions.create(model=MODEL, messages=MESSAGES)


if __name__ == "__main__":
    print(added_by_wrapping())
