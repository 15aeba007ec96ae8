"""Azure's inference client below AutoGen's: one attempt a call, and usage on streams.

Owns both, by a subclass of the client's own class. May not import the SDK.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ratekeeper.errors import ConfigError

_CLIENT = ("azure.ai.inference.aio._patch", "ChatCompletionsClient")
_USAGE = {"stream_options": {"include_usage": True}}


def send_once(client: Any, *, tells_usage: bool) -> None:
    """Replaces the SDK client that an AzureAIChatCompletionClient holds; leaves other clients as they are.

    Raises:
        ConfigError: It holds a client that nobody here knows.
    """
    kinds = {(kind.__module__, kind.__qualname__) for kind in type(client).__mro__}
    if ("autogen_ext.models.azure._azure_ai_client", "AzureAIChatCompletionClient") not in kinds:
        return
    below = client._client
    if _CLIENT not in {(kind.__module__, kind.__qualname__) for kind in type(below).__mro__}:
        raise ConfigError(
            f"this {type(client).__name__} holds a {type(below).__name__} in `_client`: known is the "
            "ChatCompletionsClient of azure-ai-inference 1.0",
            field="model_client",
        )
    kind: Any = type(below)
    twin = object.__new__(_kind(getattr(kind, "__ratekeeper_base__", kind), tells_usage))
    twin.__dict__ = below.__dict__
    client._client = twin


@cache
def _kind(base: Any, tells_usage: bool) -> Any:
    async def complete(self: Any, *args: Any, **settings: Any) -> Any:
        settings["retry_total"] = 0
        if tells_usage and settings.get("stream"):
            settings["model_extras"] = {**_USAGE, **(settings.get("model_extras") or {})}
        return await base.complete(self, *args, **settings)

    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), {**names, "__ratekeeper_base__": base, "complete": complete})
