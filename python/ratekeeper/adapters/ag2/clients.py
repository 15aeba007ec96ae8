"""Clients that wrapped configs create: their SDK's client under the keeper, their calls tagged with the agent.

Owns the subclass of the client's class. What its SDK asks is gated below. ag2 makes a tool's exception a text for the model,
and its middleware repeats calls on any exception: a refusal of ours latches, and what the provider refused for good is not
sent again by the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from ratekeeper import adapters, runs
from ratekeeper.adapters.http.client import Hold as HttpHold
from ratekeeper.adapters.http.client import gated
from ratekeeper.adapters.http.client import hold_of as hold_of_http
from ratekeeper.adapters.http.way import Way
from ratekeeper.adapters.refused import Refused
from ratekeeper.tags import tags

if TYPE_CHECKING:
    from ratekeeper.gate import Options
    from ratekeeper.keeper import Keeper

_HOLD = "_ratekeeper_hold"
#: The name under which ag2's contexts know the agent whose turn it is.
_AG2_AGENT = "__ag2_agent__"
_refused = Refused()


class Hold:
    """What a wrapped config and its clients carry beyond their own.

    Attributes:
        keeper: Whose quotas count.
        options: How the config was wrapped.
        way: To the keeper, for all the clients, of which ag2 makes one for each turn.
    """

    __slots__ = ("keeper", "options", "way")

    def __init__(self, keeper: Keeper, options: Options) -> None:
        self.keeper = keeper
        self.options = options
        # The agent is told by tags, which the framework's own name for it wins over.
        self.way = Way(keeper, options._replace(agent=None))


def keep(client: Any, hold: Hold) -> Any:
    """The client itself, which is new: of a subclass of its class, and with a gated SDK client."""
    sdk_client = adapters.wrap(client._client, hold.keeper, hold.options)
    origin = cast("HttpHold", hold_of_http(sdk_client._client)).origin
    sdk_client._client = gated(origin, HttpHold(origin, hold.way))
    client._client = sdk_client
    kind: Any = type(client)
    client.__class__ = _kind(kind)
    setattr(client, _HOLD, hold)
    return client


@cache
def _kind(base: Any) -> Any:
    async def call(self: Any, messages: Sequence[Any], context: Any, **arguments: Any) -> Any:
        stream = getattr(context.stream, "id", None)
        this = (stream, tuple(map(id, messages)))
        _refused.check(_told_last(messages), this)
        agent = (
            getattr(context.dependencies.get(_AG2_AGENT), "name", None) or getattr(self, _HOLD).options.agent
        )
        tagged = tags(agent=agent) if agent else nullcontext()
        with _refused.watching(this), runs.part_of(runs.current() or ("ag2", stream)), tagged:
            return await base.__call__(self, messages, context, **arguments)

    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {**names, "__call__": call})


def _told_last(messages: Sequence[Any]) -> str:
    """The texts of the last event, whose own `str` cuts them short."""
    if not messages:
        return ""
    results = (result.result.parts for result in getattr(messages[-1], "results", ()))
    parts = (getattr(messages[-1], "parts", ()), *results)
    return "\n".join(str(getattr(part, "content", "")) for some in parts for part in some)
