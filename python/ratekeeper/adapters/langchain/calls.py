"""The four ways into a chat model, each behind the gate.

Owns the order view → gate → call → usage. May not know providers or SDK clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from functools import wraps
from inspect import signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.language_models import BaseChatModel

from ratekeeper.apart import Apart

from .clients import family_of
from .request import caller_of, request_of
from .usage import StreamUsage, usage_of_result
from .view import inner

if TYPE_CHECKING:
    from langchain_core.outputs import ChatResult

    from ratekeeper.gate import Call

F = TypeVar("F", bound=Callable[..., Any])

#: Where a base streams, its own hooks are overridden and no others: LangChain looks which of them a class
#: overrides. An asynchronous one goes with its synchronous twin: LangChain's default runs the twin on
#: executor threads, and calls that wait there would keep the running ones from a thread.
_STREAMS = (("_stream", "_astream"), ("_stream_chat_model_events", "_astream_chat_model_events"))


def overrides(base: type[BaseChatModel]) -> dict[str, Any]:
    """The methods of a limited subclass of `base`."""
    found: dict[str, Any] = {"_generate": _generate(base), "_agenerate": _agenerate(base)}
    for name, async_name in _STREAMS:
        has, has_async = _own(base, name), _own(base, async_name)
        if has:
            found[name] = _stream(base, name)
        if has_async or (has and hasattr(base, async_name)):
            found[async_name] = _astream(base, async_name)
    return found


def _own(base: type[BaseChatModel], name: str) -> bool:
    """Whether a class brings this hook itself; BaseChatModel's own only raises or leads to another."""
    hook = getattr(base, name, None)
    return hook is not None and hook is not getattr(BaseChatModel, name, None)


def _open(
    model: BaseChatModel, args: tuple[Any, ...], kwargs: dict[str, Any], *, stream: bool
) -> tuple[Any, Call]:
    """The inner view that will do the work, and the claim to enter before it does."""
    view, gate = inner(model)
    messages = args[0] if args else kwargs["messages"]
    caller = "" if gate.options.agent else caller_of(kwargs.get("run_manager"))
    return view, gate.call(request_of(model, messages, kwargs, caller=caller, stream=stream))


def _like(hook: Callable[..., Any]) -> Callable[[F], F]:
    """Names a method after the hook it stands for, with its signature.

    LangChain passes `run_manager` only to methods that take it.

    The signature is looked at in each call; kept ready, it is found faster than that of a plain method.
    """

    def rename(method: F) -> F:
        wraps(hook)(method)
        method.__signature__ = signature(hook)  # type: ignore[attr-defined]
        return method

    return rename


def _generate(base: type[BaseChatModel]) -> Callable[..., ChatResult]:
    @_like(base._generate)
    def _generate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
        view, call = _open(self, args, kwargs, stream=False)
        with call:
            result: ChatResult = view._generate(*args, **kwargs)
            call.settle(usage_of_result(result))
        return result

    return _generate


def _agenerate(base: type[BaseChatModel]) -> Callable[..., Any]:
    @_like(base._agenerate)
    async def _agenerate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
        view, call = _open(self, args, kwargs, stream=False)
        async with call:
            result: ChatResult = await Apart(view._agenerate(*args, **kwargs))
            call.settle(usage_of_result(result))
        return result

    return _agenerate


# In streams the inner iterator is closed first, then the call is settled: the permit is free only when the
# connection is.


def _stream(base: type[BaseChatModel], name: str) -> Callable[..., Iterator[Any]]:
    @_like(getattr(base, name))
    def _stream(self: BaseChatModel, *args: Any, **kwargs: Any) -> Iterator[Any]:
        view, call = _open(self, args, kwargs, stream=True)
        with (
            call,
            _Settling(view, call) as settling,
            closing(_generator(getattr(view, name)(*args, **kwargs))) as chunks,
        ):
            for chunk in chunks:
                settling.see(chunk)
                yield chunk

    return _stream


def _generator(chunks: Iterator[Any]) -> Generator[Any, None, None]:
    """A hook may return any iterator; generators pass their closing on."""
    yield from chunks


def _astream(base: type[BaseChatModel], name: str) -> Callable[..., AsyncIterator[Any]]:
    @_like(getattr(base, name))
    async def _astream(self: BaseChatModel, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        view, call = _open(self, args, kwargs, stream=True)
        async with (
            call,
            _Settling(view, call) as settling,
            aclosing(getattr(view, name)(*args, **kwargs)) as chunks,
        ):
            while True:
                try:
                    chunk = await Apart(chunks.__anext__())
                except StopAsyncIteration:
                    break
                settling.see(chunk)
                yield chunk

    return _astream


class _Settling:
    """Settles a stream's call with the usage that its chunks told."""

    __slots__ = ("_call", "_ended", "_usage")

    def __init__(self, model: BaseChatModel, call: Call) -> None:
        self._call = call
        self._ended = False
        self._usage = StreamUsage(cumulative=family_of(type(model)) == "openai")

    def see(self, chunk: Any) -> None:
        """Takes the chunk's usage, and tells the lease that the stream is alive.

        Readers of protocol events stop at the last one and leave the generator where it is: settled there
        and then.
        """
        self._usage.see(chunk)
        if isinstance(chunk, dict) and chunk.get("event") == "message-finish":
            self._settle()
        else:
            self._call.keep_alive()

    def _settle(self) -> None:
        if not self._ended:
            self._ended = True
            self._call.settle(self._usage.total)

    def __enter__(self) -> _Settling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A consumer that leaves after the usage has come is settled like one that reads to the end."""
        if error is None or (isinstance(error, GeneratorExit) and self._usage.total is not None):
            self._settle()

    async def __aenter__(self) -> _Settling:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
