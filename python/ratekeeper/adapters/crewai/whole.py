"""Calls that no gated HTTP client carries (botocore, azure-core), gated one by one.

Owns the order attempts → send → usage → settle for them, plain and streamed. May not know an SDK.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from ratekeeper.apart import Apart

if TYPE_CHECKING:
    from ratekeeper.call import Call
    from ratekeeper.gate import Attempts
    from ratekeeper.providers import Usage


class Form(NamedTuple):
    """Where an SDK's answers keep what is needed here.

    Attributes:
        usage: The usage of an answer or of a chunk; None if it has none.
        opened: The chunks of a streamed answer.
        closed: A streamed answer with other chunks.
        is_last: Whether the chunks that follow this one are read before it is handed on: the consumer may call the
            model again before it goes on.
    """

    usage: Callable[[Any], Usage | None]
    opened: Callable[[Any], Any]
    closed: Callable[[Any, Any], Any]
    is_last: Callable[[Any], bool]


def ask(attempts: Attempts, send: Callable[[Call], Any], form: Form, *, stream: bool) -> Any:
    """What `send` gives, in as many attempts as it takes; a stream's call ends with the stream."""
    for call in attempts:
        with ExitStack() as held:
            held.enter_context(call)
            answer = send(call)
            if stream:
                chunks = _passed_on(call, form.opened(answer), form)
                next(chunks)
                held.pop_all()
                answer = form.closed(answer, chunks)
            else:
                call.settle(form.usage(answer))
    return answer


async def aask(
    attempts: Attempts, send: Callable[[Call], Awaitable[Any]], form: Form, *, stream: bool
) -> Any:
    """`ask`, asynchronously."""
    async for call in attempts:
        async with AsyncExitStack() as held:
            await held.enter_async_context(call)
            answer = await Apart(_awaited(send(call)))
            if stream:
                chunks = _apassed_on(call, form.opened(answer), form)
                await anext(chunks)
                held.pop_all()
                answer = form.closed(answer, chunks)
            else:
                call.settle(form.usage(answer))
    return answer


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


class _Ending:
    """How a streamed call ends."""

    def __init__(self, call: Call, form: Form) -> None:
        self._call = call
        self._form = form
        self._usage: Usage | None = None

    def see(self, chunk: Any) -> Any:
        self._call.keep_alive()
        self._usage = self._form.usage(chunk) or self._usage
        return chunk

    def failed(self, error: BaseException) -> None:
        """A consumer that leaves is no failure; without usage the reservation stays."""
        if isinstance(error, GeneratorExit):
            self.settle()
        else:
            self._call.__exit__(type(error), error, error.__traceback__)

    def settle(self) -> None:
        self._call.settle(self._usage)


def _passed_on(call: Call, source: Any, form: Form) -> Iterator[Any]:
    """The chunks, after one None: by then the first chunk has come, and what breaks before is tried again."""
    chunks, ending = iter(source), _Ending(call, form)
    ahead = [chunk for chunk in (next(chunks, None),) if chunk is not None]
    try:
        yield None
        while ahead:
            if form.is_last(ending.see(ahead[0])):
                ahead += [ending.see(chunk) for chunk in chunks]
                break
            yield ahead.pop()
            ahead = [chunk for chunk in (next(chunks, None),) if chunk is not None]
    except BaseException as error:
        ending.failed(error)
        raise
    ending.settle()
    yield from ahead


async def _apassed_on(call: Call, source: Any, form: Form) -> AsyncIterator[Any]:
    """`_passed_on`, asynchronously."""
    chunks, ending = aiter(source), _Ending(call, form)
    ahead = [chunk for chunk in (await anext(chunks, None),) if chunk is not None]
    try:
        yield None
        while ahead:
            if form.is_last(ending.see(ahead[0])):
                ahead += [ending.see(chunk) async for chunk in chunks]
                break
            yield ahead.pop()
            ahead = [chunk for chunk in (await anext(chunks, None),) if chunk is not None]
    except BaseException as error:
        ending.failed(error)
        raise
    ending.settle()
    for chunk in ahead:
        yield chunk
