"""Usage in the forms in which people have it in hand, read into one.

Owns what frameworks make of usage; what providers write is read by `ratekeeper.providers.usage`. Imports no framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import checks
from .providers.usage import Usage, read_usage

#: LangChain's details of cache writes: by their time, or all in one.
_LIVES = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
#: Where frameworks keep the usage: LangChain's messages, CrewAI's outputs, AutoGen's messages, results and summaries. What
#: came out of a cache was not paid for.
_HOLDERS = (
    "usage_metadata",
    "token_usage",
    "models_usage",
    "usage_excluding_cached_inference",
)


def usage_in(told: object, model: str) -> Usage:
    """The usage in whatever form people have it.

    Raises:
        TypeError: Nothing in it is a count of tokens.
        ConfigError: A count is below 0 or no whole number.
    """
    if isinstance(told, Usage):
        return told
    for name in _HOLDERS:
        inner = _get(told, name)
        if inner is not None and _get(inner, "prompt_token_count") is None:
            return usage_in(inner, model)
    if isinstance(told, Mapping) and (inner := _of_model(told, model)) is not None:
        return usage_in(inner, model)
    _refuse_nonsense(told)
    usage = _langchain(told) if _get(told, "input_token_details") is not None else read_usage(told)
    if usage is None:
        raise TypeError(f"usage: expected counts of tokens, got {type(told).__name__} without any")
    return usage if _get(told, "cached_prompt_tokens") is None else _crewai(told, usage)


def _crewai(told: object, usage: Usage) -> Usage:
    """CrewAI's metrics write the parts next to the wholes; what is larger than its whole was not in it."""
    read, written = _get(told, "cached_prompt_tokens"), _get(told, "cache_creation_tokens") or 0
    reasoning = _get(told, "reasoning_tokens") or 0
    beside = read + written if read + written > usage.input_tokens else 0
    return usage._replace(
        input_tokens=usage.input_tokens + beside,
        output_tokens=usage.output_tokens + (reasoning if reasoning > usage.output_tokens else 0),
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


def _of_model(told: Mapping[Any, Any], model: str) -> object:
    """What a table by models has of this one, or of the only one in it."""
    counted = {
        name: counts
        for name, counts in told.items()
        if isinstance(counts, Mapping) and ("prompt_tokens" in counts or "input_tokens" in counts)
    }
    if "usage" in counted:
        return None
    only = next(iter(counted.values())) if len(counted) == 1 else None
    return counted.get(model, only)


def _langchain(told: object) -> Usage:
    """LangChain's `UsageMetadata`: input with cached tokens, output with reasoning; service tiers stand in front."""
    inputs, outputs = _get(told, "input_token_details") or {}, _get(told, "output_token_details") or {}

    def of(details: Mapping[str, Any], *names: str) -> int:
        return sum(count or 0 for key, count in details.items() if key.removeprefix(f"{tier}_") in names)

    tier = next((tier for tier in ("priority", "flex") if tier in inputs or tier in outputs), "")
    return Usage(
        _get(told, "input_tokens") or 0,
        _get(told, "output_tokens") or 0,
        of(inputs, "cache_read"),
        of(inputs, *_LIVES),
        of(outputs, "reasoning"),
        of(inputs, _LIVES[-1]),
        of(inputs, "audio"),
        of(outputs, "audio"),
        tier=tier,
    )


def _refuse_nonsense(told: object) -> None:
    """What an application made up may be wrong; what a provider sends is read as it comes."""
    inner = _get(told, "usage")
    holder = told if inner is None else inner
    for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"):
        count = _get(holder, name)
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
            checks.fail(f"usage.{name}", "a whole number of tokens from 0", count)


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
