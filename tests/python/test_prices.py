"""Prices: which one a model has, what a usage costs by it, users' own prices, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

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


# --- users' own prices ------------------------------------------------------------------------------------

OWN = {
    "openai/gpt-4o": {
        "input": 9,
        "output": 10,
        "cache_read": 0.5,
        "source": "our contract",
        "date": "2026-10-01",
    },
    "local-*": {"input": 0, "output": 0},
    "vertex_ai/my-tuned": {
        "input": "1.5",
        "output": Decimal("2.5"),
        "request": 0.01,
        "max_output": 77,
        "above": {200_000: {"input": 3}, "1000000": {"input": 4, "output": 5}},
        "tiers": {"batch": {"input": 0.75, "output": 1.25, "above": {200_000: {"input": 1}}}},
    },
}


def test_own_prices_win_and_the_others_stay():
    book = PriceBook.load(OWN)
    own = book.find("gpt-4o")
    assert (own.id, own.source, own.date) == ("openai/gpt-4o", "our contract", "2026-10-01")
    assert own.rates() == {"input": 9, "output": 10, "cache_read": Decimal("0.5")}
    assert book.find("gpt-4o-mini").rates()["input"] == Decimal("0.15")
    assert book.cost(Usage(5, 5), "local-llama").pico_usd == 0
    assert book.find("local-llama").source == "your prices"


def test_own_prices_have_steps_tiers_and_what_a_call_costs():
    book = PriceBook.load(OWN)

    def cost(sent, tier=""):
        return book.cost(Usage(sent, 1000, tier=tier), "my-tuned", "gemini").usd - Decimal("0.01")

    assert cost(200_000) == Decimal("0.3025")
    assert cost(200_001) == Decimal("0.602503")
    assert cost(1_000_001) == Decimal("4.005004")
    assert cost(200_000, "batch") == Decimal("0.15125")
    assert cost(200_001, "batch") == Decimal("0.201251")
    assert book.max_output("my-tuned", "vertex") == 77


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_a_file_says_what_a_dict_says(tmp_path, kind):
    file = tmp_path / f"prices.{kind}"
    text = {
        "toml": '["openai/gpt-4o"]\ninput = 0.1\noutput = 0.3\n[m.tiers.batch]\ninput = 1\n[m]\ninput = 2\noutput = 3\n',
        "json": json.dumps({"openai/gpt-4o": {"input": 0.1, "output": 0.3}, "m": {"input": 2, "output": 3}}),
    }
    file.write_text(text[kind], encoding="utf-8")
    for path in (file, str(file)):
        book = PriceBook.load(path)
        assert book.find("gpt-4o").rates() == {"input": Decimal("0.1"), "output": Decimal("0.3")}
        assert book.find("m").source == file.name


BAD = {
    "a NaN": ({"m": {**RATES, "input": math.nan}}, "prices.m.input"),
    "an infinity": ({"m": {**RATES, "output": "Infinity"}}, "prices.m.output"),
    "less than nothing": ({"m": {**RATES, "cache_read": -1}}, "prices.m.cache_read"),
    "more than a dollar a token": ({"m": {**RATES, "input": 1_000_001}}, "prices.m.input"),
    "more than a dollar a call": ({"m": {**RATES, "request": 2}}, "prices.m.request"),
    "no number": ({"m": {**RATES, "input": "cheap"}}, "prices.m.input"),
    "a bool": ({"m": {**RATES, "input": True}}, "prices.m.input"),
    "nothing": ({"m": {**RATES, "input": None}}, "prices.m.input"),
    "no output": ({"m": {"input": 1}}, "prices.m.output"),
    "a field that there is not": ({"m": {**RATES, "ouput": 1}}, "prices.m.ouput"),
    "no table": ({"m": 5}, "prices.m"),
    "a name with a blank": ({"my model": RATES}, 'prices."my model"'),
    "a step without its rate": ({"m": {**RATES, "above": {5: {"reasoning": 1}}}}, "prices.m.reasoning"),
    "a step of no size": ({"m": {**RATES, "above": {"big": {"input": 1}}}}, "prices.m.above"),
    "a bad step": ({"m": {**RATES, "above": {5: {"input": -1}}}}, "prices.m.above.5.input"),
    "steps that are no table": ({"m": {**RATES, "above": 5}}, "prices.m.above"),
    "a bad tier": ({"m": {**RATES, "tiers": {"batch": {"input": -1}}}}, "prices.m.tiers.batch.input"),
    "a tier of no name": ({"m": {**RATES, "tiers": {"a|b": {"input": 1}}}}, "prices.m.tiers"),
    "an absurd answer": ({"m": {**RATES, "max_output": 0}}, "prices.m.max_output"),
}


@pytest.mark.parametrize(("prices", "field"), BAD.values(), ids=BAD)
def test_a_bad_price_is_refused_by_its_name(prices, field):
    with pytest.raises(ConfigError) as refused:
        PriceBook.load(prices)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")


def test_a_file_that_cannot_be_read_is_refused_by_its_name(tmp_path):
    broken, missing = tmp_path / "broken.toml", tmp_path / "missing.json"
    broken.write_text("[")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    number = tmp_path / "number.json"
    number.write_text("5")
    for file in (broken, missing, binary, number, tmp_path):
        with pytest.raises(ConfigError, match=file.name):
            PriceBook.load(file)


def test_a_bad_fallback_or_deployment_is_refused_by_its_name():
    for options, field in (
        ({"fallback": {"input": 1}}, "fallback.output"),
        ({"fallback": {"input": -1, "output": 1}}, "fallback.input"),
        ({"fallback": "gpt-nobody"}, "fallback"),
        ({"deployments": {"mine": ""}}, "deployments.mine"),
        ({"deployments": {"mine": 5}}, "deployments.mine"),
        ({"deployments": ["mine"]}, "deployments"),
    ):
        with pytest.raises(ConfigError) as refused:
            PriceBook(**options)
        assert refused.value.field == field


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


# --- usage in hand ----------------------------------------------------------------------------------------

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
