"""What the headers of an answer or an error say of the limits, in one form for all providers.

Owns the headers' names and the reading of their values. Pure: `now` is passed in. Nothing here raises whatever
the headers hold, and what is unknown, negative or nonsensical is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from .base import DAY, MINUTE, SECOND, Periods
from .resets import reset as read_reset

_OPENAI = re.compile(r"(?:x-)?ratelimit-(limit|remaining|reset)(?:-([a-z-]+))?")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-([a-z-]+)-(limit|remaining|reset)")
_PERIOD_NAMES = {"second": SECOND, "minute": MINUTE, "hour": 3600.0, "day": DAY}
_DIMENSIONS = {
    "": "requests",
    "requests": "requests",
    "req": "requests",
    "tokens": "tokens",
    "project-tokens": "tokens",
    "input-tokens": "input_tokens",
    "output-tokens": "output_tokens",
}
#: No limit is as large; a longer number is a mistake.
_DIGITS = re.compile(r"[0-9]{1,12}")
_LARGEST = 1e12
#: How far limit, remaining and reset may be off the rule of a bucket: they are rounded, and not of one moment.
_BAND = 1.1
#: Seconds that no minute's limit takes to be back.
_HOURS = 7200.0
#: A bucket in debt needs longer than its period to be full, but not longer than twice.
_DEBT = 2.0


class LearnedLimit(NamedTuple):
    """What one answer says of one limit.

    Attributes:
        dimension: "requests", "tokens", "input_tokens" or "output_tokens".
        per: Seconds of the limit's period, or None where neither the provider nor the numbers tell.
        limit: The amount per period, from 1, or None where not told.
        remaining: What is left of it, from 0, or None where not told.
        reset: Seconds until the limit is back in full (a bucket) or its window ends (Azure), or None where not
            told.
        rounded_to: `remaining` is rounded to the nearest multiple of this.
    """

    dimension: str
    per: float | None
    limit: int | None
    remaining: int | None
    reset: float | None = None
    rounded_to: int = 1


def read_limits(
    headers: object, now: float, periods: Periods | None = None, *, windows: bool = False
) -> tuple[LearnedLimit, ...]:
    """The limits in the headers of an answer or an error; empty if they tell none.

    Args:
        headers: A mapping of any kind, or pairs of name and value, as text or bytes.
        now: Seconds since the epoch, for resets that are points in time.
        periods: What the provider documents of its periods.
        windows: Whether it counts in windows, whose resets do not depend on what is used.

    Where two headers speak of one dimension and period (OpenAI's organisation and project tokens) the smaller
    amounts count, since there must be room in both.
    """
    found: dict[tuple[str, float | None], LearnedLimit] = {}
    for (tail, family), fields in _collect(headers).items():
        limit = _learned(tail, family, fields, now, periods or {}, windows=windows)
        if limit is not None:
            key = limit.dimension, limit.per
            found[key] = _smaller(found[key], limit) if key in found else limit
    return tuple(_without_views(list(found.values())))


def pairs(headers: object) -> Iterator[tuple[str, str]]:
    """Names in lower case and values of any headers: httpx's are no dict, litellm prefixes them, ASGI has bytes."""
    items: Any = getattr(headers, "items", None)
    try:
        items = items() if callable(items) else headers
        if not isinstance(items, Iterable) or isinstance(items, str | bytes):
            return
        items = list(items)
    except Exception:  # noqa: BLE001 (whose headers cannot be read tells nothing; the provider's error is what counts)
        return
    for item in items:
        if isinstance(item, tuple | list) and len(item) == 2:
            name, value = item
            if type(name) is not str or type(value) is not str:
                name, value = _text(name), _text(value)
            yield name.lower().removeprefix("llm_provider-"), value


def _collect(headers: object) -> dict[tuple[str, str], dict[str, str]]:
    """The values of limit, remaining and reset by what they are of and whose form they have."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for name, value in pairs(headers):
        place = _place_of(name)
        if place is not None:
            of, field = place
            found.setdefault(of, {})[field] = value
    return found


@lru_cache(maxsize=512)  # the same few dozen names with every answer
def _place_of(name: str) -> tuple[tuple[str, str], str] | None:
    """What a header is of and in whose form, and which field it holds."""
    if match := _OPENAI.fullmatch(name):
        return (match[2] or "", "openai"), match[1]
    if match := _ANTHROPIC.fullmatch(name):
        return (match[1], "anthropic"), match[2]
    return None


def _learned(
    tail: str, family: str, fields: Mapping[str, str], now: float, periods: Periods, *, windows: bool
) -> LearnedLimit | None:
    named, per = _split(tail)
    dimension = _DIMENSIONS.get(named)
    limit, remaining = _count(fields.get("limit")), _count(fields.get("remaining"))
    # A limit of nothing is how some gateways say that there is none, or that they do not know.
    if dimension is None or limit == 0 or (limit is None and remaining is None):
        return None
    if limit is not None and remaining is not None:
        remaining = min(remaining, limit)
    reset = read_reset(fields.get("reset", ""), now)
    if per is None:
        documented = periods.get(dimension)
        per = _period(limit, remaining, reset, documented)
        if documented and per and not windows and _is_doubtful(limit, remaining, reset, per, documented):
            per = None
    thousands = family == "anthropic" and dimension != "requests"
    return LearnedLimit(dimension, per, limit, remaining, reset, 1000 if thousands else 1)


@lru_cache(maxsize=64)
def _split(tail: str) -> tuple[str, float | None]:
    """`tokens-minute` (Mistral) is tokens per minute."""
    for name, seconds in _PERIOD_NAMES.items():
        if tail == name or tail.endswith(f"-{name}"):
            return tail[: -len(name)].rstrip("-"), seconds
    return tail, None


def _period(
    limit: int | None, remaining: int | None, reset: float | None, documented: tuple[float, ...] | None
) -> float | None:
    if documented is None:
        return _guess(limit, remaining, reset)
    if len(documented) == 1:
        return documented[0]
    refill = _refill(limit, remaining, reset)
    if refill == 0:
        return MINUTE if MINUTE in documented else None
    possible = [per for per in documented if reset is None or reset <= per * _DEBT]
    if reset == SECOND:  # or any part of one, where resets are rounded up: no sign of a day
        possible = [per for per in possible if per != DAY]
    if len(possible) <= 1:
        return possible[0] if possible else None
    return None if refill is None else min(possible, key=lambda per: max(per / refill, refill / per))


def _is_doubtful(
    limit: int | None, remaining: int | None, reset: float | None, per: float, documented: tuple[float, ...]
) -> bool:
    """Whether the numbers are not those of a bucket of that period.

    What is back much sooner is of another one; later is no sign, since resets are rounded up. But a minute's window
    that has just begun looks like a day's bucket: a day that is one of several is told by hours, or to the point.
    """
    refill = _refill(limit, remaining, reset)
    if refill is None or reset is None:
        return False
    if per == DAY and len(documented) > 1 and reset <= _HOURS:
        return not DAY / _BAND <= refill <= DAY * _BAND
    return 0 < refill * _DEBT < per


def _guess(limit: int | None, remaining: int | None, reset: float | None) -> float | None:
    """The period where nothing is documented, if it is beyond doubt.

    More than an hour can only be a day. A minute is taken if the numbers are those of a bucket that refills in
    a minute; a fixed window could look like any period, so the others are not guessed.
    """
    if reset is None:
        return None
    if reset > 3600 * _BAND:
        return DAY if reset <= DAY * _BAND else None
    refill = _refill(limit, remaining, reset)
    return MINUTE if refill is not None and MINUTE / _BAND <= refill <= MINUTE * _BAND else None


def _refill(limit: int | None, remaining: int | None, reset: float | None) -> float | None:
    """Seconds in which a bucket would refill from empty to full, if this is one and some of it is used.

    0 if the reset is too short to be shown ("0s"): a millisecond is nothing of a minute, but much of a day.
    """
    if limit is None or remaining is None or reset is None or remaining >= limit:
        return None
    return reset * limit / (limit - remaining)


def _smaller(one: LearnedLimit, other: LearnedLimit) -> LearnedLimit:
    """Room in both."""
    return one._replace(
        limit=_least(one.limit, other.limit),
        remaining=_least(one.remaining, other.remaining),
        reset=max((reset for reset in (one.reset, other.reset) if reset is not None), default=None),
    )


def _least(one: int | None, other: int | None) -> int | None:
    return min((amount for amount in (one, other) if amount is not None), default=None)


def _without_views(limits: list[LearnedLimit]) -> Iterator[LearnedLimit]:
    """Without Anthropic's `tokens` where it only repeats the most restrictive of the input and output limits.

    As a limit of its own it would hold input and output together to the amount of one of them.
    """
    parts = {limit.limit for limit in limits if limit.dimension in ("input_tokens", "output_tokens")}
    for limit in limits:
        if limit.dimension != "tokens" or limit.rounded_to == 1 or limit.limit not in parts:
            yield limit


def _count(text: str | None) -> int | None:
    """A whole number from 0; -1 is Azure's word for unknown."""
    text = (text or "").strip(" \t").removesuffix(".0")
    return int(text) if _DIGITS.fullmatch(text) else None


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("latin-1")
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and abs(value) < _LARGEST else ""
