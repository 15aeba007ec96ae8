"""Providers whose whole difference from the default fits in a few lines.

Owns the small ones: Gemini, Groq, Mistral, DeepSeek, OpenRouter. Each becomes a module of its own when it grows.
"""

from __future__ import annotations

from typing import ClassVar

from .base import DAY, MINUTE, Amounts, Periods, Provider, Request, Sizes
from .usage import Usage


class Gemini(Provider):
    """Counts input tokens only, per project (ai.google.dev/gemini-api/docs/rate-limits)."""

    name = "gemini"
    default_hosts = ("generativelanguage.googleapis.com",)

    def reserve(self, request: Request, sizes: Sizes) -> Amounts:
        """TPM takes the input alone."""
        del request
        return Amounts(1, sizes.input_tokens, sizes.output_tokens, sizes.input_tokens)

    def settle(self, request: Request, sizes: Sizes, usage: Usage) -> Amounts:
        """The input as counted by the provider."""
        del request, sizes
        return Amounts(1, usage.input_tokens, usage.output_tokens, usage.input_tokens)


class Groq(Provider):
    """Cached tokens do not count (console.groq.com/docs/rate-limits).

    The headers tell the requests per day and the tokens per minute; the other two limits have none.
    """

    name = "groq"
    default_hosts = ("api.groq.com",)
    periods: ClassVar[Periods] = {"requests": (DAY,), "tokens": (MINUTE,)}

    def counted_input(self, usage: Usage) -> int:
        """Input without cache reads."""
        return max(usage.input_tokens - usage.cache_read_tokens, 0)


class Mistral(Provider):
    """Input and output count together, per organisation (docs.mistral.ai)."""

    name = "mistral"
    default_hosts = ("api.mistral.ai",)


class DeepSeek(Provider):
    """Limits concurrency per account and model, not tokens: give it a quota with `concurrency`."""

    name = "deepseek"
    default_hosts = ("api.deepseek.com",)


class OpenRouter(Provider):
    """Free models have requests per minute and per UTC day; only errors have headers, without a dimension."""

    name = "openrouter"
    default_hosts = ("openrouter.ai",)
    periods: ClassVar[Periods] = {"requests": (MINUTE, DAY)}
    windows = True
