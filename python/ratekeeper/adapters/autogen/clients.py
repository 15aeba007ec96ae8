"""The HTTP client that an entry of an llm_config gets.

Owns the way that such a client goes by: AutoGen copies, dumps and rebuilds configs, but an HTTP client in them stays
the same object, so it also carries which keeper an entry belongs to.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize

from ratekeeper.adapters import http
from ratekeeper.adapters.http.client import Hold, gated, hold_of
from ratekeeper.adapters.http.way import Plan, Way

from .chats import current_chat

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

#: Those of OpenAI's SDK, in seconds.
_TIMEOUT, _CONNECT = 600.0, 5.0
_MOST_CONNECTIONS, _MOST_IDLE = 1000, 100


class AgentWay(Way):
    """A wrapped config's way to its keeper; inside an asynchronous chat a wait for a lease can be cancelled."""

    __slots__ = ()

    @property
    def keeper(self) -> Keeper:
        """Whose quotas count."""
        return self._keeper

    @property
    def options(self) -> Options:
        """How the config was wrapped."""
        return self._options

    def plan(self, request: Any) -> Plan:
        """As of any wrapped client; what waits, waits where the chat can call it back."""
        plan = super().plan(request)
        chat = current_chat()
        return plan if chat is None else plan._replace(attempts=chat.attempts(plan.attempts))


def way_of(client: object) -> AgentWay | None:
    """The way that an entry's HTTP client carries; None for one that no keeper has wrapped."""
    hold = hold_of(client)
    return hold.way if hold is not None and isinstance(hold.way, AgentWay) else None


def on_way(client: Any, way: AgentWay) -> Any:
    """A client that goes by `way`: on the connections of `client`, or on its own if that is None or one of ours.

    Raises:
        ConfigError: Another keeper has wrapped it.
    """
    if client is None:
        return _fresh(way)
    hold = hold_of(http.wrap(client, way.keeper, way.options))
    assert hold is not None, "http.wrap has just put it there"
    return _fresh(way) if client in _ours else gated(hold.origin, Hold(hold.origin, way))


#: Clients that nobody else has.
_ours: WeakSet[Any] = WeakSet()


def _fresh(way: AgentWay) -> Any:
    """A client with the timeouts and pool of OpenAI's SDK, which closes its connections when it is collected."""
    package = _package()
    origin = package.Client(
        timeout=package.Timeout(_TIMEOUT, connect=_CONNECT),
        limits=package.Limits(max_connections=_MOST_CONNECTIONS, max_keepalive_connections=_MOST_IDLE),
        follow_redirects=True,
    )
    client = gated(origin, Hold(origin, way))
    # Not in a __del__: in a cycle of garbage, which agents are, the sockets may go before it.
    finalize(client, origin.close)
    _ours.add(client)
    return client


@cache
def _package() -> Any:
    """What AutoGen and the SDK take: httpx, or httpx2 where that is all there is."""
    return import_module("httpx" if find_spec("httpx") is not None else "httpx2")
