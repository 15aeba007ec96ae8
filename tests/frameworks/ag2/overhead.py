"""How much a wrapper adds to one model call of ag2; run it for the figures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import httpx2
from ag2 import MemoryStream
from ag2.config import LLMClient, OpenAIConfig
from ag2.context import ConversationContext
from ag2.events import ModelRequest
from fast_depends.pydantic import PydanticSerializer

from ..measuring import MODEL, QUESTION, SYSTEM, Added, ain_turns, at_once, keeper

_SERIALIZER = PydanticSerializer(
    pydantic_config={"arbitrary_types_allowed": True}, use_fastdepends_errors=False
)


def added_by_wrapping() -> Added:
    """A call of a client whose answers are there at once."""
    return asyncio.run(_measure())


async def _measure() -> Added:
    async with httpx2.AsyncClient(transport=at_once(httpx2)) as http_client:
        config = OpenAIConfig(model=MODEL, api_key="sk-test", http_client=http_client)
        # A client for each: what the SDK does at the first request of a new one takes longer than all the rest.
        bare, wrapped = config.create(), keeper().wrap(config).create()
        return await ain_turns(lambda: _call(bare), lambda: _call(wrapped))


def _call(client: LLMClient) -> Awaitable[object]:
    context = ConversationContext(MemoryStream(), prompt=[SYSTEM])
    asked = [ModelRequest.ensure_request([QUESTION])]
    return client(asked, context, tools=[], response_schema=None, serializer=_SERIALIZER)


if __name__ == "__main__":
    print(added_by_wrapping())
