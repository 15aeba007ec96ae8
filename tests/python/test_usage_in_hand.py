"""estimate_cost: usage in the forms in which people have it."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from types import SimpleNamespace

import pytest

from ratekeeper import ConfigError, PriceBook, Usage, estimate_cost

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
RATES = {"input": 1, "output": 2}

CREWAI = SimpleNamespace(
    total_tokens=1500,
    prompt_tokens=1000,
    cached_prompt_tokens=200,
    completion_tokens=500,
    reasoning_tokens=0,
    cache_creation_tokens=0,
    successful_requests=2,
)
LANGCHAIN = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "total_tokens": 1500,
    "input_token_details": {"cache_read": 200},
    "output_token_details": {"reasoning": 0},
}
OPENAI = {
    "prompt_tokens": 1000,
    "completion_tokens": 500,
    "prompt_tokens_details": {"cached_tokens": 200},
}
AUTOGEN = {
    "gpt-4o-mini": {"cost": 0.1, "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
}
FORMS = {
    "ours": (Usage(1000, 500, 200), 435),
    "openai's answer": ({"id": "x", "usage": OPENAI}, 435),
    "openai's usage": (OPENAI, 435),
    "langchain's usage_metadata": (LANGCHAIN, 435),
    "langchain's message": (SimpleNamespace(usage_metadata=LANGCHAIN), 435),
    "langchain's usage callback": ({"gpt-4o-mini": LANGCHAIN}, 435),
    "langchain, a dated name": ({"gpt-4o-mini-2024-07-18": LANGCHAIN}, 435),
    "langchain, priority": (
        {
            **LANGCHAIN,
            "input_token_details": {"priority": 800, "priority_cache_read": 200},
            "output_token_details": {"priority": 500},
        },
        725,
    ),
    "crewai's metrics": (CREWAI, 435),
    "crewai's output": (SimpleNamespace(token_usage=CREWAI, raw="text"), 435),
    "autogen's request usage": (SimpleNamespace(prompt_tokens=1000, completion_tokens=500), 450),
    "autogen's message": (
        SimpleNamespace(models_usage=SimpleNamespace(prompt_tokens=1000, completion_tokens=500)),
        450,
    ),
    "autogen's summary": ({"total_cost": 0.1, **AUTOGEN}, 450),
    "autogen's cost of a chat": (
        {
            "usage_including_cached_inference": {},
            "usage_excluding_cached_inference": {"total_cost": 1, **AUTOGEN},
        },
        450,
    ),
    "gemini's answer": (
        {"usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 400, "thoughtsTokenCount": 100}},
        450,
    ),
    "bedrock's answer": (
        {"usage": {"inputTokens": 800, "outputTokens": 500, "cacheReadInputTokens": 200}},
        435,
    ),
}


@pytest.mark.parametrize(("usage", "micro"), FORMS.values(), ids=FORMS)
def test_usage_in_hand_is_read_in_the_form_it_has(usage, micro):
    cost = estimate_cost(usage, "gpt-4o-mini", at=NOON)
    assert cost.usd * 10**6 == micro


def test_an_estimate_is_by_the_prices_it_is_given():
    assert estimate_cost(OPENAI, "m", prices=PriceBook.load({"m": RATES})).usd == Decimal("0.002")


@pytest.mark.parametrize("nothing", [None, {}, "text", 5, object(), {"usage": None}, {"gpt-4o": {"cost": 1}}])
def test_what_has_no_counts_is_a_type_error_and_not_a_cost_of_nothing(nothing):
    with pytest.raises(TypeError, match="usage: expected counts of tokens"):
        estimate_cost(nothing, "gpt-4o")


@pytest.mark.parametrize("count", [-5, 1.5, True, "5"])
def test_made_up_counts_are_refused_and_not_read_as_nothing(count):
    with pytest.raises(ConfigError, match=r"usage\.prompt_tokens"):
        estimate_cost({"prompt_tokens": count, "completion_tokens": 1}, "gpt-4o")
