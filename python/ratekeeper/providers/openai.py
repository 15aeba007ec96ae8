"""OpenAI: chat completions and responses.

Owns what counts against OpenAI's limits. Source: platform.openai.com/docs/guides/rate-limits.
"""

from __future__ import annotations

from typing import ClassVar

from .base import DAY, MINUTE, SECOND, Amounts, Periods, Provider, Request, Sizes
from .usage import Usage


class OpenAI(Provider):
    """Counts the larger of max_tokens and a quarter of the characters, at arrival, and keeps it.

    "Your rate limit is calculated as the maximum of max_tokens and the estimated number of tokens based on
    the character count of your request": so the total is not prompt + max_tokens, and real usage below it
    gives nothing back. Cached tokens count.
    """

    name = "openai"
    default_hosts = ("api.openai.com", "eu.api.openai.com", "us.api.openai.com")
    #: The headers do not name the period: small accounts are held by the day, gateways also by the second.
    periods: ClassVar[Periods] = {"requests": (SECOND, MINUTE, DAY), "tokens": (SECOND, MINUTE, DAY)}

    def reserve(self, request: Request, sizes: Sizes) -> Amounts:
        """The provider's own rule where max_tokens is given; else input and learned output, to be safe."""
        ceiling = request.output_ceiling
        if ceiling is None:
            tokens = max(sizes.prompt_quarter, sizes.input_tokens + sizes.output_tokens)
        else:
            tokens = self.held(ceiling, sizes)
        return Amounts(1, sizes.input_tokens, sizes.output_tokens, tokens)

    def settle(self, request: Request, sizes: Sizes, usage: Usage) -> Amounts:
        """Never less than the provider holds; what we took for our own safety beyond that is given back."""
        ceiling = request.output_ceiling
        if ceiling is None:
            tokens = max(self.held(0, sizes), usage.input_tokens + usage.output_tokens)
        else:
            tokens = self.held(ceiling, sizes)
        return Amounts(1, usage.input_tokens, usage.output_tokens, tokens)

    def held(self, ceiling: int, sizes: Sizes) -> int:
        """The tokens that the provider's counter takes at arrival and keeps."""
        return max(ceiling, sizes.prompt_quarter)
