"""AutoGen's model clients.

Owns where each of them keeps, or makes, the client of its SDK, which is wrapped right after. OpenAI's send by the HTTP client
of their entry anyway; others would not take it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from ratekeeper.adapters import sdk
from ratekeeper.errors import ConfigError

from .clients import AgentWay, on_way

_Gate = Callable[[Any, Any, AgentWay], None]

_KNOWN = "known are those of ag2 0.9 to autogen 0.14, and of pyautogen 0.2"


def gate_model_client(client: Any, http_client: Any, way: AgentWay) -> None:
    """Puts a model client that AutoGen has just made under a keeper.

    Args:
        client: The model client.
        http_client: That of its entry, on `way`.
        way: To the keeper.

    Raises:
        ConfigError: Nobody knows it, or it is of a version whose SDK client is elsewhere.
    """
    kind = type(client).__name__
    if kind not in _GATES:
        raise ConfigError(
            f"{kind} is no model client that can be put under a keeper; {_KNOWN}", field="llm_config"
        )
    _GATES[kind](client, http_client, way)


def _at(name: str) -> _Gate:
    """The gate of a model client that keeps its SDK client under this name."""

    def gate(client: Any, http_client: Any, way: AgentWay) -> None:
        if not hasattr(client, name):
            raise _moved(client, name)
        setattr(client, name, _gated_sdk(getattr(client, name), http_client, way))

    return gate


def _gate_groq(client: Any, http_client: Any, way: AgentWay) -> None:
    _make_with(client, "Groq", lambda Groq: _then(Groq, lambda made: _gated_sdk(made, http_client, way)))


def _gate_google(client: Any, _: Any, way: AgentWay) -> None:
    if getattr(client, "use_vertexai", True):
        raise ConfigError(
            "Vertex AI is called by gRPC, which cannot be put under a keeper; give the entry an api_key",
            field="api_key",
        )
    _make_with(client, "genai", lambda genai: _Genai(genai, way))


_GATES: dict[str, _Gate] = {
    "OpenAIClient": _at("_oai_client"),
    "OpenAIResponsesClient": _at("_oai_client"),
    "OpenAICompletionsClient": _at("client"),
    "OpenAIResponsesV2Client": _at("client"),
    "AnthropicClient": _at("_client"),
    "AnthropicV2Client": _at("_client"),
    "GroqClient": _gate_groq,
    "GeminiClient": _gate_google,
}


def _gated_sdk(client: Any, http_client: Any, way: AgentWay) -> Any:
    """It sends once and by the entry's own HTTP client, and our errors come out of it as themselves."""
    own = client if client._client is http_client else client.copy(http_client=http_client)
    twin = sdk.wrap(own, way.keeper, way.options)
    twin._client = http_client
    return twin


def _make_with(client: Any, name: str, other: Callable[[Any], Any]) -> None:
    """Lets this one model client see `other` under a global name: it makes its SDK client anew in each call.

    Raises:
        ConfigError: Its `create` knows no such name.
    """
    create = type(client).create
    while not isinstance(create, FunctionType) or name not in create.__code__.co_names:
        create = getattr(create, "__wrapped__", None)
        if create is None:
            raise _moved(client, name)
    scope = {**create.__globals__, name: other(create.__globals__[name])}
    own = FunctionType(create.__code__, scope, create.__name__, create.__defaults__, create.__closure__)
    own.__kwdefaults__ = create.__kwdefaults__
    client.create = MethodType(own, client)


def _then(make: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: change(make(*args, **kwargs))


class _Genai:
    """The module `google.genai` with a gated `Client`."""

    def __init__(self, genai: Any, way: AgentWay) -> None:
        self._genai = genai
        self._way = way

    def Client(self, *args: Any, **kwargs: Any) -> Any:
        client = self._genai.Client(*args, **kwargs)
        api: Any = getattr(client, "_api_client", None)
        if not hasattr(api, "_httpx_client"):
            raise _moved(client, "_api_client._httpx_client")
        api._httpx_client = on_way(api._httpx_client, self._way)
        return client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._genai, name)


def _moved(client: Any, name: str) -> ConfigError:
    return ConfigError(f"{type(client).__name__} of this version has no {name}; {_KNOWN}", field="llm_config")
