"""Prices: which one a model has, what a usage costs by it, users' own prices, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ratekeeper as rk
from ratekeeper import ConfigError, PriceBook, Usage, estimate_cost

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
RATES = {"input": 1, "output": 2}
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"


def usd(usage, model, **options):
    return PriceBook().cost(usage, model, at=NOON, **options).usd


def test_a_cost_is_exact_and_says_what_it_is_made_of():
    cost = PriceBook().cost(Usage(1000, 500, 200), "gpt-4o-mini", at=NOON)
    assert cost.pico_usd == 435_000_000
    assert cost.usd == Decimal("0.000435")
    assert cost.price.id == "openai/gpt-4o-mini"
    assert cost.lines == [
        ("input", 800, Decimal("0.15"), Decimal("0.00012")),
        ("cache_read", 200, Decimal("0.075"), Decimal("0.000015")),
        ("output", 500, Decimal("0.6"), Decimal("0.0003")),
    ]
    assert repr(cost) == "<cost 0.000435 USD by openai/gpt-4o-mini>"


def test_a_price_says_where_it_comes_from_and_since_when_it_holds():
    price = PriceBook().find("claude-sonnet-4-6", at=NOON)
    assert price.source.startswith("genai-prices ")
    assert price.date[:3] == "202"
    assert (price.since, price.hours, price.max_output) == ("2026-03-13", None, 128_000)
    assert price.rates()["cache_write_1h"] == 6
    assert price.rates("batch")["output"] == Decimal("7.5")
    assert "batch" in price.tiers
    assert not price.is_fallback
    assert "openai/gpt-4o" in repr(PriceBook().find("gpt-4o"))
    assert PriceBook().find("azure/eu/gpt-4o-2024-08-06").source.startswith("litellm ")


def test_a_price_changes_with_the_day_the_hour_and_the_size_of_the_input():
    book = PriceBook()
    long = Usage(300_000, 1)
    assert book.cost(long, "claude-sonnet-4-6", at=datetime(2026, 3, 12)).lines[0][2] == 6
    assert book.cost(long, "claude-sonnet-4-6", at=datetime(2026, 3, 13)).lines[0][2] == 3
    assert book.find("claude-sonnet-4-6", at=datetime(2026, 3, 12)).steps == [200_000]
    peak = book.find("deepseek-v4-pro", "deepseek", at=datetime(2026, 11, 21, 2))
    assert (peak.hours, peak.rates()["input"]) == ("01:00-04:00", Decimal("1.32"))
    calm = book.find("deepseek-v4-pro", "deepseek", at=datetime(2026, 11, 21, 4))
    assert (calm.hours, calm.rates()["input"]) == (None, Decimal("0.66"))


def test_a_time_is_one_of_utc_unless_it_says_otherwise():
    book = PriceBook()
    west = timezone(timedelta(hours=-8))
    for at in (datetime(2026, 11, 21, 2), datetime(2026, 11, 20, 18, tzinfo=west), 1_795_226_400):
        assert book.find("deepseek-v4-pro", "deepseek", at).hours == "01:00-04:00"


def test_service_tiers_and_cache_lifetimes_have_their_rates():
    assert usd(Usage(1000, 100, tier="priority"), "gpt-4o-mini") == Decimal("0.00035")
    assert usd(Usage(1000, 100, tier="batch"), "gpt-4o-mini") == Decimal("0.000105")
    assert usd(Usage(1000, 0, 0, 1000), "claude-haiku-4-5") == Decimal("0.00125")
    assert usd(Usage(1000, 0, 0, 1000, 0, 1000), "claude-haiku-4-5") == Decimal("0.002")
    assert usd(Usage(1000, 0, 0, 0, 0, 0, 1000), "gemini-2.5-flash") == Decimal("0.001")


def test_the_worst_bounds_a_cost_and_is_narrower_for_one_tier():
    book = PriceBook()
    assert book.worst("gpt-4o-mini", "", 1000, 500, tier="") == 450_000_000
    assert book.worst("gpt-4o-mini", "openai", 1000, 500) == 750_000_000
    assert book.worst("claude-haiku-4-5", "", 1000, 0, tier="") == 2_000_000_000
    assert book.worst("nobody", "", 1, 1) is None
    assert book.max_output("gpt-4o-mini") == 16_384
    assert book.max_output("nobody") is None


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_money_is_exact_whatever_its_size(sent, said, cached):
    usage = Usage(sent, said, min(sent, cached))
    cost = PriceBook().cost(usage, "gpt-4o-mini", at=NOON)
    expected = (sent - usage.cache_read_tokens) * 150_000 + usage.cache_read_tokens * 75_000 + said * 600_000
    assert cost.pico_usd == expected
    assert cost.usd * 10**12 == expected


def test_the_smallest_precision_of_decimals_rounds_nothing():
    from decimal import localcontext

    with localcontext() as context:
        context.prec = 3
        cost = PriceBook().cost(Usage(123_456_789, 1), "gpt-4o-mini", at=NOON)
        assert str(cost.usd) == "18.51851895"


# --- unknown models ---------------------------------------------------------------------------------------


def test_an_unknown_model_costs_nothing_known_rather_than_nothing():
    book = PriceBook()
    assert book.find("my-model") is None
    assert book.cost(Usage(1, 1), "my-model") is None
    assert estimate_cost(Usage(1, 1), "my-model") is None


def test_a_fallback_is_charged_for_models_that_nobody_knows_and_says_so():
    for fallback, name in (
        ({"input": 3, "output": 15, "max_output": 9}, "fallback"),
        ("gpt-4o", "openai/gpt-4o"),
    ):
        book = PriceBook(fallback=fallback)
        price = book.cost(Usage(1, 1), "my-model").price
        assert (price.id, price.is_fallback) == (name, True)
        assert not book.find("gpt-4o-mini").is_fallback
        assert book.worst("my-model", "", 10**6, 0, tier="") >= 2_500_000_000_000
        assert book.max_output("my-model") is None
    assert PriceBook(fallback=RATES).find("x").source == "fallback"


def test_a_deployment_is_the_model_it_was_made_of():
    book = PriceBook(deployments={"My-Deployment": "azure/gpt-4o-mini", "arn:aws:x/y": HAIKU})
    for name in ("my-deployment", "azure/My-Deployment"):
        assert book.find(name).id == "openai/gpt-4o-mini"
    assert book.find("My-Deployment", "azure").id == "openai/gpt-4o-mini"
    assert book.find("arn:aws:x/y", "bedrock").id == f"aws/regional.{HAIKU}"


# --- bad usage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [name for name in Usage._fields if name != "tier"])
def test_a_count_below_nothing_or_beyond_reason_is_refused_by_its_name(field):
    for count in (-1, 10**12 + 1, 10**30):
        with pytest.raises(ConfigError, match=rf"usage\.{field}: expected"):
            PriceBook().cost(Usage(10, 10)._replace(**{field: count}), "gpt-4o")
    for count in (1.5, None, "5", True):
        with pytest.raises(TypeError, match=rf"usage\.{field}: expected"):
            PriceBook().cost(Usage(10, 10)._replace(**{field: count}), "gpt-4o")


def test_a_bad_count_is_refused_for_unknown_models_too():
    with pytest.raises(ConfigError):
        PriceBook().cost(Usage(1, 1, 2), "nobody")


@pytest.mark.parametrize("usage", [None, 5, {"prompt_tokens": 1}, (1, 2), Usage(1, 1)._replace(tier=None)])
def test_what_is_no_usage_is_a_type_error(usage):
    with pytest.raises(TypeError, match="usage"):
        PriceBook().cost(usage, "gpt-4o")


def test_a_bad_time_or_bound_is_refused_by_its_name():
    book = PriceBook()
    for at in (math.nan, math.inf, 1e300):
        with pytest.raises(ConfigError, match="at: "):
            book.find("gpt-4o", at=at)
    with pytest.raises(TypeError, match="at: "):
        book.find("gpt-4o", at="today")
    with pytest.raises(ConfigError, match="output_tokens: "):
        book.worst("gpt-4o", "", 1, -1)


# --- what others reckon -----------------------------------------------------------------------------------

#: Usage, model, provider, time and dollars, as genai-prices and LiteLLM reckon them: written by
#: scripts/price_agreement.py, which also lists where we differ, and why.
AGREED = json.loads((Path(__file__).parent / "price_agreement.json").read_text(encoding="utf-8"))


def test_a_fixed_sample_costs_what_genai_prices_and_litellm_say():
    book = PriceBook()
    assert len(AGREED) == 500
    assert len({model for _, model, *_ in AGREED}) > 300
    for (*counts, tier), model, provider, at, dollars in AGREED:
        usage = Usage(*counts, tier=tier)
        cost = book.cost(usage, model, provider, at=at)
        # LiteLLM reckons in floats.
        slack = Decimal("5e-13") * (usage.input_tokens + usage.output_tokens + 2)
        assert abs(cost.usd - Decimal(dollars)) <= slack, (model, provider, usage)


# --- figures ----------------------------------------------------------------------------------------------


def test_the_compiled_in_table_is_small():
    data = Path(__file__).parents[2] / "src" / "prices" / "data.txt"
    assert data.stat().st_size < 500_000


def test_importing_prices_parses_nothing_and_needs_no_library():
    code = """
import sys
import ratekeeper.prices
ratekeeper.prices.PriceBook()
print(sorted({"genai_prices", "litellm", "json", "decimal", "ratekeeper._price_rows"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_public_names_are_there():
    assert rk.PriceBook is PriceBook
    assert rk.estimate_cost is estimate_cost
