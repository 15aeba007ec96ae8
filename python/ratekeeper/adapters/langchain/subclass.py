"""Classes and instances of limited models.

Owns the dynamic subclass of a model's class, its instances and their pickles. May not decide anything:
calls go through `calls`.

A limited model is an instance of a subclass of its own class: whatever asks for a `ChatOpenAI` gets one,
and `bind_tools`, agents and graphs carry the limit along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ratekeeper import forks

from . import calls, clients
from .identify import account_of_model, provider_of
from .view import FIELD, Hold, Kind, hold_of, kind_of_limited, mark

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from ratekeeper.gate import Gate

_kinds: dict[type, Kind] = {}
#: Held while a class is made.
_making = forks.lock()


def limit(model: BaseChatModel, way: Gate) -> BaseChatModel:
    """A limited copy of a model, on the given way but to its own account; the model is left as it is.

    A copy of a model that is limited already is limited anew, once.
    """
    kind = kind_of_limited(type(model))
    limited = model.model_copy()
    if kind is None:
        kind = _kind_of(type(model))
        limited.__class__ = kind.limited
        clients.turn_retries_off(limited.__dict__, clients.family_of(kind.base))
    before, provider = hold_of(model), provider_of(model)
    gate = way.to(provider, account_of_model(provider, limited))
    limited.__dict__[FIELD] = Hold(gate, before.origin if before else model)
    return limited


def _kind_of(base: type[BaseChatModel]) -> Kind:
    """The classes for a model class: made once per process, whatever the number of models and keepers."""
    kind = _kinds.get(base)
    if kind is None:
        with _making:
            kind = _kinds.get(base)
            if kind is None:
                kind = _kinds[base] = _make(base)
                mark(kind)
    return kind


def _make(base: type[BaseChatModel]) -> Kind:
    # A view is never validated: without its schema the class is made in a quarter of the time.
    view = _subclass(base, {"model_config": {"defer_build": True}})
    limited = _subclass(base, {**calls.overrides(base), "__reduce__": _reduce})
    return Kind(base, limited, view)


def _subclass(base: type[BaseChatModel], namespace: dict[str, Any]) -> type[BaseChatModel]:
    """A subclass under the name of its base, which `lc_id`, LangSmith's parameters and `repr` show."""
    common: dict[str, Any] = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__annotations__": {FIELD: Any},
        FIELD: Field(default=None, exclude=True, repr=False),
        **clients.overrides(base),
    }
    if hasattr(base, "__del__"):
        # Some models close their clients when they go. Copies and views use the clients of the model that
        # was wrapped: `Hold.origin` keeps it alive until the last of them is gone, and it closes them
        # itself.
        common["__del__"] = _close_nothing
    metaclass: Callable[..., type[BaseChatModel]] = type(base)
    return metaclass(base.__name__, (base,), {**common, **namespace})


def _close_nothing(self: Any) -> None:
    """In place of a finaliser that closes clients."""


def _reduce(self: BaseChatModel) -> tuple[Any, ...]:
    """Pickles as base class and state: the class has no importable name. Cached clients are built anew."""
    kind = kind_of_limited(type(self))
    state: dict[Any, Any] = dict(self.__getstate__())
    state["__dict__"] = {
        key: value for key, value in state["__dict__"].items() if key not in clients.CACHED_CLIENTS
    }
    return _restore, (kind and kind.base, state)


def _restore(base: type[BaseChatModel], state: dict[Any, Any]) -> BaseChatModel:
    limited = _kind_of(base).limited
    model = limited.__new__(limited)
    model.__setstate__(state)
    return model
