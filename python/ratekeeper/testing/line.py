"""One HTTP answer on its way to the client: send, wait, cut, and notice that the client has left.

Owns the ASGI messages of model answers, so that the exchange need not know them. May not decide anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ClientLeftError(Exception):
    """The client closed the connection before the end."""


class StreamCutError(Exception):
    """Raised through the server on purpose, to make it close the connection in mid-answer."""


class Line:
    """The way to one client.

    Args:
        receive: ASGI's, after the whole request was read.
        send: ASGI's.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._watch: asyncio.Task[None] | None = None

    async def pause(self, seconds: float) -> None:
        """Wait, unless the client leaves.

        Raises:
            ClientLeftError: It left, before or meanwhile.
        """
        if self._watch is None:
            if seconds <= 0:
                return
            self._watch = asyncio.create_task(self._left())
        if seconds > 0:
            await asyncio.wait({self._watch}, timeout=seconds)
        if self._watch.done():
            raise ClientLeftError

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole answer as JSON."""
        await self.start(
            status, {"content-type": "application/json", "content-length": str(len(body)), **headers}
        )
        await self.chunk(body, last=True)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def chunk(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    def close(self) -> None:
        """Stop watching the client."""
        if self._watch is not None:
            self._watch.cancel()

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
