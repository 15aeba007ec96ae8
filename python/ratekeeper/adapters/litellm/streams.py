"""Streams of LiteLLM that end their call: with the last chunk, with an error, or when their consumer leaves.

Owns the subclass that a stream becomes. A stream stays an instance of its own class, for LiteLLM and its users look
what it is.
"""

from __future__ import annotations

import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from litellm import CustomStreamWrapper
from litellm.exceptions import MidStreamFallbackError

from ratekeeper.apart import Apart

from .usage import usage_of, usage_of_chunks

if TYPE_CHECKING:
    from ratekeeper.adapters.hearing import CallEar
    from ratekeeper.call import Call
    from ratekeeper.providers import Usage

_ENDING = "_ratekeeper_ending"
_NONE = object()


def is_stream(answer: Any) -> bool:
    """Whether an answer comes in pieces."""
    return hasattr(type(answer), "__next__") or hasattr(type(answer), "__anext__")


def begin(stream: Any, call: Call, ear: CallEar, *, hides: bool) -> None:
    """Waits for the first chunk, since what fails before it can be tried again, and makes the stream end `call`.

    Args:
        stream: Of LiteLLM.
        call: That it ends.
        ear: To be entered at each step.
        hides: Whether the stream tells its usage for our sake alone.
    """
    ending = _Ending(call, ear, hides=hides and not _hide_usage(stream))
    try:
        ending.first = ending.step(stream, type(stream).__next__, _NONE)
    except MidStreamFallbackError as error:
        raise _what_happened(error) from None
    _take_over(stream, ending)


async def abegin(stream: Any, call: Call, ear: CallEar, *, hides: bool) -> None:
    """`begin`, for a stream that is read asynchronously."""
    ending = _Ending(call, ear, hides=hides and not _hide_usage(stream))
    try:
        ending.first = await ending.astep(stream, type(stream).__anext__, _NONE)
    except MidStreamFallbackError as error:
        raise _what_happened(error) from None
    _take_over(stream, ending)


def _what_happened(error: MidStreamFallbackError) -> Exception:
    """What LiteLLM hides inside its signal to a Router; nothing of the stream has come yet, so it is no fallback's turn."""
    original: Exception | None = error.original_exception
    return original or error


def _hide_usage(stream: Any) -> bool:
    """Has a stream look as its caller asked for it; LiteLLM keeps the count among its chunks all the same.

    Streams of text completions cannot be told; theirs shows the count in a chunk of its own.
    """
    if not isinstance(stream, CustomStreamWrapper):
        return False
    stream.send_stream_usage = False
    stream.stream_options = None
    return True


def _take_over(stream: Any, ending: _Ending) -> None:
    stream.__dict__[_ENDING] = ending
    stream.__class__ = _kind(cast("Any", type(stream)))
    # LiteLLM's log record keeps the stream, and the stream the record: dropped by its consumer, it would hold its permit
    # and its connection until the garbage collector comes by.
    record = getattr(getattr(stream, "logging_obj", None), "model_call_details", {})
    if record.get("original_response") is stream:
        record["original_response"] = weakref.proxy(stream)


class _Ending:
    """How a streamed call ends; once."""

    __slots__ = ("call", "ear", "first", "hides", "last")

    def __init__(self, call: Call, ear: CallEar, *, hides: bool) -> None:
        self.call: Call | None = call
        self.ear = ear
        self.hides = hides
        #: The chunk that came before the stream was handed on.
        self.first: Any = None
        self.last: Usage | None = None

    def step(self, stream: Any, advance: Any, *default: Any) -> Any:
        """The next chunk that is to be shown; the default, if there is one, at the end."""
        while True:
            try:
                with self.ear:
                    chunk = advance(stream)
            except StopIteration:
                if not default:
                    raise
                return default[0]
            if not self._is_hidden(chunk):
                return chunk

    async def astep(self, stream: Any, advance: Any, *default: Any) -> Any:
        """`step`, asynchronously."""
        while True:
            try:
                with self.ear:
                    chunk = await Apart(advance(stream))
            except StopAsyncIteration:
                if not default:
                    raise
                return default[0]
            if not self._is_hidden(chunk):
                return chunk

    def _is_hidden(self, chunk: Any) -> bool:
        """Takes note of the usage that a chunk or an event tells; whether that is all there is to it."""
        usage = usage_of(chunk) or usage_of(getattr(chunk, "response", None))
        self.last = usage or self.last
        return usage is not None and self.hides

    def alive(self) -> None:
        """A chunk is handed on."""
        if self.call is not None:
            self.call.keep_alive()

    def end(self, stream: Any, error: BaseException | None) -> None:
        """Settles with the usage that was told, if it was that of the end; otherwise the reservation stays."""
        call, self.call = self.call, None
        if call is None:
            return
        self.ear.end()
        usage = self.last or usage_of_chunks(getattr(stream, "chunks", ()))
        # A provider may tell the input at the start; the count is whole when the model has said why it ended.
        is_final = error is None or (isinstance(error, GeneratorExit) and _has_finished(stream))
        if is_final and (usage is not None or error is None):
            call.settle(usage)
        else:
            kind = None if error is None else type(error)
            call.__exit__(kind, error, None if error is None else error.__traceback__)


def _has_finished(stream: Any) -> bool:
    return getattr(stream, "received_finish_reason", True) is not None


@cache
def _kind(base: Any) -> Any:
    members = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__del__": _del(base),
        "close": _close(base),
        "aclose": _aclose(base),
    }
    if hasattr(base, "__next__"):
        members["__next__"] = _next(base)
    if hasattr(base, "__anext__"):
        members["__anext__"] = _anext(base)
    return type(base.__name__, (base,), members)


def _next(base: Any) -> Any:
    def __next__(self: Any) -> Any:
        ending = self.__dict__[_ENDING]
        chunk, ending.first = ending.first, None
        try:
            if chunk is None:
                chunk = ending.step(self, base.__next__)
            if chunk is _NONE:
                raise StopIteration
        except StopIteration:
            ending.end(self, None)
            raise
        except BaseException as error:
            ending.end(self, error)
            raise
        ending.alive()
        return chunk

    return __next__


def _anext(base: Any) -> Any:
    async def __anext__(self: Any) -> Any:
        ending = self.__dict__[_ENDING]
        chunk, ending.first = ending.first, None
        try:
            if chunk is None:
                chunk = await ending.astep(self, base.__anext__)
            if chunk is _NONE:
                raise StopAsyncIteration
        except StopAsyncIteration:
            ending.end(self, None)
            raise
        except BaseException as error:
            ending.end(self, error)
            raise
        ending.alive()
        return chunk

    return __anext__


def _close(base: Any) -> Any:
    def close(self: Any) -> None:
        """Leaves the stream where it is, and its place to others."""
        try:
            ends = getattr(base, "close", None) or getattr(
                getattr(self, "completion_stream", None), "close", None
            )
            if ends is not None:
                ends(*(self,) if hasattr(base, "close") else ())
        finally:
            self.__dict__[_ENDING].end(self, GeneratorExit())

    return close


def _aclose(base: Any) -> Any:
    async def aclose(self: Any) -> None:
        """Leaves the stream where it is, and its place to others."""
        try:
            if hasattr(base, "aclose"):
                await base.aclose(self)
        finally:
            self.__dict__[_ENDING].end(self, GeneratorExit())

    return aclose


def _del(base: Any) -> Any:
    def __del__(self: Any) -> None:
        self.__dict__[_ENDING].end(self, GeneratorExit())
        if hasattr(base, "__del__"):
            base.__del__(self)

    return __del__
