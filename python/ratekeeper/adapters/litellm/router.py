"""LiteLLM's Router under a keeper: each deployment waits for its own quota.

Owns the subclass of the user's Router class: which of its methods ask a model, that they ask through the gate, and that
the Router itself never sends anything twice. Choosing a deployment, cooling it down and falling back on others stay the
Router's.

The copy shares the Router's deployments, caches and cooldowns. Its methods are those of the user's own class, with
LiteLLM's functions in their globals replaced by gated ones: so a version that asks a model in another way is noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache, partial
from inspect import iscoroutinefunction
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

import litellm
from litellm.litellm_core_utils.asyncify import run_async_function

from ratekeeper.errors import ConfigError, RatekeeperError

from .calls import Way
from .facade import ASKS_ELSE, GATED, PASSES, gated

_HOLD = "_ratekeeper_hold"
_MARK = "__ratekeeper_base__"
#: What the wrap stands on, as of litellm 1.106.
_SEAMS = (
    "async_function_with_fallbacks",
    "async_function_with_fallbacks_common_utils",
    "async_function_with_retries",
    "factory_function",
    "function_with_fallbacks",
    "initialize_assistants_endpoint",
    "initialize_router_endpoints",
    "make_call",
)
_ASK = ("_completion", "_acompletion", "_embedding", "_aembedding", "text_completion", "_atext_completion")
#: Models that choose a model; they hold the Router that made them, which is not the gated one.
_CHOOSERS = ("auto_routers", "complexity_routers", "adaptive_routers", "quality_routers")

#: The refusals of ours in the request that runs here: the first one ends it.
_refusals: ContextVar[list[RatekeeperError] | None] = ContextVar("ratekeeper_litellm_refusals", default=None)
#: Whether a synchronous call stops an event loop while it runs.
_stops_loop: ContextVar[bool] = ContextVar("ratekeeper_litellm_stops_loop", default=False)


class Hold(NamedTuple):
    """What a gated Router has beyond its own.

    Attributes:
        origin: The Router that was wrapped, whose callbacks LiteLLM has.
        way: To the keeper.
    """

    origin: Any
    way: Way


def hold_of(router: Any) -> Hold | None:
    """What a gated Router carries; None for any other."""
    hold = getattr(router, "__dict__", {}).get(_HOLD)
    return hold if isinstance(hold, Hold) else None


def gated_router(router: Any, way: Way) -> Any:
    """A Router of the same class whose every call of a model goes through `way`.

    Raises:
        ConfigError: It has deployments that are models themselves, or this version of LiteLLM lacks what a wrap
            stands on.
    """
    _check(router)
    kind: Any = type(router)
    base = getattr(kind, _MARK, kind)
    twin = object.__new__(_kind(base))
    twin.__dict__.update(router.__dict__)
    twin.__dict__[_HOLD] = Hold(router, way)
    twin.num_retries = 0
    methods = _asking_methods(base)
    module = _Module(way)
    for name, method in methods.items():
        twin.__dict__[name] = MethodType(_rebound(method, module), twin)
    twin.chat = litellm.Chat(params=twin.default_litellm_params, router_obj=twin)
    twin.initialize_assistants_endpoint()
    twin.initialize_router_endpoints()
    return twin


def _check(router: Any) -> None:
    kind: Any = type(router)
    missing = [name for name in _SEAMS if not callable(getattr(kind, name, None))]
    missing += [name for name in _ASK if name not in _asking_methods(kind)]
    if missing:
        raise ConfigError(
            f"this {kind.__name__} has no {', '.join(missing)} to gate: expected the Router of litellm 1.106 or one "
            "that works alike",
            field="router",
        )
    choosers = [name for name in _CHOOSERS if getattr(router, name, None)]
    if choosers:
        raise ConfigError(
            f"this {kind.__name__} has {', '.join(choosers)}, which ask models past the gate; expected deployments that "
            "name their model",
            field="model_list",
        )


class _Module:
    """LiteLLM as the methods of a gated Router see it."""

    def __init__(self, way: Way) -> None:
        self._way = way

    def __getattr__(self, name: str) -> Any:
        original = getattr(litellm, name)
        if name not in GATED and name not in ASKS_ELSE:
            return original
        function = gated(original, name, self._way) if name in GATED else _refused(original)
        return self.__dict__.setdefault(name, function)


def _refused(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of a function that cannot be gated."""
    name = original.__name__

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConfigError(f"litellm.{name} is not gated, so a wrapped Router does not call it", field=name)

    refuse.__name__ = name
    return refuse


@cache
def _asking_methods(kind: Any) -> dict[str, FunctionType]:
    """The methods of a Router class that call one of LiteLLM's functions which ask a model."""
    found: dict[str, FunctionType] = {}
    for name in dir(kind):
        method = getattr(kind, name)
        if isinstance(method, FunctionType) and method.__globals__.get("litellm") is litellm:
            names = set(_names_in(method.__code__))
            if "litellm" in names and not names.isdisjoint(GATED | ASKS_ELSE):
                found[name] = method
    return found


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _rebound(method: FunctionType, module: _Module) -> FunctionType:
    """The same method, to which `litellm` means `module`."""
    copy = FunctionType(
        method.__code__,
        {**method.__globals__, "litellm": module},
        method.__name__,
        method.__defaults__,
        method.__closure__,
    )
    copy.__kwdefaults__ = method.__kwdefaults__
    return copy


@cache
def _kind(base: Any) -> Any:
    members = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        _MARK: base,
        "make_call": _make_call(base),
        "factory_function": _factory_function(base),
        "function_with_fallbacks": _function_with_fallbacks,
        "async_function_with_fallbacks": _ending_with_refusals(base.async_function_with_fallbacks),
        "async_function_with_fallbacks_common_utils": _ending_with_refusals(
            base.async_function_with_fallbacks_common_utils
        ),
        "async_function_with_retries": _without_retries(base),
    }
    return type(base.__name__, (base,), members)


def _without_retries(base: Any) -> Any:
    async def async_function_with_retries(self: Any, *args: Any, **kwargs: Any) -> Any:
        refusals = _refusals.get()
        if refusals:
            raise refusals[0]
        try:
            return await base.async_function_with_retries(self, *args, **{**kwargs, "num_retries": 0})
        except RatekeeperError as error:
            if refusals is not None:
                refusals.append(error)
            raise

    return async_function_with_retries


def _ending_with_refusals(hook: Any) -> Any:
    """A walk through the fallbacks that ends where we refuse: the Router would take any exception for a failure."""

    async def walk(self: Any, *args: Any, **kwargs: Any) -> Any:
        refused = args[0] if args else kwargs.get("e")
        if isinstance(refused, RatekeeperError):
            raise refused
        with _one_request() as refusals:
            try:
                return await hook(self, *args, **kwargs)
            except Exception:
                if refusals:
                    raise refusals[0] from None
                raise

    walk.__name__ = walk.__qualname__ = hook.__name__
    return walk


@contextmanager
def _one_request() -> Iterator[list[RatekeeperError]]:
    """The refusals of the request that runs here, whose fallbacks are parts of it."""
    outer = _refusals.get()
    if outer is not None:
        yield outer
        return
    refusals: list[RatekeeperError] = []
    token = _refusals.set(refusals)
    try:
        yield refusals
    finally:
        _refusals.reset(token)


def _make_call(base: Any) -> Any:
    async def make_call(self: Any, original_function: Any, *args: Any, **kwargs: Any) -> Any:
        """As of the Router, which runs its synchronous calls on an event loop of their own: nobody may wait there."""
        function = getattr(original_function, "func", original_function)
        if not iscoroutinefunction(function) and not _stops_loop.get():
            original_function = partial(asyncio.to_thread, original_function)
        return await base.make_call(self, original_function, *args, **kwargs)

    return make_call


def _function_with_fallbacks(self: Any, *args: Any, **kwargs: Any) -> Any:
    """As of the Router, but its thread keeps the tags, and knows whether somebody's event loop stands still meanwhile."""
    stops_loop = _runs_loop()
    context = copy_context()
    context.run(_stops_loop.set, stops_loop)
    work = partial(context.run, run_async_function, self.async_function_with_fallbacks, *args, **kwargs)
    if not stops_loop:
        return work()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def _runs_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _factory_function(base: Any) -> Any:
    def factory_function(self: Any, original_function: Any, *args: Any, **kwargs: Any) -> Any:
        """As of the Router, with what asks a model gated, and what is not known refused."""
        name = original_function.__name__
        if name in GATED and not hasattr(original_function, "__ratekeeper__"):
            original_function = gated(original_function, name, self.__dict__[_HOLD].way)
        elif name not in GATED and name not in PASSES:
            return _refused(original_function)
        return base.factory_function(self, original_function, *args, **kwargs)

    return factory_function
