"""Prices beside the libraries that have them too, and usage as the frameworks really give it."""

from __future__ import annotations

import random
from datetime import datetime, timezone
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers

from ratekeeper import ConfigError, PriceBook, Usage, estimate_cost

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
MODELS = [(provider.id, model.id) for provider in providers for model in provider.models]


def theirs(usage, model, provider):
    """What genai-prices makes of it, or None where it refuses its own name."""
    counts = {name: count for name, count in usage._asdict().items() if name in FIELDS and count}
    asked = genai_prices.Usage(**{"input_tokens": 0, "output_tokens": 0, **counts})
    try:
        return genai_prices.calc_price(asked, model, provider_id=provider, genai_request_timestamp=NOON)
    except LookupError:
        return None


FIELDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")


def test_the_installed_genai_prices_charge_what_calc_price_does():
    book, rng, agreed = PriceBook.from_genai_prices(), random.Random(5), 0
    for provider, model in rng.sample(MODELS, 600):
        usage = Usage(rng.randrange(1, 500_000), rng.randrange(1, 9000))
        cost, price = book.cost(usage, model, provider, at=NOON), theirs(usage, model, provider)
        if cost is None or price is None:
            continue
        slack = Decimal("5e-13") * (usage.input_tokens + usage.output_tokens)
        if cost.price.id == f"{provider}/{price.model.id}":
            assert abs(cost.usd - price.total_price) <= slack, (provider, model)
            agreed += 1
    assert agreed > 450


def test_the_installed_genai_prices_say_so_and_have_nothing_of_the_others():
    book = PriceBook.from_genai_prices(fallback={"input": 1, "output": 1})
    assert book.find("gpt-4o-mini").source.startswith("genai-prices ")
    assert book.find("azure/eu/gpt-4o-2024-08-06").is_fallback
    assert book.max_output("gpt-4o-mini") is None


def test_crewais_metrics_and_output_are_read():
    from crewai.types.usage_metrics import UsageMetrics

    metrics = UsageMetrics(
        total_tokens=1500,
        prompt_tokens=1000,
        cached_prompt_tokens=200,
        completion_tokens=500,
        successful_requests=3,
    )
    assert estimate_cost(metrics, "gpt-4o-mini", at=NOON).usd == Decimal("0.000435")
    # Anthropic counts what it cached beside the input, and CrewAI as Anthropic does.
    beside = UsageMetrics(prompt_tokens=100, cached_prompt_tokens=900, completion_tokens=10)
    assert estimate_cost(beside, "claude-haiku-4-5", at=NOON).usd == Decimal("0.00024")


def test_autogens_usage_and_summary_are_read():
    from autogen_core.models import RequestUsage

    assert estimate_cost(RequestUsage(1000, 500), "gpt-4o-mini", at=NOON).usd == Decimal("0.00045")


def test_langchains_messages_and_usage_callback_are_read():
    from langchain_core.callbacks import UsageMetadataCallbackHandler
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, LLMResult

    counted = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
    message = AIMessage(
        "a",
        usage_metadata={**counted, "input_token_details": {"cache_read": 200}},
        response_metadata={"model_name": "gpt-4o-mini-2024-07-18"},
    )
    callback = UsageMetadataCallbackHandler()
    callback.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]))
    for told in (message, message.usage_metadata, callback.usage_metadata, callback):
        assert estimate_cost(told, "gpt-4o-mini", at=NOON).usd == Decimal("0.000435")


def test_the_sdks_answers_are_read():
    from anthropic.types import Usage as AnthropicUsage
    from google.genai.types import GenerateContentResponse, GenerateContentResponseUsageMetadata
    from openai.types.chat import ChatCompletion

    openai = ChatCompletion.model_validate(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini",
            "choices": [],
            "service_tier": "priority",
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        }
    )
    assert estimate_cost(openai, "gpt-4o-mini", at=NOON).usd == Decimal("0.00035")
    anthropic = AnthropicUsage(
        input_tokens=0,
        output_tokens=0,
        cache_creation_input_tokens=1000,
        cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1000},
        service_tier="batch",
    )
    assert estimate_cost(anthropic, "claude-haiku-4-5", at=NOON).usd == Decimal("0.001")
    gemini = GenerateContentResponse(
        usage_metadata=GenerateContentResponseUsageMetadata(
            prompt_token_count=1000,
            candidates_token_count=100,
            thoughts_token_count=100,
            prompt_tokens_details=[{"modality": "AUDIO", "token_count": 1000}],
            traffic_type="ON_DEMAND",
        )
    )
    assert estimate_cost(gemini, "gemini-2.5-flash", at=NOON).usd == Decimal("0.0015")


def test_litellms_usage_is_read_with_the_lifetimes_of_what_it_cached():
    from litellm import ModelResponse
    from litellm.types.utils import PromptTokensDetailsWrapper
    from litellm.types.utils import Usage as LiteLLMUsage

    from ratekeeper.adapters.litellm.usage import usage_of

    usage = LiteLLMUsage(
        prompt_tokens=1000,
        completion_tokens=10,
        total_tokens=1010,
        cache_creation_input_tokens=600,
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=100,
            cache_creation_tokens=600,
            cache_creation_token_details={"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 400},
        ),
    )
    read = usage_of(ModelResponse(usage=usage, service_tier="flex"))
    assert read == Usage(1000, 10, 100, 600, 0, 400, tier="flex")


@pytest.mark.parametrize("count", [-1, 10**15])
def test_absurd_metrics_are_refused(count):
    from crewai.types.usage_metrics import UsageMetrics

    with pytest.raises(ConfigError, match="usage"):
        estimate_cost(UsageMetrics(prompt_tokens=count), "gpt-4o")
