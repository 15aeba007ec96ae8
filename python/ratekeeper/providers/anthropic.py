"""Anthropic: messages.

Owns what counts against Anthropic's limits. Source: platform.claude.com/docs/en/api/rate-limits.
"""

from __future__ import annotations

from typing import ClassVar

from .base import MINUTE, Periods, Provider
from .usage import Usage

#: Models that share one bucket, by the first of them. Later ones (Opus 5, Sonnet 5) have buckets of their
#: own.
_SHARED = {
    "claude-opus-4-5": ("claude-opus-4-5", "claude-opus-4-6", "claude-opus-4-7", "claude-opus-4-8"),
    "claude-sonnet-4-5": ("claude-sonnet-4-5", "claude-sonnet-4-6"),
}
_GROUPS = {member: group for group, members in _SHARED.items() for member in members}


class Anthropic(Provider):
    """Input tokens count without cache reads and with cache writes; output tokens count as they are produced.

    max_tokens plays no part in the limits: the output reserved is our estimate, for pacing only.
    """

    name = "anthropic"
    default_hosts = ("api.anthropic.com",)
    periods: ClassVar[Periods] = {
        "requests": (MINUTE,),
        "tokens": (MINUTE,),
        "input_tokens": (MINUTE,),
        "output_tokens": (MINUTE,),
    }

    def group(self, model: str) -> str:
        """The shared bucket of Opus 4.5 to 4.8 or of Sonnet 4.5 and 4.6, dated names too; else the model."""
        for member, group in _GROUPS.items():
            if model == member or model.startswith((f"{member}-", f"{member}@")):
                return group
        return model

    def counted_input(self, usage: Usage) -> int:
        """Uncached input and cache writes; cache reads are free."""
        return max(usage.input_tokens - usage.cache_read_tokens, 0)
