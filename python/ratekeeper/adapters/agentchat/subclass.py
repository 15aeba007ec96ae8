"""Classes and instances of wrapped model clients.

Owns the dynamic subclass of a client's class and its instances, their copies and pickles. May not decide anything: what
an SDK asks is gated below, at its client, and what is gated as a whole by `whole`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ratekeeper import adapters
from ratekeeper.adapters.by_name import keeper_named

from . import azure, component
from .hold import SLOT, Hold, hold_of
from .inside import check, inside
from .request import request_of
from .seams import whole_of
from .streams import create_stream, stream_below
from .whole import create_whole, stream_whole

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

_BASE = "__ratekeeper_base__"


def keep(client: Any, keeper: Keeper, options: Options) -> Any:
    """A client of a subclass of `client`'s class, with counters of its own, whose calls go through `keeper`.

    Raises:
        ConfigError: Nobody knows how its calls can be gated.
    """
    whole = whole_of(client)
    base = base_of(type(client))
    twin = object.__new__(_kind(base, whole is not None))
    twin.__dict__.update(client.__dict__)
    # The agent is told by tags, which the framework's own name for it wins over.
    below = options._replace(agent=None)
    if whole is None:
        twin._client = adapters.wrap(client._client, keeper, below)
        gate = keeper.gate("generic", "default", below)
    else:
        azure.send_once(twin, tells_usage=options.stream_usage)
        gate = keeper.gate(*whole, below)
    twin.__dict__[SLOT] = Hold(keeper, options, gate)
    return twin


def base_of(kind: type) -> type:
    """The class a wrapped client's class was made from; any other class itself."""
    base: type = getattr(kind, _BASE, kind)
    return base


@cache
def _kind(base: Any, is_whole: bool) -> Any:
    members = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        _BASE: base,
        "create": _create(create_whole(base) if is_whole else base.create),
        "create_stream": create_stream(stream_whole(base) if is_whole else stream_below(base)),
        "dump_component": component.dumping(base),
        "__copy__": _copy,
        "__deepcopy__": lambda self, _: _copy(self),
        "__reduce_ex__": lambda self, _: _reduce(self),
    }
    if "tiktoken" in getattr(base.count_tokens, "__globals__", ()):
        members["count_tokens"] = _count_tokens
    return type(base.__name__, (base,), members)


def _create(create: Callable[..., Any]) -> Any:
    async def gated(self: Any, messages: Sequence[Any], **arguments: Any) -> Any:
        check(messages)
        with inside(self.__dict__[SLOT]):
            return await create(self, messages, **arguments)

    return gated


def _count_tokens(self: Any, messages: Sequence[Any], *, tools: Sequence[Any] = ()) -> int:
    """An estimate: exact counts need a vocabulary, which the client would fetch from the network."""
    count: int = self.__dict__[SLOT].count(request_of(self, messages, tools))
    return count


def _copy(self: Any) -> Any:
    """A copy has counters of its own, on the same connections: they cannot be copied, and configurations are."""
    twin = object.__new__(type(self))
    twin.__dict__.update(self.__dict__)
    return twin


def _reduce(self: Any) -> tuple[Any, ...]:
    """Pickles as the class it was made from, which builds its SDK's client anew, and the keeper's name."""
    hold = hold_of(self)
    base: Any = base_of(type(self))
    told = base.__getstate__(self) if hasattr(base, "__setstate__") else self.__dict__
    state = {name: value for name, value in told.items() if name != SLOT}
    return _reopen, (base, state, hold and hold.keeper.name, hold and hold.options)


def _reopen(base: Any, state: dict[str, Any], keeper: str, options: Options) -> Any:
    client = base.__new__(base)
    if hasattr(base, "__setstate__"):
        client.__setstate__(state)
    else:
        client.__dict__.update(state)
    return keep(client, keeper_named(keeper), options)
