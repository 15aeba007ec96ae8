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
        cache_write_1h_tokens: The part of `cache_write_tokens` that was to be kept for an hour or longer.
        input_audio_tokens: The part of the input that was audio, cached audio included.
        output_audio_tokens: The part of the output that was audio.
        cache_read_audio_tokens: The part of `cache_read_tokens` that was audio.
        tier: The service tier that was served, such as ``batch``, ``flex``, ``priority`` or ``fast``; "" is the
            standard one, whatever the provider calls it.
    """

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    tier: str = ""


#: What providers call the tier that everybody has.
_STANDARD = frozenset({"", "default", "standard", "auto", "on_demand", "on-demand", "unspecified"})
#: Vertex AI's traffic types.
_TRAFFIC = "on_demand_"


class _Names(NamedTuple):
    """How Gemini's usage is written: each count, its split by modality, the count in those, the tier."""

    counts: tuple[str, str, str, str, str]
    splits: tuple[str, str, str, str]
    tokens: str
    tiers: tuple[str, str]


#: By the field that holds them: prompt, tools' results in it, candidates, thoughts, cache; the splits likewise.
_GEMINI = {
    "usageMetadata": _Names(
        (
            "promptTokenCount",
            "toolUsePromptTokenCount",
            "candidatesTokenCount",
            "thoughtsTokenCount",
            "cachedContentTokenCount",
        ),
        (
            "promptTokensDetails",
            "toolUsePromptTokensDetails",
            "candidatesTokensDetails",
            "cacheTokensDetails",
        ),
        "tokenCount",
        ("serviceTier", "trafficType"),
    ),
    "usage_metadata": _Names(
        (
            "prompt_token_count",
            "tool_use_prompt_token_count",
            "candidates_token_count",
            "thoughts_token_count",
            "cached_content_token_count",
        ),
        (
            "prompt_tokens_details",
            "tool_use_prompt_tokens_details",
            "candidates_tokens_details",
            "cache_tokens_details",
        ),
        "token_count",
        ("service_tier", "traffic_type"),
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
        return _openai(usage, response, "prompt", "completion")
    if _get(usage, "inputTokens") is not None:
        return _bedrock(usage, response)
    if _get(usage, "input_tokens") is None:
        return _gemini(response)
    if any(
        _get(usage, name) is not None
        for name in ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")
    ):
        return _anthropic(usage)
    return _openai(usage, response, "input", "output")


def add_usages(one: Usage, other: Usage) -> Usage:
    """Both together, under the tier that the later one names."""
    counts = {name: count + getattr(other, name) for name, count in one._asdict().items() if name != "tier"}
    return Usage(**counts, tier=other.tier or one.tier)


def tier_of(name: object) -> str:
    """A service tier by the word that all providers' prices go by; "" for the standard one."""
    word = _word(name)
    return "" if word in _STANDARD else word.removeprefix(_TRAFFIC)


def _openai(usage: object, response: object, sent: str, answered: str) -> Usage:
    """OpenAI's shape, under either pair of names; also Anthropic's where it has no cache field.

    Parts that are larger than their whole stand beside it: so are reasoning tokens of xAI, where the total tells, and
    cached tokens behind some gateways. DeepSeek's own fields name what was cached of the prompt, LiteLLM's what was
    written, as Anthropic does.
    """
    inputs = _details(usage, sent)
    outputs = _details(usage, answered)
    reasoning = _count(outputs, "reasoning_tokens") or _count(outputs, "thinking_tokens")
    prompt, output = _count(usage, f"{sent}_tokens"), _count(usage, f"{answered}_tokens")
    read = _count(inputs, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
    written = _count(inputs, "cache_write_tokens") or _count(inputs, "cache_creation_tokens")
    hour = _count(_get(inputs, "cache_write_tokens_details"), "ttl_12h_tokens") or _count(
        _get(inputs, "cache_creation_token_details"), "ephemeral_1h_input_tokens"
    )
    if reasoning > output or (reasoning and _count(usage, "total_tokens") == prompt + output + reasoning):
        output += reasoning
    if read + written > prompt:
        prompt += read + written
    return Usage(
        prompt,
        output,
        read,
        written,
        reasoning,
        min(hour, written),
        min(_count(inputs, "audio_tokens"), prompt),
        min(_count(outputs, "audio_tokens"), output),
        min(_count(_get(inputs, "cached_tokens_details"), "audio_tokens"), read),
        _tier(usage, response),
    )


def _details(usage: object, side: str) -> Any:
    """The parts of one side; the Realtime API and transcriptions write them in the singular."""
    details = _get(usage, f"{side}_tokens_details")
    return _get(usage, f"{side}_token_details") if details is None else details


def _tier(usage: object, response: object) -> str:
    """OpenAI names it on the response, Anthropic in the usage; its fast mode is one more price."""
    tier = tier_of(_get(usage, "service_tier") or _get(response, "service_tier"))
    return tier or ("fast" if _get(usage, "speed") == "fast" else "")


def _anthropic(usage: object) -> Usage:
    lives = _get(usage, "cache_creation")
    hour = _count(lives, "ephemeral_1h_input_tokens")
    read = _count(usage, "cache_read_input_tokens")
    written = _count(usage, "cache_creation_input_tokens") or hour + _count(
        lives, "ephemeral_5m_input_tokens"
    )
    sent = _count(usage, "input_tokens") + read + written
    details = _details(usage, "output")
    reasoning = _count(details, "thinking_tokens") or _count(details, "reasoning_tokens")
    return Usage(
        sent,
        _count(usage, "output_tokens"),
        read,
        written,
        reasoning,
        min(hour, written),
        tier=_tier(usage, None),
    )


def _gemini(response: object) -> Usage | None:
    """Cached tokens are a part of the prompt; thoughts stand beside the candidates, and are output."""
    for holder, names in _GEMINI.items():
        usage = _get(response, holder) or response
        if _get(usage, names.counts[0]) is not None:
            prompt, tools, said, thoughts, cached = (_count(usage, name) for name in names.counts)
            heard, used, spoken, kept = (_audio(_get(usage, name), names.tokens) for name in names.splits)
            tier = next((tier for name in names.tiers if (tier := tier_of(_get(usage, name)))), "")
            return Usage(
                prompt + tools,
                said + thoughts,
                cached,
                reasoning_tokens=thoughts,
                input_audio_tokens=min(heard + used, prompt + tools),
                output_audio_tokens=min(spoken, said),
                cache_read_audio_tokens=min(kept, cached),
                tier=tier,
            )
    return None


def _audio(split: Any, count: str) -> int:
    """The audio in a list of counts by modality."""
    return sum(_count(part, count) for part in split or () if _word(_get(part, "modality")) == "audio")


def _bedrock(usage: object, response: object) -> Usage:
    """What was read from the cache or written to it stands beside the input."""
    read = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    hours = (part for part in _get(usage, "cacheDetails") or () if _get(part, "ttl") == "1h")
    sent = _count(usage, "inputTokens") + read + written
    return Usage(
        sent,
        _count(usage, "outputTokens"),
        read,
        written,
        cache_write_1h_tokens=min(sum(_count(part, "inputTokens") for part in hours), written),
        tier=tier_of(_get(_get(response, "serviceTier"), "type")),
    )


def _word(name: Any) -> str:
    """A word of an API, as text or as an SDK's enum, in small letters."""
    return str(getattr(name, "value", name) or "").lower()


def _get(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _count(source: Any, name: str) -> int:
    """A count that may be absent or null; a nonsensical one (negative, not a number) counts as absent."""
    value = None if source is None else _get(source, name)
    return value if isinstance(value, int) and value > 0 else 0
