"""Where each of CrewAI's LLM classes asks its model, and how that is gated.

Owns the table by class, and the getters through which CrewAI takes its clients: also those that it builds later. May
not know what a call is.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ratekeeper.errors import ConfigError

from . import inside, seams

#: By the class that all LLMs of a kind descend from: the module of this package that gates its clients.
_ROOTS = {
    ("crewai.llms.providers.openai.completion", "OpenAICompletion"): "native",
    ("crewai.llms.providers.anthropic.completion", "AnthropicCompletion"): "native",
    ("crewai.llms.providers.gemini.completion", "GeminiCompletion"): "gemini",
    ("crewai.llms.providers.azure.completion", "AzureCompletion"): "azure",
    ("crewai.llms.providers.bedrock.completion", "BedrockCompletion"): "bedrock",
    ("crewai.llm", "LLM"): "routed",
    ("ratekeeper.adapters.crewai.bridge", "ChatModelLLM"): "bridge",
}


def ways_of(base: type) -> Any:
    """The module that gates the clients of a class: `overrides(base)` and `gate_all(llm, base)`.

    Raises:
        TypeError: Nobody knows how such an LLM asks its model.
    """
    for ancestor in base.__mro__:
        name = _ROOTS.get((ancestor.__module__, ancestor.__name__))
        if name is not None:
            return import_module(f".{name}", __package__)
    raise TypeError(
        f"keeper.wrap() cannot wrap a {base.__qualname__} from {base.__module__}: nobody knows how it asks its model. "
        "Supported are what crewai.LLM(...) gives (OpenAI, Anthropic, Gemini, Azure, Bedrock and those that speak "
        "OpenAI's API, and what LiteLLM routes) and keeper.crewai_llm(chat_model); in an LLM class of your own, wrap "
        "the SDK client or httpx client that it uses"
    )


def overrides(base: Any) -> dict[str, Any]:
    """What a wrapped subclass of `base` changes."""
    found: dict[str, Any] = ways_of(base).overrides(base)
    return found


def gate_all(llm: Any, base: Any) -> None:
    """Gates what a clone holds already."""
    ways_of(base).gate_all(llm, base)


def getter(base: Any, name: str, slot: str, gated: Callable[[Any, Any, inside.Hold], Any]) -> Any:
    """The method `name` by which CrewAI takes the client in `slot`, building it if need be; what it gives is gated.

    Args:
        base: The class.
        name: The method.
        slot: The private attribute.
        gated: Makes a gated client of a client, its LLM and what that holds.
    """
    seams.methods(base, name)
    if slot not in base.__private_attributes__:
        raise ConfigError(
            f"this {base.__qualname__} keeps no client in {slot}: known is crewai 1.15", field="llm"
        )

    def get(self: Any) -> Any:
        client = getattr(self, slot)
        if not is_gated(client):
            client = gated(getattr(base, name)(self), self, inside.held(self))
            setattr(self, slot, client)
        return client

    get.__name__ = name
    return get


def regate(llm: Any, slot: str, gated: Callable[[Any, Any, inside.Hold], Any]) -> None:
    """Gates the client in `slot`, if there is one yet."""
    client = getattr(llm, slot)
    if client is not None:
        setattr(llm, slot, gated(client, llm, inside.held(llm)))


def is_gated(client: Any) -> bool:
    """Whether a client is one of ours."""
    return hasattr(type(client), "__ratekeeper_base__")
