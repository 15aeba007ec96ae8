"""LLMs that ask through LiteLLM: CrewAI calls that module by its global name, so for a wrapped LLM the name is another.

Owns the copies of the methods that do: they run as they are written, with the gated facade under the name of `litellm`
and all else CrewAI's. The module itself is left alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache, wraps
from types import CodeType, FunctionType
from typing import Any

from ratekeeper.adapters import litellm
from ratekeeper.errors import ConfigError

from . import gates, inside

_MODULE = "crewai.llm"
_METHODS = (
    "_handle_non_streaming_response",
    "_handle_streaming_response",
    "_ahandle_non_streaming_response",
    "_ahandle_streaming_response",
)
#: What asks a model, of LiteLLM's functions.
_ASKING = frozenset(
    {
        "completion",
        "acompletion",
        "responses",
        "aresponses",
        "text_completion",
        "atext_completion",
        "embedding",
    }
)


def overrides(base: Any) -> dict[str, Any]:
    """The methods that call LiteLLM.

    Raises:
        ConfigError: Others do so too, or the class has methods of its own in their place.
    """
    module = vars(sys.modules[_MODULE])
    known = {name: getattr(base, name, None) for name in _METHODS}
    strange = [name for name, method in known.items() if getattr(method, "__globals__", None) is not module]
    strange += [name for name in _callers(module["LLM"]) if name not in _METHODS]
    if strange:
        raise ConfigError(
            f"this {base.__qualname__} calls LiteLLM in {', '.join(strange)}, where nobody knows how to gate it: known "
            "is the LLM of crewai 1.15",
            field="llm",
        )
    return {name: _rebound(method, _NAMES.get(name, facade_of)) for name, method in known.items()}


def gate_all(llm: Any, base: Any) -> None:
    """Nothing: LiteLLM's clients are its own, and its functions are gated when they are called."""
    del llm, base


def facade_of(llm: Any) -> litellm.LiteLLM:
    """LiteLLM as a wrapped LLM sees it."""
    return _facade(inside.held(llm))


@cache
def _facade(hold: inside.Hold) -> litellm.LiteLLM:
    return litellm.bound(gates.keeper(hold), hold.options)


class _ReadAhead:
    """LiteLLM for a consumer of streams that runs a tool, which may ask a model, between two chunks."""

    def __init__(self, facade: litellm.LiteLLM) -> None:
        self._facade = facade

    def __getattr__(self, name: str) -> Any:
        return getattr(self._facade, name)

    def completion(self, **given: Any) -> Iterator[Any]:
        """The chunks of `litellm.completion`."""
        return _ahead(self._facade.completion(**given))


def _ahead(stream: Any) -> Iterator[Any]:
    """The chunks; from the first part of a tool's call on, they are handed on when all have come and the slot is free."""
    chunks = iter(stream)
    for chunk in chunks:
        yield from (chunk, *chunks) if _calls_tool(chunk) else (chunk,)


def _calls_tool(chunk: Any) -> bool:
    choices = getattr(chunk, "choices", None) or ()
    return any(getattr(getattr(choice, "delta", None), "tool_calls", None) for choice in choices)


def _read_ahead(llm: Any) -> _ReadAhead:
    return _ReadAhead(facade_of(llm))


#: What is LiteLLM to a method that needs more than the facade.
_NAMES: dict[str, Callable[[Any], Any]] = {"_handle_streaming_response": _read_ahead}


def _rebound(method: Any, name_of: Callable[[Any], Any]) -> Callable[..., Any]:
    @wraps(method)
    def rebound(self: Any, *args: Any, **kwargs: Any) -> Any:
        # CrewAI binds more of its globals when LiteLLM is first needed: those of this moment count.
        names = {**method.__globals__, "litellm": name_of(self)}
        function = FunctionType(
            method.__code__, names, method.__name__, method.__defaults__, method.__closure__
        )
        function.__kwdefaults__ = method.__kwdefaults__
        return function(self, *args, **kwargs)

    return rebound


def _callers(kind: Any) -> Iterator[str]:
    """The methods of a class that name LiteLLM and a function of it that asks a model."""
    for name, method in vars(kind).items():
        code = getattr(method, "__code__", None)
        used = set(_names(code)) if code is not None else set()
        if "litellm" in used and not used.isdisjoint(_ASKING):
            yield name


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
