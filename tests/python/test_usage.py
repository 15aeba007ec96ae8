"""Usage as each provider reports it, read into one form: dicts as on the wire, and objects as of the SDKs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ratekeeper.providers import Usage, read_usage
from ratekeeper.providers.usage import add_usages

GEMINI = {
    "promptTokenCount": 100,
    "toolUsePromptTokenCount": 5,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 7,
    "cachedContentTokenCount": 60,
    "totalTokenCount": 132,
}
GEMINI_SDK = {
    "prompt_token_count": 100,
    "tool_use_prompt_token_count": 5,
    "candidates_token_count": 20,
    "thoughts_token_count": 7,
    "cached_content_token_count": 60,
    "total_token_count": 132,
}
BEDROCK = {
    "inputTokens": 10,
    "outputTokens": 20,
    "totalTokens": 120,
    "cacheReadInputTokens": 60,
    "cacheWriteInputTokens": 30,
}
OPENAI = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 60},
    "completion_tokens_details": {"reasoning_tokens": 7},
}
ANTHROPIC = {
    "input_tokens": 10,
    "output_tokens": 20,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 30,
}
CASES = {
    "gemini": ("usageMetadata", GEMINI, Usage(105, 27, 60, 0, 7)),
    "google-genai": ("usage_metadata", GEMINI_SDK, Usage(105, 27, 60, 0, 7)),
    "bedrock": ("usage", BEDROCK, Usage(100, 20, 60, 30)),
    "openai": ("usage", OPENAI, Usage(100, 20, 60, 0, 7)),
    "anthropic": ("usage", ANTHROPIC, Usage(100, 20, 60, 30)),
}


@pytest.mark.parametrize(("holder", "raw", "usage"), CASES.values(), ids=CASES)
def test_cached_tokens_are_part_of_the_input_and_thoughts_of_the_output(holder, raw, usage):
    assert read_usage({holder: raw}) == usage
    assert read_usage(SimpleNamespace(**{holder: SimpleNamespace(**raw)})) == usage
    assert read_usage(raw) == usage


def test_what_gemini_leaves_out_is_zero():
    assert read_usage({"usageMetadata": {"promptTokenCount": 9}}) == Usage(9, 0)
    fields = dict.fromkeys(GEMINI_SDK)
    assert read_usage(SimpleNamespace(**{**fields, "prompt_token_count": 9})) == Usage(9, 0)


def test_bedrock_without_a_cache_counts_its_input_alone():
    assert read_usage({"usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11}}) == Usage(9, 2)


#: A whole answer, and what it used: every provider's cases of caches, audio, reasoning and service tiers.
ANSWERS = {
    "openai, the tier that everybody has": (
        {"usage": OPENAI, "service_tier": "default"},
        Usage(100, 20, 60, 0, 7),
    ),
    "openai, flex, n = 3 counts once": (
        {"usage": {**OPENAI, "completion_tokens": 60}, "service_tier": "flex", "choices": [{}, {}, {}]},
        Usage(100, 60, 60, 0, 7, tier="flex"),
    ),
    "openai, cache writes and audio": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20, "audio_tokens": 40},
                "completion_tokens_details": {"audio_tokens": 15, "reasoning_tokens": 0},
            }
        },
        Usage(100, 20, 30, 20, 0, 0, 40, 15),
    ),
    "openai responses, writes by their time": (
        {
            "service_tier": "priority",
            "usage": {
                "input_tokens": 100,
                "input_tokens_details": {
                    "cached_tokens": 30,
                    "cache_write_tokens": 20,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 5, "ttl_12h_tokens": 15},
                },
                "output_tokens": 9,
                "output_tokens_details": {"reasoning_tokens": 4},
                "total_tokens": 109,
            },
        },
        Usage(100, 9, 30, 20, 4, 15, tier="priority"),
    ),
    "openai realtime": (
        {
            "usage": {
                "input_tokens": 100,
                "output_tokens": 50,
                "input_token_details": {
                    "cached_tokens": 64,
                    "text_tokens": 40,
                    "audio_tokens": 60,
                    "cached_tokens_details": {"text_tokens": 32, "audio_tokens": 32},
                },
                "output_token_details": {"text_tokens": 10, "audio_tokens": 40},
            }
        },
        Usage(100, 50, 64, 0, 0, 0, 60, 40, 32),
    ),
    "xai, reasoning beside the completion": (
        {
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            }
        },
        Usage(32, 103, reasoning_tokens=94),
    ),
    "a gateway, cached tokens beside the prompt": (
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 1,
                "prompt_tokens_details": {"cached_tokens": 60},
            }
        },
        Usage(70, 1, 60),
    ),
    "deepseek": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            }
        },
        Usage(100, 5, 64),
    ),
    "anthropic, writes by their time, batch": (
        {
            "usage": {
                **ANTHROPIC,
                "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
                "service_tier": "batch",
            }
        },
        Usage(100, 20, 60, 30, 0, 20, tier="batch"),
    ),
    "anthropic, the split alone": (
        {
            "usage": {
                "input_tokens": 10,
                "output_tokens": 2,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6},
                "service_tier": "standard",
            }
        },
        Usage(20, 2, 0, 10, 0, 6),
    ),
    "anthropic, fast": (
        {"usage": {**ANTHROPIC, "service_tier": "standard", "speed": "fast"}},
        Usage(100, 20, 60, 30, tier="fast"),
    ),
    "gemini, by modality": (
        {
            "usageMetadata": {
                **GEMINI,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 70},
                    {"modality": "AUDIO", "tokenCount": 30},
                ],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 12}],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}],
                "trafficType": "ON_DEMAND_FLEX",
            }
        },
        Usage(105, 27, 60, 0, 7, 0, 30, 20, 12, "flex"),
    ),
    "vertex, as everybody": (
        {"usageMetadata": {**GEMINI, "trafficType": "ON_DEMAND"}},
        Usage(105, 27, 60, 0, 7),
    ),
    "bedrock, writes by their time": (
        {
            "usage": {
                **BEDROCK,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 12}, {"ttl": "5m", "inputTokens": 18}],
            },
            "serviceTier": {"type": "priority"},
        },
        Usage(100, 20, 60, 30, 0, 12, tier="priority"),
    ),
}


def as_object(value):
    """A dict as an SDK shows it: attributes all the way down."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(part) for name, part in value.items()})
    return [as_object(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("answer", "usage"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_read_without_counting_twice(answer, usage):
    assert read_usage(answer) == usage
    assert read_usage(as_object(answer)) == usage


@pytest.mark.parametrize(("answer", "usage"), ANSWERS.values(), ids=ANSWERS)
def test_parts_are_never_larger_than_their_whole(answer, usage):
    assert usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
    assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
    assert usage.cache_read_audio_tokens <= min(usage.cache_read_tokens, usage.input_audio_tokens)
    assert max(usage.reasoning_tokens, usage.output_audio_tokens) <= usage.output_tokens


def test_usages_add_up_field_by_field():
    one = Usage(1, 2, 3, 4, 5, 6, 7, 8, 9, "flex")
    assert add_usages(one, Usage(10, 20)) == Usage(11, 22, 3, 4, 5, 6, 7, 8, 9, "flex")
    assert add_usages(one, one._replace(tier="priority")).tier == "priority"


@pytest.mark.parametrize(
    "nothing", [{}, {"usage": None}, {"usageMetadata": {}}, {"usageMetadata": None}, object(), None, "text"]
)
def test_where_there_is_no_usage_there_is_none(nothing):
    assert read_usage(nothing) is None
