"""Clients whose requests to models go through a gate: a subclass of the user's own client class.

Owns `send`, through which every request of httpx and httpx2 passes, and the order plan → attempt → send → learn →
settle. Works on either package, for it takes their classes from the client.

The subclass shares the instance dict of the client that was wrapped: connections, cookies, headers and whether it is
closed are one and the same.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ratekeeper._tried import REFUSAL
from ratekeeper.adapters.hearing import listening
from ratekeeper.apart import Apart
from ratekeeper.errors import RatekeeperError
from ratekeeper.providers.replies import usage_of_body

from .bodies import hand_over, settle_read
from .refusals import dressed
from .requests import telling_usage

if TYPE_CHECKING:
    from types import ModuleType

    from ratekeeper.call import Call
    from ratekeeper.ear import Ear

    from .way import Way

_SLOT = "_ratekeeper_hold"


class Hold(NamedTuple):
    """What a gated client has beyond its own.

    Attributes:
        origin: The client that was wrapped, kept alive: some close their connections when they are collected.
        way: To the keeper.
    """

    origin: Any
    way: Way


def hold_of(client: object) -> Hold | None:
    """What a gated client carries; None for any other."""
    hold = getattr(client, _SLOT, None)
    return hold if isinstance(hold, Hold) else None


def gated(client: Any, hold: Hold) -> Any:
    """A client of a subclass of `client`'s class that shares all it has."""
    base: Any = type(client)
    kind = _kind(base)
    twin: Any = object.__new__(kind)
    object.__setattr__(twin, "__dict__", client.__dict__)
    object.__setattr__(twin, _SLOT, hold)
    return twin


def _package(kind: type) -> ModuleType:
    """Httpx or httpx2: where the class, or the one it descends from, comes from."""
    for base in kind.__mro__:
        name = base.__module__.partition(".")[0]
        if name in ("httpx", "httpx2"):
            return sys.modules[name]
    raise TypeError(f"{kind.__qualname__} is no class of httpx or httpx2")


@cache
def _kind(base: Any) -> Any:
    package = _package(base)
    send = _asend(base, package) if issubclass(base, package.AsyncClient) else _send(base, package)
    members = {
        "__slots__": (_SLOT,),
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__del__": _leave,
        "__copy__": _itself,
        "__deepcopy__": _itself,
        "send": send,
    }
    return type(base.__name__, (base,), members)


def _leave(self: Any) -> None:
    """The connections belong to the client that was wrapped, which closes them as it always has."""


def _itself(self: Any, *_: Any) -> Any:
    """A copy is the same client: connections cannot be copied, and configurations that hold one are."""
    return self


@cache
def _refused(package: ModuleType) -> type[Exception]:
    """The package's own exception for a bad status, to tell ours from those that event hooks raise."""
    return type("RefusedError", (package.HTTPStatusError,), {})


def _send(base: type, package: ModuleType) -> Any:
    refused_type = _refused(package)

    def send(self: Any, request: Any, *, stream: bool = False, **kwargs: Any) -> Any:
        hold: Hold = self._ratekeeper_hold
        listener = listening()
        if listener is not None or not hold.way.asks_model(request):
            return _heard(base.send(self, request, stream=stream, **kwargs), listener)  # type: ignore[attr-defined]
        request.read()
        try:
            plan = hold.way.plan(request)
            if plan.adds_usage:
                request = telling_usage(request, plan.asked)
            for call in plan.attempts:
                with ExitStack() as held:
                    held.enter_context(call)
                    response = base.send(self, request, stream=stream, **kwargs)  # type: ignore[attr-defined]
                    if response.is_error:
                        response.read()
                    _learn(call, response, refused_type)
                    if stream and response.is_closed:
                        settle_read(response, call, without_usage=plan.adds_usage)
                    elif stream:
                        body = hand_over(response, call, package, without_usage=plan.adds_usage)
                        body.begin()
                        held.pop_all()
                    else:
                        call.settle(usage_of_body(response.content))
            return response
        except refused_type as error:
            return error.response  # type: ignore[attr-defined]
        except RatekeeperError as error:
            raise dressed(error, request) from None

    return send


def _asend(base: type, package: ModuleType) -> Any:
    refused_type = _refused(package)

    async def send(self: Any, request: Any, *, stream: bool = False, **kwargs: Any) -> Any:
        hold: Hold = self._ratekeeper_hold
        listener = listening()
        if listener is not None or not hold.way.asks_model(request):
            return _heard(await base.send(self, request, stream=stream, **kwargs), listener)  # type: ignore[attr-defined]
        await request.aread()
        try:
            plan = hold.way.plan(request)
            if plan.adds_usage:
                request = telling_usage(request, plan.asked)
            async for call in plan.attempts:
                async with AsyncExitStack() as held:
                    await held.enter_async_context(call)
                    # Host names are looked up on executor threads, where others may wait for this very permit.
                    response = await Apart(base.send(self, request, stream=stream, **kwargs))  # type: ignore[attr-defined]
                    if response.is_error:
                        await response.aread()
                    _learn(call, response, refused_type)
                    if stream and response.is_closed:
                        settle_read(response, call, without_usage=plan.adds_usage)
                    elif stream:
                        body = hand_over(response, call, package, without_usage=plan.adds_usage)
                        await body.begin()
                        held.pop_all()
                    else:
                        call.settle(usage_of_body(response.content))
            return response
        except refused_type as error:
            return error.response  # type: ignore[attr-defined]
        except RatekeeperError as error:
            raise dressed(error, request) from None

    return send


def _heard(response: Any, listener: Ear | None) -> Any:
    if listener is not None and response.is_success:
        listener.hear(response.headers)
    return response


def _learn(call: Call, response: Any, refused_type: type[Exception]) -> None:
    """Takes the headers of an answer; a refusal's are read from the exception that it becomes.

    Raises:
        RefusedError: The status says that this is no answer.
    """
    if response.is_error:
        message = f"HTTP {response.status_code} {response.reason_phrase}"
        error = refused_type(message, request=response.request, response=response)  # type: ignore[call-arg]
        response.extensions[REFUSAL] = error
        raise error
    call.learn(response.headers)
