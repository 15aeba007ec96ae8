"""What an audit of AutoGen's agents and teams finds.

Owns what counts as a model there: model clients, and the clients of other adapters that agents or tools hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autogen_core.models import ChatCompletionClient

from ratekeeper import adapters
from ratekeeper.adapters.audit import Audited
from ratekeeper.adapters.http.client import hold_of as hold_of_http
from ratekeeper.adapters.reach import reach

from .hold import hold_of
from .seams import adapter_of

_SELF = "agentchat"


def audit(obj: Any) -> Iterator[Audited]:
    """Every model that is reachable from an agent, a team or a model client."""
    if _is_model(obj):
        yield _row("model_client", obj)
        return
    for where, thing in reach(obj, is_model=_is_model, opens=_opens):
        if isinstance(thing, ChatCompletionClient):
            yield _row(where, thing)
        else:
            yield from (row._replace(where=where) for row in adapters.audited(thing))


def _is_model(thing: Any) -> bool:
    """A model, and no cache or other client that hands its calls on to one."""
    if isinstance(thing, ChatCompletionClient):
        return not any(isinstance(value, ChatCompletionClient) for value in vars(thing).values())
    return adapter_of(thing) not in ("", _SELF)


def _opens(thing: Any) -> bool:
    """AutoGen's objects and those of classes made from them."""
    return any(kind.__module__.partition(".")[0].startswith("autogen_") for kind in type(thing).__mro__)


def _row(where: str, client: Any) -> Audited:
    settings = getattr(client, "_create_args", {})
    below: Any = getattr(client, "_client", None)
    is_gated_below = adapter_of(below) == "sdk" and hold_of_http(below._client) is not None
    model = str(settings.get("model", ""))
    return Audited(where, type(client).__name__, model, hold_of(client) is not None or is_gated_below)
