"""Writes src/prices/data.txt, the compiled-in prices: genai-prices' data, and LiteLLM's table where that has gaps.

    python scripts/prices.py 2026-11-21

Needs genai-prices and litellm installed, and ratekeeper's package on the path; the argument is the day on which these
versions were the newest. Prints what it took from where. Both are MIT licensed.
"""

from __future__ import annotations

import collections
import json
import re
import sys
from datetime import datetime, timezone
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any

from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider

from ratekeeper import _price_rows as rows

TARGET = Path(__file__).parents[1] / "src" / "prices" / "data.txt"
#: LiteLLM's names of rates → ours.
RATES = {
    "input_cost_per_token": "i",
    "output_cost_per_token": "o",
    "cache_read_input_token_cost": "r",
    "cache_creation_input_token_cost": "w",
    "cache_creation_input_token_cost_above_1hr": "h",
    "input_cost_per_audio_token": "a",
    "output_cost_per_audio_token": "b",
    "cache_read_input_audio_token_cost": "c",
    "output_cost_per_reasoning_token": "t",
}
TIERS = {"": "", "_batches": "batch", "_flex": "flex", "_priority": "priority"}
#: LiteLLM's providers → genai-prices'; any other keeps its name.
HOMES = {
    "text-completion-openai": "openai",
    "azure_text": "azure",
    "azure_ai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "bedrock_mantle": "aws",
    "sagemaker": "aws",
    "gemini": "google",
    "codestral": "mistral",
    "text-completion-codestral": "mistral",
    "xai": "x-ai",
    "cohere_chat": "cohere",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "voyage": "voyageai",
    "moonshot": "moonshotai",
    "github_copilot": "github-copilot",
}
#: What LiteLLM lists that is not paid by the token.
OTHER_MODES = {
    "image_generation",
    "video_generation",
    "image_edit",
    "rerank",
    "ocr",
    "search",
    "audio_speech",
}
STEP = re.compile(r"_above_(\d+)k_tokens")

Segments = dict[str, dict[str, str]]


def segments_of(entry: dict[str, Any]) -> Segments:
    """LiteLLM's rates by service tier and letter."""
    found: Segments = {}
    for ending, tier in TIERS.items():
        for name, letter in RATES.items():
            if (price := entry.get(name + ending)) is not None:
                steps = sorted(
                    (int(match[1]) * 1000, dollars(value))
                    for key, value in entry.items()
                    if (match := STEP.search(key)) and STEP.sub("", key, count=1) == name + ending
                )
                found.setdefault(tier, {})[letter] = rows.rate(letter, dollars(price), steps)
    return found if found.get("") else by_size(entry.get("tiered_pricing") or [])


def by_size(ranges: list[dict[str, Any]]) -> Segments:
    """The rates of entries that list them by the size of the input."""
    ordered = sorted((part for part in ranges if "range" in part), key=lambda part: part["range"][0])
    found = {}
    for name, letter in RATES.items():
        priced = [
            (int(part["range"][0]), dollars(part[name])) for part in ordered if part.get(name) is not None
        ]
        if priced:
            found[letter] = rows.rate(letter, priced[0][1], priced[1:])
    return {"": found} if found else {}


def dollars(per_token: float) -> Decimal:
    """Dollars a million tokens."""
    return Decimal(repr(float(per_token))) * 1_000_000


def home_of(litellm_provider: str) -> str:
    """The provider that an entry belongs to."""
    if litellm_provider.startswith("vertex_ai"):
        return "google"
    return HOMES.get(litellm_provider, litellm_provider)


def name_in(home: str, key: str, entry: dict[str, Any]) -> str:
    """The name of an entry without the provider in front."""
    first, slash, rest = key.partition("/")
    is_provider = first in (home, entry["litellm_provider"], *rows.ALIASES.get(home, ()))
    return (rest if slash and is_provider else key).lower()


class Compiled:
    """What is known so far: genai-prices' models with what LiteLLM adds, and the gaps."""

    def __init__(self) -> None:
        self.providers: dict[str, Provider] = {provider.id: provider for provider in providers}
        self.max_output: dict[int, int] = {}
        self.more: dict[int, list[str]] = collections.defaultdict(list)
        self.gaps: dict[str, dict[str, str]] = collections.defaultdict(dict)
        self.regions: dict[str, str] = {}
        self.told: collections.Counter[str] = collections.Counter()

    def take(self, key: str, entry: dict[str, Any]) -> None:
        """Adds what one of LiteLLM's entries knows beyond genai-prices."""
        segments = segments_of(entry)
        home = home_of(entry["litellm_provider"])
        name = name_in(home, key, entry)
        if entry.get("mode") in OTHER_MODES or not segments or name in self.gaps[home]:
            return
        provider = self.providers.get(home)
        model = provider and provider.find_model(name, all_providers=list(providers))
        if model and not rows.genai_row(model):
            model = None  # It is listed without a price for tokens.
        limit = entry.get("max_output_tokens")
        limit = limit if isinstance(limit, int) and limit > 0 else None
        if model:
            self.told["known to both"] += 1
            if home == "aws" and "/" in name and not same_price(model, segments):
                # A region with prices of its own, before the patterns of all regions.
                self.regions[name] = rows.row(name, [name], limit, "l", text_of(segments))
                return
            self.max_output[id(model)] = max(self.max_output.get(id(model), 0), limit or 0)
            self.add(model, segments, key)
        elif self.is_priced(segments[""], entry):
            self.told["LiteLLM's alone"] += 1
            self.gaps[home][name] = rows.row(name, [name], limit, "l", text_of(segments))

    def is_priced(self, rates: dict[str, str], entry: dict[str, Any]) -> bool:
        """Whether an entry says what a token costs: LiteLLM writes 0 where it does not know or a plan pays."""
        has_output = "o" in rates or entry.get("mode") in ("embedding", "audio_transcription")
        return "i" in rates and has_output and rates["i"] != "i0"

    def add(self, model: ModelInfo, segments: Segments, key: str) -> None:
        """Rates that genai-prices has not, where both agree on today's price of input and output."""
        if id(model) in self.more and key.rpartition("/")[2] != model.id:
            return
        start, today = current(model)
        known = {text[0]: text for text in rows.genai_rates(today)}
        theirs = segments[""]
        if not same_price(model, segments):
            self.told["both, at different prices"] += 1
            return
        tiers = {text.partition("|")[0].partition("@")[0] for text in rows.genai_segments(model)}
        added = [(tier, rates) for tier, rates in segments.items() if tier and tier not in tiers]
        missing = {letter: text for letter, text in theirs.items() if letter not in known}
        self.more[id(model)] = [f"{tier}{start}|{' '.join(rates.values())}" for tier, rates in added]
        if missing:
            # For every tier: a segment without a tier of its own replaces single rates too.
            self.more[id(model)].append(f"+{start}|{' '.join(missing.values())}")
        self.told["rates added to genai-prices' models"] += len(missing) + len(added)

    def write(self) -> str:
        """The table."""
        day = sys.argv[1]
        versions = {name: metadata.version(name) for name in ("genai-prices", "litellm")}
        names = [f"{name} {version}" for name, version in versions.items()]
        text = rows.head([("g", names[0], day), ("l", names[1], day), ("b", " and ".join(names), day)])
        for home in dict.fromkeys([*self.providers, *sorted(self.gaps)]):
            provider = self.providers.get(home)
            text += (
                rows.genai_block(provider) if provider else rows.block(home, [home.replace("_", "-")], [], [])
            )
            text += "".join(self.regions.values()) if home == "aws" else ""
            for model in provider.models if provider else ():
                more = self.more.get(id(model), [])
                text += rows.genai_row(model, self.max_output.get(id(model)), "b" if more else "g", more)
            text += "".join(self.gaps[home].values())
        return text


def text_of(segments: Segments) -> str:
    """The segments of a row."""
    return ";".join(f"{tier}|{' '.join(rates.values())}" for tier, rates in segments.items())


def same_price(model: ModelInfo, segments: Segments) -> bool:
    """Whether both have the same price of input and output today."""
    known = {text[0]: text for text in rows.genai_rates(current(model)[1])}
    return all(known.get(letter) == segments[""].get(letter) for letter in "io")


def current(model: ModelInfo) -> tuple[str, Any]:
    """Since when today's price holds, as a condition, and the price."""
    now = datetime.now(timezone.utc)
    today = model.get_prices(now)
    listed = model.prices if isinstance(model.prices, list) else []
    [start] = [p.constraint for p in listed if p.prices is today and hasattr(p.constraint, "start_date")] or [
        None
    ]
    return (f"@{start.start_date:%Y%m%d}" if start else ""), today


def main() -> None:
    """Writes the table and says what is in it."""
    # Found without being imported, which takes seconds.
    folder = Path(str(metadata.distribution("litellm").locate_file("litellm")))
    table = json.loads((folder / "model_prices_and_context_window_backup.json").read_text("utf-8"))
    compiled = Compiled()
    for key, entry in table.items():
        if key != "sample_spec" and "litellm_provider" in entry:
            compiled.take(key, entry)
    text = compiled.write()
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    print(f"{len(text):,} bytes, {sum(line[0] not in '#[' for line in text.splitlines()):,} models")
    for name, count in compiled.told.items():
        print(f"{count:6,} {name}")


if __name__ == "__main__":
    main()
