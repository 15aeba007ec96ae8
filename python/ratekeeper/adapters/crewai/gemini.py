"""LLMs on google-genai: a client of their own on the same connections, whose HTTP clients are gated.

Owns that client. google-genai asks by aiohttp where that is installed, unless it is told which httpx client to use.
"""

from __future__ import annotations

from copy import copy
from functools import cache
from importlib import import_module
from typing import Any

from ratekeeper.adapters import http
from ratekeeper.errors import ConfigError

from . import clients, gates, inside

_SEAMS = ("_http_options", "_httpx_client", "_async_httpx_client", "_retry", "_async_retry")


def overrides(base: Any) -> dict[str, Any]:
    """The getter of the one client; the asynchronous part is in it."""
    return {"_get_sync_client": clients.getter(base, "_get_sync_client", "_client", _gated)}


def gate_all(llm: Any, base: Any) -> None:
    """Gates the client, if it is there."""
    del base
    clients.regate(llm, "_client", _gated)


def _gated(client: Any, llm: Any, hold: inside.Hold) -> Any:
    del llm
    api = getattr(client, "_api_client", None)
    missing = [name for name in _SEAMS if not hasattr(api, name)]
    if missing:
        raise ConfigError(
            f"this {type(client).__name__} of google-genai has no {', '.join(missing)}: known is 1.x",
            field="llm",
        )
    origin = getattr(client, "_ratekeeper_origin", client)
    twin = copy(origin)
    kind: Any = type(origin)
    twin.__class__ = _kind(kind)
    # Kept alive: it closes its connections when it goes.
    twin.__dict__["_ratekeeper_origin"] = origin
    gated = _gated_api(origin._api_client, hold)
    for name, part in vars(twin).items():
        if getattr(part, "_api_client", None) is origin._api_client and part is not origin:
            setattr(twin, name, type(part)(gated))
    twin._api_client = gated
    return twin


def _gated_api(api: Any, hold: inside.Hold) -> Any:
    """The part that sends, which sends once. HTTP clients that it was given are not its own to close."""
    never = import_module("google.genai._api_client").retry_args(None)
    tenacity = import_module("tenacity")
    gated = copy(api)
    gated._httpx_client = _on_way(api._httpx_client, hold)
    gated._async_httpx_client = _on_way(api._async_httpx_client, hold)
    given = {
        "httpx_client": gated._httpx_client,
        "httpx_async_client": gated._async_httpx_client,
        "retry_options": None,
    }
    gated._http_options = api._http_options.model_copy(update=given)
    gated._retry, gated._async_retry = tenacity.Retrying(**never), tenacity.AsyncRetrying(**never)
    return gated


def _on_way(client: Any, hold: inside.Hold) -> Any:
    return gates.on_way(http.wrap(client, hold.keeper, hold.options), hold)


@cache
def _kind(base: Any) -> Any:
    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {**names, "__ratekeeper_base__": base, "__del__": _leave})


def _leave(self: Any) -> None:
    """The connections belong to the client that was wrapped."""
