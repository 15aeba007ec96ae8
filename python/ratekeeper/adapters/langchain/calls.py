"""The four ways into a chat model, each behind the gate.

Owns the order view → gate → attempts → headers → usage. May not know providers or SDK clients.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import aclosing, closing
from functools import wraps
from inspect import signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables.config import var_child_runnable_config

from ratekeeper.apart import Apart
from ratekeeper.errors import RatekeeperError
from ratekeeper.tags import tags

from .clients import family_of
from .headers import Ear
from .refusals import check, told
from .request import caller_of, labels_of, request_of
from .usage import StreamUsage, usage_of_result
from .view import inner

if TYPE_CHECKING:
    from langchain_core.outputs import ChatResult

    from ratekeeper.gate import Attempts, Call

F = TypeVar("F", bound=Callable[..., Any])

#: Where a base streams, its own hooks are overridden and no others: LangChain looks which of them a class
#: overrides. An asynchronous one goes with its synchronous twin: LangChain's default runs the twin on
#: executor threads, and calls that wait there would keep the running ones from a thread.
_STREAMS = (("_stream", "_astream"), ("_stream_chat_model_events", "_astream_chat_model_events"))


#: What a hook is given beside the call's settings.
_NO_SETTINGS = ("messages", "run_manager")


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
) -> tuple[Any, Attempts]:
    """The inner view that will do the work, and the attempts in which it does."""
    view, gate = inner(model)
    messages = args[0] if args else kwargs["messages"]
    manager = kwargs.get("run_manager")
    caller = "" if gate.options.agent else caller_of(manager)
    parent = _parent_of(manager)
    check(parent)
    run = None if parent is None else _Run(parent, model, kwargs)
    request = request_of(model, messages, kwargs, caller=caller, stream=stream, run=run)
    labels = labels_of(_manager_of(manager))
    if not labels:
        return view, gate.attempts(request)
    with tags(langchain_tags=labels):
        return view, gate.attempts(request)


def _run_of(kwargs: dict[str, Any]) -> Hashable:
    return _parent_of(kwargs.get("run_manager"))


def _parent_of(manager: Any) -> Hashable:
    """The run that the call is part of; LangChain hands streams no manager, so theirs is that of the context."""
    return getattr(_manager_of(manager), "parent_run_id", None)


def _manager_of(manager: Any) -> Any:
    return (var_child_runnable_config.get() or {}).get("callbacks") if manager is None else manager


class _Run:
    """The run that a call is part of, and how it calls: what LangChain's own retries repeat is equal in both.

    A fallback in the same run that asks the same with other settings is a call of its own. Settings are compared only
    where the rest is equal, which is after a failure.
    """

    __slots__ = ("_model", "_options", "_parent")

    def __init__(self, parent: Hashable, model: BaseChatModel, options: dict[str, Any]) -> None:
        self._parent = parent
        self._model = model
        self._options = options

    def __hash__(self) -> int:
        return hash(self._parent)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Run) and self._parent == other._parent and self._asks() == other._asks()

    def _asks(self) -> str:
        """As LangChain's caches tell calls apart, without the messages and secrets."""
        options = {name: value for name, value in self._options.items() if name not in _NO_SETTINGS}
        return self._model._get_llm_string(**options)


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
        view, attempts = _open(self, args, kwargs, stream=False)
        try:
            for call in attempts:
                with call, Ear(call.learn) as ear:
                    result: ChatResult = view._generate(*args, **kwargs)
                    ear.read(result)
                    call.settle(usage_of_result(result))
        except RatekeeperError as error:
            raise told(error, _run_of(kwargs)) from None
        return result

    return _generate


def _agenerate(base: type[BaseChatModel]) -> Callable[..., Any]:
    @_like(base._agenerate)
    async def _agenerate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
        view, attempts = _open(self, args, kwargs, stream=False)
        try:
            async for call in attempts:
                async with call:
                    with Ear(call.learn) as ear:
                        result: ChatResult = await Apart(view._agenerate(*args, **kwargs))
                    ear.read(result)
                    call.settle(usage_of_result(result))
        except RatekeeperError as error:
            raise told(error, _run_of(kwargs)) from None
        return result

    return _agenerate


# In streams the inner iterator is closed first, then the call is settled: the permit is free only when the
# connection is.


def _stream(base: type[BaseChatModel], name: str) -> Callable[..., Iterator[Any]]:
    @_like(getattr(base, name))
    def _stream(self: BaseChatModel, *args: Any, **kwargs: Any) -> Iterator[Any]:
        view, attempts = _open(self, args, kwargs, stream=True)
        try:
            for call in attempts:
                with (
                    call,
                    _Settling(view, call) as settling,
                    closing(settling.ear.steps(iter(getattr(view, name)(*args, **kwargs)))) as chunks,
                ):
                    for chunk in chunks:
                        settling.see(chunk)
                        yield chunk
        except RatekeeperError as error:
            raise told(error, _run_of(kwargs)) from None

    return _stream


def _astream(base: type[BaseChatModel], name: str) -> Callable[..., AsyncIterator[Any]]:
    @_like(getattr(base, name))
    async def _astream(self: BaseChatModel, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        view, attempts = _open(self, args, kwargs, stream=True)
        try:
            async for call in attempts:
                async with (
                    call,
                    _Settling(view, call) as settling,
                    aclosing(getattr(view, name)(*args, **kwargs)) as chunks,
                ):
                    while True:
                        try:
                            with settling.ear:
                                chunk = await Apart(chunks.__anext__())
                        except StopAsyncIteration:
                            break
                        settling.see(chunk)
                        yield chunk
        except RatekeeperError as error:
            raise told(error, _run_of(kwargs)) from None

    return _astream


class _Settling:
    """Settles a stream's call with the usage that its chunks told.

    Attributes:
        ear: To be entered at each step of the stream.
    """

    __slots__ = ("_call", "_ended", "_usage", "ear")

    def __init__(self, model: BaseChatModel, call: Call) -> None:
        self._call = call
        self._ended = False
        self.ear = Ear(call.learn)
        self._usage = StreamUsage(cumulative=family_of(type(model)) == "openai")

    def see(self, chunk: Any) -> None:
        """Takes the chunk's usage, and tells the lease that the stream is alive.

        Readers of protocol events stop at the last one and leave the generator where it is: settled there
        and then.
        """
        self.ear.read(chunk)
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
