"""The bodies of streamed answers: handed on as they come, with an eye on the lease and the usage.

Owns when a streamed call ends: with its last byte, with an error, or when its consumer leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from ratekeeper.providers.replies import Stream

if TYPE_CHECKING:
    from types import ModuleType

    from ratekeeper.call import Call


def hand_over(response: Any, call: Call, package: ModuleType, *, without_usage: bool) -> Any:
    """Gives a streamed response a body that ends `call`; to be begun before the response is handed on."""
    headers = response.headers
    stream = Stream(
        headers.get("content-type", ""), headers.get("content-encoding", ""), without_usage=without_usage
    )
    is_async = isinstance(response.stream, package.AsyncByteStream)
    body = _kinds(package)[is_async](response.stream, _Ending(call, stream))
    response.stream = body
    return body


def settle_read(response: Any, call: Call, *, without_usage: bool) -> None:
    """Settles `call` for a streamed response that was read before it could be handed on.

    Event hooks do so, and transports that answer from memory. Its body stays in the response, where its consumer finds it.
    """
    content = getattr(response, "_content", b"")
    stream = Stream(response.headers.get("content-type", ""), without_usage=without_usage)
    shown = stream.feed(content) + stream.end()
    if without_usage and content:
        response._content = shown
    call.settle(stream.usage)


class _Ending:
    """How a streamed call ends; once."""

    __slots__ = ("call", "stream")

    def __init__(self, call: Call, stream: Stream) -> None:
        self.call: Call | None = call
        self.stream = stream

    def see(self, chunk: bytes) -> bytes:
        """The bytes to hand on for these."""
        if self.call is not None:
            self.call.keep_alive()
        return self.stream.feed(chunk)

    def end(self, error: BaseException | None) -> bytes:
        """Settles with the usage that was told, if it was that of the end; otherwise the reservation stays."""
        rest = self.stream.end() if self.call is not None else b""
        call, self.call = self.call, None
        if call is None:
            return rest
        usage = self.stream.usage
        if usage is not None and self.stream.is_final and (error is None or isinstance(error, GeneratorExit)):
            call.settle(usage)
        elif error is None:
            call.settle(None)
        else:
            call.__exit__(type(error), error, error.__traceback__)
        return rest


@cache
def _kinds(package: ModuleType) -> tuple[type, type]:
    """The bodies of one package, whose responses take no others: synchronous, asynchronous."""
    return (
        type("GatedStream", (_Body, package.SyncByteStream), {}),
        type("GatedAsyncStream", (_AsyncBody, package.AsyncByteStream), {}),
    )


class _Body:
    """A synchronous body."""

    def __init__(self, origin: Any, ending: _Ending) -> None:
        self._origin = origin
        self._ending = ending
        self._first = b""

    def begin(self) -> None:
        """Waits for the first bytes: a connection that breaks before them is a failure like any other."""
        self._chunks = iter(self._origin)
        try:
            self._first = next(self._chunks, b"")
        except BaseException:
            self._origin.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        ending = self._ending
        try:
            if self._first:
                yield ending.see(self._first)
            for chunk in self._chunks:
                yield ending.see(chunk)
        except BaseException as error:
            ending.end(error)
            raise
        yield ending.end(None)

    def __del__(self) -> None:
        """Dropped unread: nobody closes it, but its place is free as soon as it is collected."""
        self._ending.end(GeneratorExit())

    def close(self) -> None:
        try:
            self._origin.close()
        finally:
            self._ending.end(GeneratorExit())


class _AsyncBody:
    """An asynchronous body."""

    def __init__(self, origin: Any, ending: _Ending) -> None:
        self._origin = origin
        self._ending = ending
        self._first = b""

    async def begin(self) -> None:
        """Waits for the first bytes: a connection that breaks before them is a failure like any other."""
        self._chunks = self._origin.__aiter__()
        try:
            self._first = await anext(self._chunks, b"")
        except BaseException:
            await self._origin.aclose()
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        ending = self._ending
        try:
            if self._first:
                yield ending.see(self._first)
            async for chunk in self._chunks:
                yield ending.see(chunk)
        except BaseException as error:
            ending.end(error)
            raise
        yield ending.end(None)

    def __del__(self) -> None:
        """Dropped unread: nobody closes it, but its place is free as soon as it is collected."""
        self._ending.end(GeneratorExit())

    async def aclose(self) -> None:
        try:
            await self._origin.aclose()
        finally:
            self._ending.end(GeneratorExit())
