"""Usage as each provider reports it, read into one form: dicts as on the wire, and objects as of the SDKs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ratekeeper.providers import Usage, read_usage

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


@pytest.mark.parametrize(
    "nothing", [{}, {"usage": None}, {"usageMetadata": {}}, {"usageMetadata": None}, object(), None, "text"]
)
def test_where_there_is_no_usage_there_is_none(nothing):
    assert read_usage(nothing) is None
