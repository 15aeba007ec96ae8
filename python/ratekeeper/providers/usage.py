"""Usage as the providers report it, in one form.

Owns the reading of usage from raw responses, as dicts or as SDK objects. May not import an SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Usage(NamedTuple):
    """What a call used, as the provider counted it. All in tokens.

    Attributes:
        input_tokens: All input, cached tokens included (Anthropic's own field leaves them out; here they are
            in).
        output_tokens: All output, reasoning included.
        cache_read_tokens: The part of the input that was read from the provider's cache.
        cache_write_tokens: The part of the input that was written into it.
        reasoning_tokens: The part of the output that was reasoning.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


#: Gemini's counts by the field that holds them: prompt, tools' results in it, candidates, thoughts, cache.
_GEMINI = {
    "usageMetadata": (
        "promptTokenCount",
        "toolUsePromptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "cachedContentTokenCount",
    ),
    "usage_metadata": (
        "prompt_token_count",
        "tool_use_prompt_token_count",
        "candidates_token_count",
        "thoughts_token_count",
        "cached_content_token_count",
    ),
}


def read_usage(response: object) -> Usage | None:
    """Usage of a raw response of OpenAI, Anthropic, Gemini or Bedrock's Converse; None if it has none.

    Args:
        response: The response body as a dict or an SDK object, or the part of it alone that has the usage.

    Sources: the shapes are those of openai 3.52, anthropic 2.11, google-genai 1.65 and botocore 1.43.
    """
    usage = _get(response, "usage")
    if usage is None:
        usage = response
    if _get(usage, "prompt_tokens") is not None:
        return _openai(usage, "prompt", "completion")
    if _get(usage, "inputTokens") is not None:
        return _bedrock(usage)
    if _get(usage, "input_tokens") is None:
        return _gemini(response)
    if (
        _get(usage, "cache_read_input_tokens") is not None
        or _get(usage, "cache_creation_input_tokens") is not None
    ):
        return _anthropic(usage)
    return _openai(usage, "input", "output")


def _openai(usage: object, sent: str, answered: str) -> Usage:
    """OpenAI's shape, under either pair of names; also Anthropic's where it has no cache field."""
    details = _get(usage, f"{sent}_tokens_details")
    return Usage(
        _count(usage, f"{sent}_tokens"),
        _count(usage, f"{answered}_tokens"),
        _count(details, "cached_tokens"),
        _count(details, "cache_write_tokens"),
        _reasoning(usage, answered),
    )


def _anthropic(usage: object) -> Usage:
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens")
    sent = _count(usage, "input_tokens") + read + written
    return Usage(sent, _count(usage, "output_tokens"), read, written, _reasoning(usage, "output"))


def _gemini(response: object) -> Usage | None:
    """Cached tokens are a part of the prompt; thoughts stand beside the candidates, and are output."""
    for holder, names in _GEMINI.items():
        usage = _get(response, holder) or response
        if _get(usage, names[0]) is not None:
            prompt, tools, said, thoughts, cached = (_count(usage, name) for name in names)
            return Usage(prompt + tools, said + thoughts, cached, 0, thoughts)
    return None


def _bedrock(usage: object) -> Usage:
    """What was read from the cache or written to it stands beside the input."""
    read = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    sent = _count(usage, "inputTokens") + read + written
    return Usage(sent, _count(usage, "outputTokens"), read, written)


def _reasoning(usage: object, answered: str) -> int:
    """OpenAI calls them reasoning tokens, Anthropic thinking tokens; both are part of the output."""
    details = _get(usage, f"{answered}_tokens_details")
    return _count(details, "reasoning_tokens") or _count(details, "thinking_tokens")


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _count(source: Any, name: str) -> int:
    """A count that may be absent or null; a nonsensical one (negative, not a number) counts as absent."""
    value = None if source is None else _get(source, name)
    return value if isinstance(value, int) and value > 0 else 0
