"""What a LangChain answer says it used.

Owns the reading of `usage_metadata`, of results and of streams. May not know gates or models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ratekeeper.providers.usage import Usage, add_usages

if TYPE_CHECKING:
    from langchain_core.outputs import ChatResult

#: Where LangChain puts cache writes. A provider that tells their lifetimes leaves the first one at 0, so
#: adding them up counts once.
_CACHE_WRITES = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")

#: The service tiers that LangChain tells: a detail of that name holds what is in no other detail.
_TIERS = ("priority", "flex")


def usage_of_result(result: ChatResult) -> Usage | None:
    """The usage of one call, or None if the answer carries none.

    With n > 1 every choice carries the usage of the whole call: the first one that has it is the count.
    """
    for generation in result.generations:
        metadata = getattr(generation.message, "usage_metadata", None)
        if metadata:
            return usage_of_metadata(metadata)
    return None


def usage_of_metadata(metadata: Mapping[str, Any]) -> Usage:
    """LangChain's `UsageMetadata` (input with cached tokens, output with reasoning) as a `Usage`."""
    inputs = metadata.get("input_token_details") or {}
    outputs = metadata.get("output_token_details") or {}
    return Usage(
        metadata.get("input_tokens") or 0,
        metadata.get("output_tokens") or 0,
        _sum(inputs, ("cache_read",)),
        _sum(inputs, _CACHE_WRITES),
        _sum(outputs, ("reasoning",)),
        cache_write_1h_tokens=_sum(inputs, ("ephemeral_1h_input_tokens",)),
        input_audio_tokens=_sum(inputs, ("audio",)),
        output_audio_tokens=_sum(outputs, ("audio",)),
        tier=next((tier for tier in _TIERS if tier in inputs or tier in outputs), ""),
    )


def _sum(details: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """The details of these names; service tiers put theirs in front (`priority_cache_read`)."""
    if not details:
        return 0
    tiers = tuple(f"_{name}" for name in names)
    return sum(count or 0 for key, count in details.items() if key in names or key.endswith(tiers))


class StreamUsage:
    """Usage as the chunks of one stream report it.

    Args:
        cumulative: Whether each report is the count so far (OpenAI's API and those that speak it) and the
            last one holds. Otherwise reports are parts and add up, as LangChain adds chunks.
    """

    __slots__ = ("_cumulative", "total")

    def __init__(self, *, cumulative: bool) -> None:
        self._cumulative = cumulative
        self.total: Usage | None = None

    def see(self, item: Any) -> None:
        """Takes note of a chunk (`ChatGenerationChunk`) or a protocol event (a dict)."""
        if isinstance(item, dict):
            metadata = item.get("usage")
        else:
            metadata = getattr(getattr(item, "message", None), "usage_metadata", None)
        if not metadata:
            return
        usage = usage_of_metadata(metadata)
        if self.total is None or self._cumulative:
            self.total = usage
        else:
            self.total = add_usages(self.total, usage)
