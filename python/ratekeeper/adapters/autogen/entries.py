"""One entry of an llm_config: how its api_type is sent, and what it gets.

Owns the table of api_types. May not know the forms that hold entries.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import copy
from os import environ
from typing import Any

from ratekeeper.errors import ConfigError

from .clients import AgentWay, on_way

#: api_types whose requests go through the HTTP client of the entry, as OpenAI's SDK sends them.
_BY_HTTP_CLIENT = ("openai", "open_ai", "azure", "deepseek", "responses")
#: api_types whose client is found and wrapped once AutoGen has made it; see `models`.
_BY_HOOK = ("anthropic", "groq", "google")
#: What the settings of Vertex are called, whose client sends by gRPC.
_VERTEX = ("project_id", "location", "google_application_credentials", "credentials")


def gated_entry(entry: Any, where: str, way: AgentWay, shared_client: Any = None) -> Any:
    """An entry of the same type whose calls go by `way`; `entry` itself stays as it is.

    Args:
        entry: A mapping or an entry object of AutoGen.
        where: Its place, for messages.
        way: To the keeper.
        shared_client: The HTTP client that the config as a whole has, for entries without one.

    Raises:
        TypeError: It is no entry, or none that can be put under a keeper.
        ConfigError: Another keeper has wrapped it.
    """
    if not isinstance(entry, Mapping) and not is_entry_object(entry):
        raise TypeError(f"{where} is a {type(entry).__name__}: expected a dict or an entry object of AutoGen")
    check(entry, where)
    client = entry.get("http_client") or shared_client
    changes: dict[str, Any] = {"http_client": on_way(client, way)}
    if _takes_retries():
        changes["max_retries"] = 0
    if is_entry_object(entry):
        return entry.model_copy(update=changes)
    twin: Any = copy(entry)
    twin.update(changes)
    return twin


def _takes_retries() -> bool:
    """Whether AutoGen passes on what its entries do not know; early ag2 0.9 forbids it, and `models` sets it alone."""
    kind = getattr(sys.modules.get("autogen.llm_config"), "LLMConfigEntry", None)
    return kind is None or kind.model_config.get("extra") != "forbid"


def is_entry_object(entry: object) -> bool:
    """Whether it is one of AutoGen's entry objects, told by name."""
    return any(base.__name__ == "LLMConfigEntry" for base in type(entry).__mro__)


def check(entry: Any, where: str) -> None:
    """Whether an entry can be put under a keeper.

    Raises:
        TypeError: It cannot; the message says which one and why.
    """
    kind = entry.get("api_type") or "openai"
    if entry.get("model_client_cls") is not None:
        raise TypeError(
            f"{where} (api_type {kind!r}) has a model client of your own: wrap the SDK or HTTP client inside of it"
        )
    if not isinstance(kind, str) or not kind.startswith((*_BY_HTTP_CLIENT, *_BY_HOOK)):
        raise TypeError(
            f"{where} has api_type {kind!r}, whose client AutoGen keeps out of reach; ratekeeper can wrap "
            f"{', '.join((*_BY_HTTP_CLIENT, *_BY_HOOK))} (many vendors answer to api_type 'openai' with a base_url)"
        )
    if kind.startswith("google"):
        _check_google(entry, where)


def _check_google(entry: Any, where: str) -> None:
    is_vertex = any(entry.get(name) for name in _VERTEX)
    has_key = entry.get("api_key") or "GOOGLE_GEMINI_API_KEY" in environ
    if is_vertex or not has_key:
        raise TypeError(
            f"{where} has api_type 'google' without an API key: Vertex AI is called by gRPC, which cannot be put under "
            "a keeper"
        )


def not_empty(entries: Any, where: str) -> None:
    """Without entries AutoGen falls back on a client of its own making.

    Raises:
        ConfigError: There are none.
    """
    if not entries:
        raise ConfigError(f"{where} is empty: expected at least one entry", field=where)
