"""Money gone, and what it went for.

Owns the sum's fields and how money is written. Adds nothing up by itself: the sums are the core's, exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

#: How an attempt ended.
Outcome: TypeAlias = Literal["answered", "failed", "refused", "abandoned"]


def usd_of(pico_usd: int) -> Decimal:
    """Pico-USD (1e-12 USD) as USD, exactly, whatever the precision of the decimal context."""
    whole, rest = divmod(abs(pico_usd), 10**12)
    cents = f"{rest:012d}".rstrip("0").ljust(2, "0")
    return Decimal(f"{'-' if pico_usd < 0 else ''}{whole}.{cents}")


@dataclass(frozen=True, slots=True)
class Spend:
    """What some attempts come to.

    Attributes:
        calls: Attempts, however they ended.
        failed: Those that ended with an error.
        refused: Those that the provider refused, or that never started.
        abandoned: Those whose caller broke off.
        estimated: Those whose usage is an estimate.
        unmetered: Those that were answered or abandoned, and nobody told what they used.
        unpriced: Those that used tokens without a known price. Their money is not in `usd`.
        unpriced_tokens: The input and output tokens of these.
        input_tokens: All input, cached tokens included.
        output_tokens: All output, reasoning included.
        cache_read_tokens: Input that was read from the provider's cache.
        cache_write_tokens: Input that was written into it.
        reasoning_tokens: Output that was reasoning.
        cache_write_1h_tokens: What was written into the cache for an hour.
        input_audio_tokens: Input that was audio.
        output_audio_tokens: Output that was audio.
        cache_read_audio_tokens: Audio that was read from the cache.
        pico_usd: Money, in 1e-12 USD.
        waited: Seconds in queues, of all attempts together.
        duration: Seconds from start to end, of all attempts together.
        folded: Attempts that may belong here and are in no number above, since the memory is bounded and their tags or times
            were folded together. 0 as a rule; a stored ledger folds nothing.
    """

    calls: int = 0
    failed: int = 0
    refused: int = 0
    abandoned: int = 0
    estimated: int = 0
    unmetered: int = 0
    unpriced: int = 0
    unpriced_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_read_audio_tokens: int = 0
    pico_usd: int = 0
    waited: float = 0.0
    duration: float = 0.0
    folded: int = 0

    @property
    def usd(self) -> Decimal:
        """Money in USD, exact."""
        return usd_of(self.pico_usd)

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Spend) -> Spend:
        """Both together."""
        if not isinstance(other, Spend):
            return NotImplemented
        return Spend(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def __str__(self) -> str:
        """``6 calls, 4,821 tokens, 0.0123 USD, 2.1 s waited``, and what the money is not the whole of."""
        parts = [
            f"{self.calls:,} call{'' if self.calls == 1 else 's'}",
            f"{self.tokens:,} tokens",
            f"{shown_usd(self.pico_usd)} USD",
            f"{self.waited:.1f} s waited",
        ]
        if self.unpriced_tokens:
            parts.append(f"{self.unpriced_tokens:,} tokens unpriced")
        if self.unmetered:
            parts.append(f"{self.unmetered:,} of unknown usage")
        if self.folded:
            parts.append(f"{self.folded:,} folded calls that may belong here")
        return ", ".join(parts)


def shown_usd(pico_usd: int) -> str:
    """USD for people: cents from a dollar on, below that at least two digits that say something.

    Rounded for the eye alone; `usd_of` is exact.
    """
    if pico_usd == 0:
        return "0.00"
    if pico_usd >= 10**12:
        return f"{_rounded(pico_usd, 2):,}"
    for digits in (4, 6, 9):
        if pico_usd >= 10 ** (13 - digits):
            return f"{_rounded(pico_usd, digits):f}"
    return f"{usd_of(pico_usd):f}"


def _rounded(pico_usd: int, digits: int) -> Decimal:
    unit = 10 ** (12 - digits)
    return Decimal(f"{(pico_usd + unit // 2) // unit}E-{digits}")
