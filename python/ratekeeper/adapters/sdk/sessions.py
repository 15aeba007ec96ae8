"""What an SDK's client opens that is no request: sessions over a websocket, which no HTTP client below carries.

Owns the members that refuse them, of the client's class and of its resources that lead to one.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

from ratekeeper.errors import ConfigError

#: Resources that are nothing but sessions, and those through which the way to one leads.
_SESSIONS = ("realtime", "live")
_ON_THE_WAY = ("responses", "beta")


def refusals(base: Any) -> dict[str, Any]:
    """The members of a class of clients or resources that refuse sessions in place of its own."""
    found: dict[str, Any] = {name: property(_refuse) for name in _SESSIONS if hasattr(base, name)}
    found |= {
        name: cached_property(_shut(getattr(base, name))) for name in _ON_THE_WAY if hasattr(base, name)
    }
    if hasattr(base, "connect"):
        found["connect"] = _refuse
    return found


def _shut(made: Any) -> Any:
    """The maker of a resource, as of the SDK, which opens no sessions."""

    def resource(self: Any) -> Any:
        found = made.__get__(self) if isinstance(made, property) else made.func(self)
        kind: Any = type(found)
        found.__class__ = _kind(kind)
        return found

    return resource


@cache
def _kind(base: Any) -> Any:
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {**names, **refusals(base)})


def _refuse(*_: Any, **__: Any) -> Any:
    raise ConfigError(
        "sessions over a websocket (realtime, live, responses.connect) are no requests and cannot wait for a quota: use "
        "the client that was wrapped for them",
        field="realtime",
    )
