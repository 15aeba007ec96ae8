"""Money between people, who write USD, and the core, which counts whole pico-USD.

Owns the exact conversion in both directions.
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation

from ratekeeper import checks

#: Pico-USD in one USD.
PICO = 10**12
_MOST_USD = 10_000_000
_EXPECTED = f"USD from 0 to {_MOST_USD:,}, with at most 12 decimals"


def pico_of(value: object, field: str) -> int:
    """Whole pico-USD of an amount in USD; a float is taken as it prints, so 0.1 is a tenth.

    Raises:
        ConfigError: It is no amount, negative, too large, or finer than a pico-USD.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        checks.fail(field, _EXPECTED, value)
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        checks.fail(field, _EXPECTED, value)
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        checks.fail(field, _EXPECTED, value)
    # Whatever precision the program works with.
    pico = Context(prec=60).multiply(amount, Decimal(PICO))
    if pico != int(pico):
        checks.fail(field, _EXPECTED, value)
    return int(pico)


def usd_of(pico: int) -> Decimal:
    """USD of whole pico-USD, exactly, without needless zeros."""
    whole, rest = divmod(pico, PICO)
    digits = f"{rest:012d}".rstrip("0")
    return Decimal(f"{whole}.{digits}" if digits else str(whole))
