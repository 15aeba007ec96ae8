"""Users' own prices, from dicts and files, and what is refused of them."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest

from ratekeeper import ConfigError, PriceBook, Usage

RATES = {"input": 1, "output": 2}

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
