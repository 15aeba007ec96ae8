"""Compares the price book with genai-prices' calc_price and LiteLLM's cost_per_token, by random models and usages.

    python scripts/price_agreement.py [PAIRS] [SEED] [--times] [--write]

Needs both installed, in the versions that src/prices/data.txt was made from, and ratekeeper's package on the path. Prints
how often the amounts agree, the causes of those that do not, with an example each, and what a question takes in each.
With --write, some of the pairs on which all agree are written to where the tests hold us to them.
"""

from __future__ import annotations

import collections
import json
import os
import random
import sys
import timeit
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import genai_prices
import litellm
from genai_prices.data import providers
from litellm.types.utils import PromptTokensDetailsWrapper
from litellm.types.utils import Usage as TheirUsage

from ratekeeper import PriceBook, Usage

BOOK = PriceBook()
litellm.suppress_debug_info = True
NOON = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
#: Half a pico-USD a token is what rounding to whole ones can make.
ROUNDING = Decimal("5e-13")
CONTEXTS = {
    "": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
Case = tuple[str, str, list[Any]]
SAMPLE = Path(__file__).parents[1] / "tests" / "python" / "price_agreement.json"


def some_usage(rng: random.Random, *, plain: bool) -> Usage:
    """A usage whose parts fit in their wholes; a plain one has neither cached nor audio tokens."""
    size = rng.choice((100, 10_000, 150_000, 250_000, 600_000))
    sent, said = rng.randrange(size), rng.randrange(8000)
    if plain:
        return Usage(sent, said)
    read, written = rng.randrange(sent // 2 + 1), rng.randrange(sent // 4 + 1)
    return Usage(sent, said, read, written, 0, rng.randrange(written + 1))


# --- genai-prices -----------------------------------------------------------------------------------------


def with_genai(rng: random.Random) -> Case:
    """One of its models, a usage, a time, a tier: what differs, and what is said of it."""
    provider = rng.choice([p for p in providers for _ in range(len(p.models).bit_length()) if p.models])
    model = rng.choice(provider.models)
    usage = some_usage(rng, plain=rng.random() < 0.3)
    at = NOON - timedelta(hours=rng.randrange(24 * 300)) if rng.random() < 0.3 else NOON
    tier = rng.choice(("", "", "", *CONTEXTS))
    ours = BOOK.cost(usage._replace(tier=tier), model.id, provider.id, at=at)
    shown = f"{provider.id}/{model.id} {tuple(usage)} {tier} {at:%Y-%m-%d %H:%M}"
    asked = [[*usage[:-1], tier], model.id, provider.id, int(at.timestamp())]
    theirs = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )
    try:
        price = genai_prices.calc_price(
            theirs,
            model.id,
            provider_id=provider.id,
            genai_request_timestamp=at,
            price_context=CONTEXTS[tier],
        )
    except (LookupError, ValueError) as error:
        return f"it refuses: {type(error).__name__}", shown, asked
    if ours is None:
        kind = "it takes 0" if not price.total_price or not usage.output_tokens else "it leaves out"
        return f"no price for some of the tokens: {kind}, we say that they are unpriced", shown, asked
    shown = f"{shown}: {ours.usd} {price.total_price} by {ours.price.id}"
    asked.append(str(price.total_price))
    return cause_of_genai(ours, price, usage, f"{provider.id}/{model.id}"), shown, asked


def cause_of_genai(ours: Any, price: Any, usage: Usage, name: str) -> str:
    """Why two amounts differ, or that they do not."""
    difference = abs(ours.usd - price.total_price)
    if not difference:
        return "the same"
    if difference <= ROUNDING * (usage.input_tokens + usage.output_tokens):
        return "the same but for a rate of theirs finer than a millionth of a dollar a million tokens"
    if ours.price.id.lower() != name.lower() or f"{price.provider.id}/{price.model.id}" != name:
        return "the model's own id is another model's pattern"
    if "litellm" in ours.price.source:
        return "a rate or a tier that it has not, taken from LiteLLM"
    unpriced = "output_mtok" not in price.model_price.__dict__
    return "its output has a price as pictures only, and it takes 0" if unpriced else "OTHER"


# --- LiteLLM ----------------------------------------------------------------------------------------------


def with_litellm(rng: random.Random) -> Case:
    """One of its models and a usage."""
    key, entry = rng.choice(PRICED)
    usage = some_usage(rng, plain=rng.random() < 0.5)
    tier = rng.choice(("", "", "", "flex", "priority"))
    ours = BOOK.cost(usage._replace(tier=tier), key, entry["litellm_provider"], at=NOON)
    shown = f"{key} {tuple(usage)} {tier}"
    asked = [[*usage[:-1], tier], key, entry["litellm_provider"], int(NOON.timestamp())]
    told = TheirUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=usage.cache_read_tokens,
            cache_creation_tokens=usage.cache_write_tokens,
            cache_creation_token_details={
                "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
                "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
            },
        ),
    )
    try:
        sent, said = litellm.cost_per_token(
            model=key,
            custom_llm_provider=entry["litellm_provider"],
            usage_object=told,
            service_tier=tier or None,
        )
    except Exception as error:  # noqa: BLE001 (whatever it raises is listed by its name)
        return f"it refuses: {type(error).__name__}", shown, asked
    if ours is None:
        return "a model or a kind of token without a price for us", shown, asked
    theirs = Decimal(repr(sent)) + Decimal(repr(said))
    asked.append(str(theirs))
    shown = f"{shown}: {ours.usd} {theirs} by {ours.price.id}"
    return cause_of_litellm(ours, theirs, usage, entry, tier), shown, asked


def cause_of_litellm(ours: Any, theirs: Decimal, usage: Usage, entry: dict[str, Any], tier: str) -> str:
    """Why two amounts differ, or that they do not."""
    if abs(ours.usd - theirs) <= ROUNDING * (usage.input_tokens + usage.output_tokens) + Decimal("1e-12"):
        return "the same"
    price, rates = ours.price, ours.price.rates(tier, usage.input_tokens)
    base = {"input": entry.get("input_cost_per_token"), "output": entry.get("output_cost_per_token")}
    listed = {name: Decimal(repr(float(rate))) * 10**6 for name, rate in base.items() if rate}
    causes = {
        "genai-prices has another price for the model, which wins": any(
            price.rates().get(name) != rate for name, rate in listed.items()
        ),
        "the same price, but genai-prices has other rates for caches, sizes or tiers": (
            "litellm" not in price.source
        ),
        "LiteLLM lists hours of the week, which we do not take": "off_peak_pricing" in entry,
        "no rate for cached tokens: they cost what input costs, LiteLLM charges nothing for them": (
            usage.cache_read_tokens > 0 and "cache_read" not in rates
        ),
        "no rate for cache writes: they cost what input costs, LiteLLM charges nothing for them": (
            usage.cache_write_tokens > 0 and not {"cache_write", "cache_write_1h"} <= rates.keys()
        ),
        "a size of the input together with a tier": bool(price.steps and tier),
        "a size of the input": bool(price.steps),
    }
    if is_it := next((cause for cause, holds in causes.items() if holds), ""):
        return is_it
    is_mixed = tier and "genai" in price.source
    return "LiteLLM has the model more than once, with other tiers" if is_mixed else "OTHER"


PRICED = [
    (key, entry)
    for key, entry in litellm.model_cost.items()
    if entry.get("mode") in ("chat", "responses", "embedding", "completion")
    and (entry.get("input_cost_per_token") or 0) > 0
]


# --- the table --------------------------------------------------------------------------------------------


def compare(name: str, one: Callable[[random.Random], Case], pairs: int, seed: int) -> list[list[Any]]:
    """Prints how often what was the cause, with an example, and gives the pairs that agree."""
    rng, counts, examples, agreed = random.Random(seed), collections.Counter[str](), {}, []
    for _ in range(pairs):
        cause, example, asked = one(rng)
        counts[cause] += 1
        examples.setdefault(cause, example)
        if cause == "the same":
            agreed.append(asked)
    print(f"\n{name}, {pairs} pairs")
    for cause, count in counts.most_common():
        print(f"{count:7} {count / pairs:6.1%}  {cause}")
        if cause != "the same":
            print(f"{'':17}{examples[cause]}")
    return agreed


def times() -> None:
    """What one question takes in each, for a model that was asked for before: the best of many."""
    usage = Usage(1000, 500, 200)
    theirs = genai_prices.Usage(input_tokens=1000, output_tokens=500, cache_read_tokens=200)
    asked: dict[str, Callable[[], object]] = {
        "ratekeeper": lambda: BOOK.cost(usage, "gpt-4o-mini", "openai"),
        "genai-prices": lambda: genai_prices.calc_price(theirs, "gpt-4o-mini", provider_id="openai"),
        "litellm": lambda: litellm.cost_per_token(
            "gpt-4o-mini", 1000, 500, cache_read_input_tokens=200, custom_llm_provider="openai"
        ),
    }
    took = {name: min(timeit.repeat(ask, number=500, repeat=20)) / 500 for name, ask in asked.items()}
    print()
    for name, seconds in took.items():
        print(f"{name:14} {seconds * 1e6:8.2f} us {seconds / took['ratekeeper']:6.0f} x")


def main() -> None:
    """Compares with both."""
    numbers = [int(text) for text in sys.argv[1:] if text.isdecimal()]
    pairs, seed = [*numbers, *(3000, 1)[len(numbers) :]][:2]
    agreed = compare("genai-prices", with_genai, pairs, seed)[:300]
    agreed += compare("LiteLLM", with_litellm, pairs, seed)[:200]
    if "--write" in sys.argv:
        SAMPLE.write_text("[\n" + ",\n".join(map(json.dumps, agreed)) + "\n]\n", encoding="utf-8")
    if "--times" in sys.argv:
        times()


if __name__ == "__main__":
    main()
