"""What LiteLLM's answers say of usage, headers and where they come from.

Owns the reading of responses and chunks. May not know gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ratekeeper.providers.usage import Usage, read_usage

#: LiteLLM puts this in front of headers that are not OpenAI's own.
_PREFIX = "llm_provider-"


def usage_of(answer: Any) -> Usage | None:
    """The usage of an answer or a chunk; None if the provider gave none, for which LiteLLM writes zeros."""
    told = getattr(answer, "usage", None)
    usage = None if told is None else read_usage(answer)
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return None
    if usage.cache_write_tokens:
        return usage
    return usage._replace(cache_write_tokens=_count(getattr(told, "cache_creation_input_tokens", None)))


def usage_of_chunks(chunks: Iterable[Any]) -> Usage | None:
    """The usage of a stream: the last count of each kind, since some providers tell the input at the start."""
    total: Usage | None = None
    for chunk in chunks:
        usage = usage_of(chunk)
        if usage is not None:
            told = {name: new for name, new in usage._asdict().items() if new}
            total = usage if total is None else total._replace(**told)
    return total


def headers_of(answer: Any) -> dict[str, str]:
    """The provider's own headers, under their own names."""
    hidden = getattr(answer, "_hidden_params", None) or {}
    found: dict[str, str] = {}
    for name, value in (hidden.get("additional_headers") or {}).items():
        found.setdefault(name.removeprefix(_PREFIX), value)
    return found


def is_from_cache(answer: Any) -> bool:
    """Whether LiteLLM answered from its own cache, so that nothing was sent."""
    hidden = getattr(answer, "_hidden_params", None)
    if getattr(answer, "custom_llm_provider", None) == "cached_response":
        return True
    return isinstance(hidden, Mapping) and hidden.get("cache_hit") is True


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
