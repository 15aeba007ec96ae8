"""Streams of wrapped clients: tagged step by step, with usage, and closed when their consumer leaves.

Owns all three. Between two steps the consumer runs, whose context is not ours to change.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from types import AsyncGeneratorType
from typing import Any

from .hold import SLOT
from .inside import check, inside, linked


def create_stream(create: Callable[..., AsyncGenerator[Any, None]]) -> Any:
    """`create_stream` of a wrapped client on top of what streams below."""

    async def gated(self: Any, messages: Sequence[Any], **arguments: Any) -> AsyncGenerator[Any, None]:
        check(messages)
        chunks = create(self, messages, **arguments)
        # The call starts with the first step, and what waits in a queue is waited for there.
        step: Any = linked(anext(chunks), arguments.get("cancellation_token"))
        try:
            while True:
                try:
                    with inside(self.__dict__[SLOT]):
                        chunk = await step
                except StopAsyncIteration:
                    return
                yield chunk
                step = anext(chunks)
        finally:
            await _close(chunks)

    return gated


def stream_below(base: Any) -> Callable[..., AsyncGenerator[Any, None]]:
    """`create_stream` of a class, telling AutoGen the usage too, unless somebody said no."""
    can_ask = "include_usage" in (base.create_stream.__kwdefaults__ or {})

    def stream(self: Any, messages: Sequence[Any], **arguments: Any) -> Any:
        if can_ask and _asks_for_usage(self, arguments):
            arguments["include_usage"] = True
        return base.create_stream(self, messages, **arguments)

    return stream


def _asks_for_usage(client: Any, arguments: dict[str, Any]) -> bool:
    if not client.__dict__[SLOT].options.stream_usage or arguments.get("include_usage") is not None:
        return False
    settings = (arguments.get("extra_create_args") or {}, client._create_args)
    return not any("stream_options" in setting for setting in settings)


async def _close(chunks: Any) -> None:
    """Closes a stream that was left, and the SDK's below it, which AutoGen leaves to the garbage collector."""
    below = list(_sdk_streams(chunks))
    await chunks.aclose()
    for stream in below:
        await stream.close()


def _sdk_streams(chunks: Any) -> Iterator[Any]:
    frame = chunks.ag_frame if isinstance(chunks, AsyncGeneratorType) else None
    for thing in list(frame.f_locals.values()) if frame is not None else ():
        if isinstance(thing, AsyncGeneratorType):
            yield from _sdk_streams(thing)
        elif any(kind.__name__ == "AsyncStream" for kind in type(thing).__mro__):
            yield thing
