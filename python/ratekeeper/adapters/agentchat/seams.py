"""Where the calls of each known model client can be gated.

Owns the list of them, by names, so that no client's extra is needed before it is used. A client that is not on it is
refused: what its calls do between AutoGen and the model, and how often it sends them, nobody here knows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ratekeeper import adapters
from ratekeeper.errors import ConfigError
from ratekeeper.providers import account_of, get

_KNOWN = "autogen-ext 0.7"


class Whole(NamedTuple):
    """A client whose calls are gated as a whole, since it sends each one once.

    Attributes:
        provider: Whose quota.
        account: The account part of the scope.
    """

    provider: str
    account: str


#: Clients that ask an SDK's client for everything: the gate stands below, at each of its requests.
_BY_SDK = frozenset(
    {
        ("autogen_ext.models.openai._openai_client", "BaseOpenAIChatCompletionClient"),
        ("autogen_ext.models.anthropic._anthropic_client", "BaseAnthropicChatCompletionClient"),
    }
)
#: Clients that send a call once: those that have no retries, and Azure's, whose retries can be turned off.
_WHOLE = {
    ("autogen_ext.models.azure._azure_ai_client", "AzureAIChatCompletionClient"): "azure",
    ("autogen_ext.models.ollama._ollama_client", "BaseOllamaChatCompletionClient"): "ollama",
    (
        "autogen_ext.models.llama_cpp._llama_cpp_completion_client",
        "LlamaCppChatCompletionClient",
    ): "llama_cpp",
    ("autogen_ext.models.replay._replay_chat_completion_client", "ReplayChatCompletionClient"): "replay",
}
_CACHE = ("autogen_ext.models.cache._chat_completion_cache", "ChatCompletionCache")
_SEMANTIC_KERNEL = (
    "autogen_ext.models.semantic_kernel._sk_chat_completion_adapter",
    "SKChatCompletionAdapter",
)


def inner_client_of(client: Any) -> Any:
    """The client that a cache asks for what it does not know; None for any other client.

    Raises:
        ConfigError: It is a cache of a version that keeps its client elsewhere.
    """
    if _CACHE not in _ancestors(client):
        return None
    inner = client.__dict__.get("client")
    if inner is None:
        raise ConfigError(
            f"this {type(client).__name__} has no `client`: known is that of {_KNOWN}", field="model_client"
        )
    return inner


def whole_of(client: Any) -> Whole | None:
    """How the client's calls are gated as a whole; None if they are gated below, at its SDK's client.

    Raises:
        ConfigError: Neither is possible.
    """
    ancestors = _ancestors(client)
    provider = next((_WHOLE[name] for name in ancestors if name in _WHOLE), None)
    if provider is not None:
        return Whole(provider, _account(client, provider))
    if _BY_SDK.isdisjoint(ancestors):
        raise ConfigError(_why_not(client, ancestors), field="model_client")
    sdk_client = client.__dict__.get("_client")
    if adapter_of(sdk_client) != "sdk":
        raise ConfigError(
            f"this {type(client).__name__} holds no SDK client in `_client`: known is that of {_KNOWN}",
            field="model_client",
        )
    return None


def adapter_of(thing: Any) -> str:
    """The name of the adapter that takes a thing; "" for what none takes."""
    try:
        return adapters.find(thing)
    except TypeError:
        return ""


def _ancestors(client: Any) -> tuple[tuple[str, str], ...]:
    return tuple((kind.__module__, kind.__qualname__) for kind in type(client).__mro__)


def _account(client: Any, provider: str) -> str:
    """By the endpoint and key of Azure's client, or by the address of Ollama's; the others have neither."""
    below = getattr(client, "_client", None)
    config = getattr(below, "_config", None)
    key = getattr(getattr(config, "credential", None), "key", "")
    address = getattr(config, "endpoint", "") or getattr(getattr(below, "_client", None), "base_url", "")
    return account_of(get(provider), api_key=str(key), base_url=str(address))


def _why_not(client: Any, ancestors: tuple[tuple[str, str], ...]) -> str:
    name = type(client).__qualname__
    if _SEMANTIC_KERNEL in ancestors:
        return (
            f"a {name} cannot be gated: give the SDK client that Semantic Kernel is to use, "
            "keeper.wrap(AsyncOpenAI()), to its chat completion service instead"
        )
    return (
        f"a {name} from {type(client).__module__} cannot be gated: nobody knows how often it sends a call; wrap the "
        f"model client, SDK client or httpx client that it uses instead (known are the clients of {_KNOWN})"
    )
