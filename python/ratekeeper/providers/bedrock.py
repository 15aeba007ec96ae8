"""Amazon Bedrock's runtime: Converse and InvokeModel.

Owns what counts against a model's tokens per minute. Source: docs.aws.amazon.com/bedrock, "How tokens are counted".
"""

from __future__ import annotations

from typing import NamedTuple

from .base import Amounts, Provider, Request, Sizes
from .usage import Usage


class _Family(NamedTuple):
    """Models that count alike, by parts of their names: what an output token counts, and their own maximum."""

    names: tuple[str, ...]
    burndown: int
    maximum: int


#: The first that fits. 5 is documented (Claude 3.7 to 4.7); 10 and 15 are what third parties quote. The models' own
#: maxima are told as 64k to 128k: the least is taken, since too large a one would never fit a small quota.
_FAMILIES = (
    _Family(("claude-opus-4-8", "claude-sonnet-4-8", "claude-haiku-4-8"), 15, 64_000),
    _Family(("claude-opus-5", "claude-sonnet-5", "gpt-5.6", "gpt-5-6"), 10, 64_000),
    _Family(("claude-3-7", "claude-opus-4", "claude-sonnet-4", "claude-haiku-4"), 5, 64_000),
)
_OTHERS = _Family((), 1, 4_096)


class Bedrock(Provider):
    """Holds input and max_tokens from the start; then input without cache reads, and output several times.

    The quota is a model's, in one account and region: give `account_of` the access key id and the endpoint, whose
    host names the region. Cross-region profiles ("us.", "eu.", "global.") have quotas of their own, so a model is
    what the request calls it. There are no limit headers. A request that names no max_tokens holds the model's own
    maximum, as large as many a quota: name one.
    """

    name = "bedrock"

    def reserve(self, request: Request, sizes: Sizes) -> Amounts:
        """Input, cache reads included since sources differ on them, and max_tokens or the model's own maximum."""
        ceiling = request.output_ceiling
        most = _family(request.model).maximum if ceiling is None else ceiling
        held = max(sizes.input_tokens, sizes.prompt_quarter) + most
        return Amounts(1, sizes.input_tokens, sizes.output_tokens, held)

    def settle(self, request: Request, sizes: Sizes, usage: Usage) -> Amounts:
        """Input without cache reads, and the output as often as the model's burndown says."""
        del sizes
        counted = self.counted_input(usage)
        tokens = counted + _family(request.model).burndown * usage.output_tokens
        return Amounts(1, counted, usage.output_tokens, tokens)

    def counted_input(self, usage: Usage) -> int:
        """Uncached input and cache writes; cache reads are free once the call has ended."""
        return max(usage.input_tokens - usage.cache_read_tokens, 0)


def _family(model: str) -> _Family:
    return next((family for family in _FAMILIES if any(name in model for name in family.names)), _OTHERS)
