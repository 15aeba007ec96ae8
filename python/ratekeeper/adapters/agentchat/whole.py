"""Calls that are gated as a whole, for clients that send each one once.

Owns the order of such a call: reserve, ask, settle with what the result says. A result from a cache gives its
reservation back.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from autogen_core.models import CreateResult

from ratekeeper.ear import Ear

from .hold import SLOT
from .inside import linked
from .request import request_of, usage_of

if TYPE_CHECKING:
    from ratekeeper.call import Call


def create_whole(base: Any) -> Callable[..., Any]:
    """`create` of a class, gated; what the token cancels waits for nothing more."""

    async def send(self: Any, messages: Sequence[Any], arguments: dict[str, Any]) -> CreateResult:
        request = request_of(self, messages, arguments.get("tools", ()), arguments.get("extra_create_args"))
        async for call in self.__dict__[SLOT].gate.attempts(request):
            async with call:
                with Ear(call.learn):
                    result: CreateResult = await base.create(self, messages, **arguments)
                _settle(call, result)
        return result

    async def create(self: Any, messages: Sequence[Any], **arguments: Any) -> CreateResult:
        return await linked(send(self, messages, arguments), arguments.get("cancellation_token"))

    return create


def stream_whole(base: Any) -> Callable[..., AsyncGenerator[Any, None]]:
    """`create_stream` of a class, gated."""

    async def stream(self: Any, messages: Sequence[Any], **arguments: Any) -> AsyncGenerator[Any, None]:
        tools, extra = arguments.get("tools", ()), arguments.get("extra_create_args")
        request = request_of(self, messages, tools, extra, stream=True)
        async for call in self.__dict__[SLOT].gate.attempts(request):
            async with call, aclosing(base.create_stream(self, messages, **arguments)) as chunks:
                async for chunk in _heard(chunks, call):
                    call.keep_alive()
                    if isinstance(chunk, CreateResult):
                        _settle(call, chunk)
                    yield chunk

    return stream


async def _heard(chunks: Any, call: Call) -> AsyncGenerator[Any, None]:
    """The chunks, each asked for in the name of the call: a gated client below is not gated a second time."""
    ear = Ear(call.learn)
    while True:
        try:
            with ear:
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        yield chunk


def _settle(call: Call, result: CreateResult) -> None:
    if result.cached:
        call.release()
    else:
        call.settle(usage_of(result))
