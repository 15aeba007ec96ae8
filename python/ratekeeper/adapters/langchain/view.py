"""What a limited model carries, and the inner view of it that does the work of a call.

Owns both. May not make classes (see `subclass`) and may not decide anything.

A limited model hands each call to an *inner view* of itself: an object of a second subclass of its class,
without limits, that shares the instance dict. What the model calls on itself during a call (`_agenerate` →
`_generate`, `_generate` → `_stream`) stays inside the view and is counted once, on whatever thread or task
it runs; what anybody else calls meanwhile (a callback, a tool, the consumer of a stream) meets the limited
model and is counted by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ratekeeper.errors import ConfigError

from .identify import account_of_model, source_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from ratekeeper.gate import Gate

#: The one field that a limited model has beyond its own. It is excluded from dumps, and so from cache keys
#: and traces.
FIELD = "ratekeeper"

#: Where a limited class carries its Kind, for its instances and for subclasses made of it.
_KIND = "__ratekeeper_kind__"

_SLOTS = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


class Kind(NamedTuple):
    """The classes that belong to one model class: itself, its limited subclass, and its views' class."""

    base: type[BaseChatModel]
    limited: type[BaseChatModel]
    view: type[BaseChatModel]


def mark(kind: Kind) -> None:
    """Makes a kind known to its limited class."""
    setattr(kind.limited, _KIND, kind)


def kind_of_limited(limited: type[BaseChatModel]) -> Kind | None:
    """The kind of a limited class or a subclass of one; None for any other."""
    return getattr(limited, _KIND, None)


class Hold:
    """What a limited model carries in its field; its copies share it.

    Attributes:
        gate: The way to the quota of the account the model was wrapped with.
        origin: The model that was wrapped, kept alive as the owner of the clients; None after unpickling.
    """

    __slots__ = ("_last", "gate", "origin")

    def __init__(self, gate: Gate, origin: BaseChatModel | None = None) -> None:
        self.gate = gate
        self.origin = origin
        self._last: tuple[tuple[object, ...], Gate] | None = None

    def gate_of(self, model: BaseChatModel) -> Gate:
        """The gate of the account this copy uses: a copy may have been given another key or address."""
        source, last = source_of(model), self._last
        if last is not None and last[0] == source:
            return last[1]
        gate = self.gate.to(self.gate.provider, account_of_model(self.gate.provider, model))
        self._last = (source, gate)
        return gate

    def __copy__(self) -> Hold:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Hold:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Hold, (self.gate,)

    def __repr__(self) -> str:
        return repr(self.gate)


def hold_of(model: BaseChatModel) -> Hold | None:
    """What a limited model carries; None for any other."""
    hold = model.__dict__.get(FIELD)
    return hold if isinstance(hold, Hold) else None


def inner(model: BaseChatModel) -> tuple[Any, Gate]:
    """The inner view of a limited model, for one call, and the gate of that call.

    Raises:
        ConfigError: The model was made from a limited model's class, not by wrapping: it belongs to no
            keeper.
    """
    hold = hold_of(model)
    if hold is None:
        raise ConfigError(
            f"this {type(model).__name__} was built from the class of a wrapped model and belongs to no "
            "keeper; pass it to keeper.wrap(), or build it from the original class",
            field="model",
        )
    view = object.__new__(getattr(type(model), _KIND).view)
    for slot in _SLOTS:
        object.__setattr__(view, slot, getattr(model, slot))
    return view, hold.gate_of(model)
