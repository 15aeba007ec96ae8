"""How much a wrapper adds to one call of AutoGen's OpenAI client; run it for the figures."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from autogen_core.models import SystemMessage, UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient

from ..measuring import MODEL, QUESTION, SYSTEM, Added, ain_turns, at_once, keeper

MESSAGES = [SystemMessage(content=SYSTEM), UserMessage(content=QUESTION, source="user")]


def added_by_wrapping() -> Added:
    """A `create` of a client whose answers are there at once."""
    return asyncio.run(_measure())


async def _measure() -> Added:
    async with httpx.AsyncClient(transport=at_once(httpx)) as http_client:
        settings: dict[str, Any] = {"http_client": http_client}
        bare = OpenAIChatCompletionClient(model=MODEL, api_key="sk-test", **settings)
        wrapped = keeper().wrap(bare)
        return await ain_turns(lambda: bare.create(MESSAGES), lambda: wrapped.create(MESSAGES))


if __name__ == "__main__":
    print(added_by_wrapping())
