"""Wrapped LLMs: clones of a subclass of their own class, which share their clients and their counts of tokens.

Owns the classes and the clones. Never through a constructor: CrewAI's build other clients, and other classes.
"""

from __future__ import annotations

from copy import copy, deepcopy
from functools import cache
from typing import Any

from pydantic import PrivateAttr

from . import clients, inside

_BASE = "__ratekeeper_base__"
_SLOTS = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def limited(llm: Any, hold: inside.Hold) -> Any:
    """A wrapped clone of an LLM; one that is wrapped already is wrapped anew."""
    base = base_of(type(llm))
    twin = clone(llm, _kind(base))
    twin.__pydantic_private__["_ratekeeper"] = hold
    clients.gate_all(twin, base)
    return twin


def base_of(kind: Any) -> Any:
    """The class that a wrapped class was made of, or the class itself."""
    return getattr(kind, _BASE, kind)


def clone(model: Any, kind: Any) -> Any:
    """An object of `kind` with the fields and private attributes of a pydantic model, neither validated nor copied."""
    twin = object.__new__(kind)
    object.__setattr__(twin, "__dict__", dict(model.__dict__))
    for slot in _SLOTS:
        object.__setattr__(twin, slot, copy(getattr(model, slot, None)))
    return twin


def subclass(base: Any, members: dict[str, Any]) -> Any:
    """A subclass of a pydantic class under its name; no schema is built before one is needed."""
    names = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "model_config": {"defer_build": True},
        _BASE: base,
        # Some close what they hold when they go; the original does that, whose connections these are.
        **({"__del__": _leave} if hasattr(base, "__del__") else {}),
    }
    return type(base)(base.__name__, (base,), {**names, **members})


def _leave(self: Any) -> None:
    """In place of a finaliser that closes what is shared."""


@cache
def _kind(base: Any) -> Any:
    members = {
        "__annotations__": {"_ratekeeper": Any, _BASE: "ClassVar[Any]"},
        "_ratekeeper": PrivateAttr(default=None),
        "__copy__": _copy,
        "__deepcopy__": _deepcopy,
        **inside.overrides(base),
        **clients.overrides(base),
    }
    return subclass(base, members)


def _copy(self: Any) -> Any:
    """Wrapped like this one, on the same clients; CrewAI's own copy of a routed LLM would be a plain one."""
    return clone(self, type(self))


def _deepcopy(self: Any, memo: Any = None) -> Any:
    """Wrapped like this one, with settings and counts of its own; clients cannot be copied and stay shared."""
    twin = clone(self, type(self))
    for values in (twin.__dict__, twin.__pydantic_private__):
        values.update({name: deepcopy(value, memo) for name, value in values.items() if _is_plain(value)})
    return twin


def _is_plain(value: Any) -> bool:
    return isinstance(value, list | dict | set)
