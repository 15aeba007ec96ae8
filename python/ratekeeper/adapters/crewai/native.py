"""LLMs on the SDKs of OpenAI and Anthropic: their clients are wrapped as everywhere (`adapters.sdk`)."""

from __future__ import annotations

from typing import Any

from ratekeeper.adapters import sdk

from . import clients, gates, inside

_CLIENTS = {"_get_sync_client": "_client", "_get_async_client": "_async_client"}


def overrides(base: Any) -> dict[str, Any]:
    """The getters of both clients."""
    return {name: clients.getter(base, name, slot, _gated) for name, slot in _CLIENTS.items()}


def gate_all(llm: Any, base: Any) -> None:
    """Gates the clients that are there."""
    del base
    for slot in _CLIENTS.values():
        clients.regate(llm, slot, _gated)


def _gated(client: Any, llm: Any, hold: inside.Hold) -> Any:
    del llm
    twin = sdk.wrap(client, hold.keeper, hold.options)
    twin._client = gates.on_way(twin._client, hold)
    return twin
