"""Prices as lines of text, which the native price book reads: the format, and genai-prices' data written in it.

Owns the format's writing (its reading is native, in src/prices). Used by the script that makes the compiled-in table, by
`PriceBook.from_genai_prices` and by `PriceBook.load`. Imports genai-prices nowhere: it is handed its objects.

A table is a head, blocks and rows, with tabs between the parts of a line and blanks between the items of a part::

    #<tab>g<tab>genai-prices 0.2.3<tab>2026-11-21       what a row's letter of source stands for
    [openai]<tab>aliases<tab>guesses<tab>fallbacks      a provider; models that are its own; whose models it has too
    id<tab>patterns<tab>max output<tab>g<tab>prices     a model; no pattern: its id

In a pattern ``*`` is anything, ``#`` a digit, and ``!`` starts a pattern that must not match. Prices are segments
``tier@condition|rates`` between semicolons: the last one that holds is the price; those with a service tier replace single
rates of it. A condition is a day (``20261012``, in force since) or hours of the day (``0100-0400``), both UTC. A rate is a
letter of `LETTERS` and pico-USD a token (dollars a million tokens, times a million), then ``>tokens=rate`` for each size of
the whole input above which another one holds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

#: Names by which people write a provider, beside its own and those of genai-prices.
ALIASES = {
    "openai": ["openai_responses", "openai-chat", "openai-responses", "text-completion-openai", "chatgpt"],
    "azure": [
        "azure_ai",
        "azure_openai",
        "azure-openai",
        "azure_text",
        "azure.ai.openai",
        "azure.ai.inference",
    ],
    "aws": ["bedrock", "bedrock_converse", "bedrock_mantle", "aws.bedrock", "aws_bedrock", "sagemaker"],
    "google": [
        *("gemini", "vertex", "vertex_ai", "vertex_ai_beta", "vertexai", "google_genai", "google_vertexai"),
        *("google-gla", "google-vertex", "gcp.gemini", "gcp.vertex_ai"),
    ],
    "x-ai": ["xai", "x_ai"],
    "mistral": ["mistralai", "mistral_ai", "codestral"],
    "together": ["together_ai", "togetherai"],
    "fireworks": ["fireworks_ai"],
    "voyageai": ["voyage"],
    "moonshotai": ["moonshot"],
    "cohere": ["cohere_chat"],
    "github-copilot": ["github_copilot"],
}
#: Models without a provider in front that are one's own, beside those that genai-prices guesses.
GUESSES = {"openai": ["text-embedding-3-*", "text-embedding-ada-*", "chatgpt-*", "codex-*", "computer-use-*"]}
#: genai-prices' names of rates → ours.
_RATES = {
    "input_mtok": "i",
    "output_mtok": "o",
    "cache_read_mtok": "r",
    "cache_write_mtok": "w",
    "cache_write_1h_mtok": "h",
    "input_audio_mtok": "a",
    "output_audio_mtok": "b",
    "cache_audio_read_mtok": "c",
    "output_reasoning_mtok": "t",
}
#: The letters of rates → their names for people.
LETTERS = {
    "i": "input",
    "o": "output",
    "r": "cache_read",
    "w": "cache_write",
    "h": "cache_write_1h",
    "a": "input_audio",
    "b": "output_audio",
    "c": "cache_read_audio",
    "t": "reasoning",
    "q": "request",
}
#: Pico-USD in a dollar per million tokens, per token.
PICO = 1_000_000
#: What genai-prices calls the service tiers, in the contexts in which they hold.
_TIERS = {"processing": ("batch",), "service_tier": ("priority", "flex", "fast"), "speed": ("fast",)}
#: Regular expressions of genai-prices that say "no speech", as exclusions.
_NO_SPEECH = r"^(?!.*-[tT][tT][sS](?:$|-))"


def head(sources: Iterable[tuple[str, str, str]]) -> str:
    """The first lines: each letter of source, what it stands for, and the day of it."""
    return "".join(f"#\t{letter}\t{name}\t{day}\n" for letter, name, day in sources)


def block(name: str, aliases: Iterable[str], guesses: Iterable[str], fallbacks: Iterable[str]) -> str:
    """The line that starts a provider."""
    return f"[{name}]\t{' '.join(aliases)}\t{' '.join(guesses)}\t{' '.join(fallbacks)}\n"


def row(name: str, patterns: Iterable[str], max_output: int | None, source: str, prices: str) -> str:
    """The line of a model."""
    patterns = list(dict.fromkeys(patterns))
    is_its_name = patterns == [name.lower()] and not set("*#!") & set(name)
    shown = "" if is_its_name else " ".join(patterns)
    if any(re.search(r"\s", text) for text in (name, *patterns)):
        raise ValueError(f"{name!r}: a blank in a name")
    return f"{name}\t{shown}\t{max_output or ''}\t{source}\t{prices}\n"


def rate(letter: str, dollars: Any, steps: Iterable[tuple[int, Any]] = ()) -> str:
    """One rate, from dollars a million tokens."""
    return f"{letter}{pico(dollars)}" + "".join(f">{start}={pico(price)}" for start, price in steps)


def pico(dollars: Any) -> int:
    """Dollars a million tokens as pico-USD a token."""
    return round(Decimal(str(dollars)) * PICO)


# --- genai-prices -----------------------------------------------------------------------------------------


def genai_block(provider: Any) -> str:
    """The head of one of genai-prices' providers."""
    known = [*ALIASES.get(provider.id, ()), *_patterns_of(provider.provider_match)]
    guesses = [*_patterns_of(provider.model_match), *GUESSES.get(provider.id, ())]
    return block(provider.id, known, guesses, provider.fallback_model_providers or ())


def genai_row(model: Any, max_output: int | None = None, source: str = "g", more: Iterable[str] = ()) -> str:
    """One of genai-prices' models; "" if it has no price for tokens.

    Args:
        model: A `ModelInfo`.
        max_output: The most output tokens an answer can have, if known.
        source: The letter of the source.
        more: Segments from elsewhere.
    """
    segments = list(genai_segments(model))
    if model.id.endswith(":free"):
        segments = segments if segments != ["|"] else ["|i0 o0"]
    if not any(text.partition("|")[2] for text in segments):
        return ""
    return row(model.id, _patterns_of(model.match), max_output, source, ";".join([*segments, *more]))


def genai_segments(model: Any) -> Iterator[str]:
    """The prices of a model, then those of its service tiers."""
    prices = model.prices if isinstance(model.prices, list) else [None]
    for price in prices:
        condition, rates = (None, model.prices) if price is None else (price.constraint, price.prices)
        yield f"{_condition(condition)}|{' '.join(genai_rates(rates))}"
    for variant in model.price_variants or ():
        [(context, word), *others] = variant.when.items()
        rates = " ".join(genai_rates(variant.prices))
        if not others and word in _TIERS.get(context, ()) and rates:
            yield f"{word}{_condition(variant.constraint)}|{rates}"


def genai_rates(prices: Any) -> Iterator[str]:
    """The rates of a `ModelPrice`; models that answer in pictures alone have their price as the output's."""
    told = {name: value for name, value in prices.__dict__.items() if value is not None}
    if "output_mtok" not in told and "output_image_mtok" in told:
        told["output_mtok"] = told["output_image_mtok"]
    for name, letter in _RATES.items():
        if (value := told.get(name)) is not None:
            steps = [(tier.start, tier.price) for tier in getattr(value, "tiers", ())]
            yield rate(letter, getattr(value, "base", value), steps)
    if (requests := told.get("requests_kcount")) is not None:
        yield f"q{round(Decimal(str(requests)) * 1_000_000_000)}"


def _condition(constraint: Any) -> str:
    if constraint is None:
        return ""
    if hasattr(constraint, "start_date"):
        return f"@{constraint.start_date:%Y%m%d}"
    return f"@{constraint.start_time:%H%M}-{constraint.end_time:%H%M}"


def _patterns_of(clause: Any) -> list[str]:
    """A `MatchLogic` as patterns."""
    if clause is None:
        return []
    if (parts := getattr(clause, "or_", None)) is not None:
        return [pattern for part in parts for pattern in _patterns_of(part)]
    if (parts := getattr(clause, "and_", None)) is not None:
        return _all_of(parts)
    for name, form in (("equals", "{}"), ("starts_with", "{}*"), ("ends_with", "*{}"), ("contains", "*{}*")):
        if (text := getattr(clause, name, None)) is not None:
            return [form.format(text.lower())]
    return _globs(clause.regex)


def _all_of(parts: list[Any]) -> list[str]:
    """Only a start together with "no speech", and two words in any order, are known."""
    excluded = [part for part in parts if getattr(part, "regex", None) == _NO_SPEECH]
    wanted = [_patterns_of(part) for part in parts if part not in excluded]
    suffix = "!*-tts!*-tts-*" if excluded else ""
    if len(wanted) == 1:
        return [pattern + suffix for pattern in wanted[0]]
    orders = itertools.permutations([pattern for [pattern] in wanted])
    return ["".join(order).replace("**", "*") + suffix for order in orders]


def _globs(regex: str) -> list[str]:
    """Regular expressions of the kinds that genai-prices has, as patterns; an error for any other."""
    if regex.startswith("^(?![^/]+/)"):
        return [f"{glob}!*/*" for glob in _globs("^" + regex.removeprefix("^(?![^/]+/)"))]
    is_start, is_end = regex.startswith("^"), regex.endswith("$")
    text = re.sub(r"\\d\{(\d+)\}", lambda match: "#" * int(match[1]), regex.strip("^$")).replace(r"\d", "#")
    found = [_unescaped(form) for form in _alternatives(text)]
    return [f"{'' if is_start else '*'}{form}{'' if is_end else '*'}" for form in found]


def _alternatives(text: str) -> list[str]:
    """The texts that groups, options and sets of letters stand for."""
    group = re.search(r"\((?:\?:)?([^()]*)\)(\??)|\[([\w@-]+)\]", text)
    if group is None:
        return [text]
    options = list(group[3]) if group[3] else group[1].split("|")
    options += [""] if group[2] else []
    return [
        form
        for option in options
        for form in _alternatives(text[: group.start()] + option + text[group.end() :])
    ]


def _unescaped(text: str) -> str:
    plain = re.sub(r"\\([.\[\]-])", r"\1", text)
    if re.search(r"[\\()|^$+?{}]", plain):
        raise ValueError(f"genai-prices has a pattern that is not understood: {text!r}")
    return plain.lower()
