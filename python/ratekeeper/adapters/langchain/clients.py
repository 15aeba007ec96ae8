"""The SDK clients below a wrapped model: one attempt a call, its answer's headers, and usage on streams.

Owns what is particular to one integration package. May not know gates, and may not touch the model that was
wrapped.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from .headers import listen

Family = Literal["openai", "anthropic", "groq", "other"]

#: By the class that every model of the family descends from: its module and name. A look at the MRO needs
#: no import of the package.
_ROOTS: Mapping[tuple[str, str], Family] = {
    ("langchain_openai.chat_models.base", "BaseChatOpenAI"): "openai",
    ("langchain_anthropic.chat_models", "ChatAnthropic"): "anthropic",
    ("langchain_groq.chat_models", "ChatGroq"): "groq",
}

#: Where the Azure client of openai 2 sends what is no deployment's (the Responses API): its `with_options` forgets
#: them, and the copy then asks a path that Azure does not have. openai 3 keeps them.
_AZURE_PLACE = ("_azure_endpoint", "_azure_deployment")

#: Clients that ChatAnthropic keeps in its instance dict once they were needed. They hold locks: no pickle
#: takes them.
CACHED_CLIENTS = ("_client", "_async_client")


def family_of(kind: type) -> Family:
    """Which integration package's ways a model class follows."""
    for ancestor in kind.__mro__:
        family = _ROOTS.get((ancestor.__module__, ancestor.__name__))
        if family is not None:
            return family
    return "other"


def turn_retries_off(values: dict[str, Any], family: Family) -> None:
    """Replaces the SDK clients in a copy's instance dict by ones that try once (and can be listened to).

    Args:
        values: The instance dict of the copy, which still shares its clients with the original.
        family: How the clients are kept.
    """
    if family == "openai":
        _replace(values, "root_client", "client", "OpenAI")
        _replace(values, "root_async_client", "async_client", "AsyncOpenAI")
    elif family == "anthropic":
        for name in CACHED_CLIENTS:
            if name in values:
                values[name] = _single_attempt(values[name])
    elif family == "groq":
        for name in ("client", "async_client"):
            root = getattr(values.get(name), "_client", None)
            if hasattr(root, "with_options"):
                values[name] = _single_attempt(root).chat.completions


def _single_attempt(client: Any) -> Any:
    """The same client, on the same connections, that tries once and lets its answers' headers be heard."""
    single = client.with_options(max_retries=0)
    for name in _AZURE_PLACE:
        if hasattr(client, name):
            setattr(single, name, getattr(client, name))
    return listen(single)


def _replace(values: dict[str, Any], root_name: str, resource_name: str, kind: str) -> None:
    """Both names of one OpenAI client: the root serves responses and parsed output, the resource the rest.

    A model may have been given the resource alone (`client=`); its root is then the SDK client it belongs
    to. What is no SDK client (a test double) stays as it is.
    """
    root = values.get(root_name) or getattr(values.get(resource_name), "_client", None)
    if isinstance(root, getattr(sys.modules.get("openai"), kind)):
        root = _single_attempt(root)
        values[root_name] = root
        values[resource_name] = root.chat.completions


def overrides(base: type) -> dict[str, Any]:
    """What a subclass of `base` changes so that calls try once and streams tell their usage."""
    family = family_of(base)
    if family == "anthropic":
        return {name: _single_attempt_property(base, name) for name in CACHED_CLIENTS}
    if family == "openai":
        return {"_should_stream_usage": _should_stream_usage}
    return {}


def _single_attempt_property(base: type, name: str) -> cached_property[Any]:
    """ChatAnthropic builds its clients when they are first needed."""
    built = getattr(base, name)

    def client(self: Any) -> Any:
        return _single_attempt(built.__get__(self, base))

    prop = cached_property(client)
    prop.__set_name__(base, name)
    return prop


def _should_stream_usage(self: Any, stream_usage: bool | None = None, **kwargs: Any) -> bool:
    """Yes unless somebody said no: the call, the stream options, the model's `stream_usage`, or the wrap's.

    langchain_openai leaves it off for any base_url or http client of one's own, and a stream without usage
    cannot be settled.
    """
    asked = (
        stream_usage,
        (kwargs.get("stream_options") or {}).get("include_usage"),
        (self.model_kwargs.get("stream_options") or {}).get("include_usage"),
        self.stream_usage,
        self.ratekeeper.gate.options.stream_usage,
    )
    return next(answer for answer in asked if isinstance(answer, bool))
