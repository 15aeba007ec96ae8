"""Facts of one API each: request → amounts, usage → amounts, whose account, what a failure means.

Owns the registry. May import neither an SDK nor a framework, and nothing above it (gate, keeper, adapters).

For adapters: `get("openai")` gives the facts, `account_of(provider, api_key=…, base_url=…)` the account part
of the scope; `Request` is what `Gate.call` takes, `Usage` what `Call.settle` takes; `provider.usage(raw)`
reads a raw response body, `provider.limits(headers, now)` its headers. What an exception means is told by
`providers.failure.classify`, which is not loaded before a call fails.
"""

from __future__ import annotations

from collections.abc import Mapping

from .account import account_of, fingerprint
from .anthropic import Anthropic
from .azure import AzureOpenAI
from .base import Amounts, Provider, Request, Sizes
from .bedrock import Bedrock
from .openai import OpenAI
from .others import DeepSeek, Gemini, Groq, Mistral, OpenRouter
from .usage import Usage, read_usage

__all__ = [
    "Amounts",
    "Provider",
    "Request",
    "Sizes",
    "Usage",
    "account_of",
    "fingerprint",
    "get",
    "known",
    "read_usage",
]

_PROVIDERS: dict[str, Provider] = {
    provider.name: provider
    for provider in (
        OpenAI(),
        AzureOpenAI(),
        Anthropic(),
        Gemini(),
        Bedrock(),
        Groq(),
        Mistral(),
        DeepSeek(),
        OpenRouter(),
        Provider(),
    )
}


def get(name: str) -> Provider:
    """The facts of a provider by name; an unknown one gets the cautious default under its own name."""
    known = _PROVIDERS.get(name)
    if known is not None:
        return known
    other = Provider()
    other.name = name
    # setdefault: two threads that meet here must get the same object.
    return _PROVIDERS.setdefault(name, other)


def known() -> Mapping[str, Provider]:
    """All providers that were described or asked for so far, by name."""
    return _PROVIDERS
