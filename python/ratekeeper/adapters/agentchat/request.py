"""A call of a model client as the quota sees it.

Owns the reading of AutoGen's messages and tools, for clients that are gated as a whole and for the count of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autogen_core import FunctionCall, Image
from autogen_core.models import CreateResult

from ratekeeper.providers import Request, Usage

_CEILINGS = ("max_completion_tokens", "max_tokens")


def request_of(
    client: Any,
    messages: Sequence[Any],
    tools: Sequence[Any] = (),
    extra: Mapping[str, Any] | None = None,
    *,
    stream: bool = False,
) -> Request:
    """The request of one call: its own arguments win over the client's."""
    settings = {**getattr(client, "_create_args", {}), **(extra or {})}
    ceilings = (settings.get(name) for name in _CEILINGS)
    return Request(
        str(settings.get("model") or type(client).__name__),
        [{"role": message.type, "content": _content(message.content)} for message in messages],
        [getattr(tool, "schema", tool) for tool in tools] or None,
        next((count for count in ceilings if isinstance(count, int) and count > 0), None),
        stream=stream,
    )


def usage_of(result: CreateResult) -> Usage | None:
    """What a call used; None where the client only counted nothing."""
    usage = result.usage
    if not usage.prompt_tokens and not usage.completion_tokens:
        return None
    return Usage(usage.prompt_tokens, usage.completion_tokens)


def _content(content: Any) -> Any:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: Any) -> Any:
    if isinstance(part, Image):
        return part.to_openai_format()
    if isinstance(part, FunctionCall):
        return {"type": "text", "text": f"{part.name} {part.arguments}"}
    return {"type": "text", "text": part if isinstance(part, str) else part.content}
