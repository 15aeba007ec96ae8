"""Times as people give them, and as the ledger keeps them: microseconds since 1970, UTC.

Owns the reading of `since` and `until`. Reads no clock.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TypeAlias

from ratekeeper.checks import fail

#: A moment: aware or local datetime, seconds since 1970, ISO text; or so long ago: a timedelta, or "24h".
When: TypeAlias = "datetime | timedelta | float | str | None"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_EXPECTED = 'a datetime, a timedelta, seconds since 1970, or a text such as "24h", "7d" or "2026-11-21T18:00"'
#: The years 1 to 9999.
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0


def micros_of(when: When, field: str, now: float) -> int | None:
    """A moment in microseconds since 1970, or None where there is none.

    Args:
        when: The moment.
        field: Whose value it is, for the error.
        now: Seconds since 1970.

    Raises:
        ConfigError: It cannot be read.
    """
    if when is None:
        return None
    if isinstance(when, str):
        return _read(when, field, now)
    if isinstance(when, timedelta):
        return _micros(now - when.total_seconds(), field, when)
    if isinstance(when, datetime):
        return (when.astimezone(timezone.utc) - _EPOCH) // timedelta(microseconds=1)
    if isinstance(when, bool) or not isinstance(when, int | float):
        fail(field, _EXPECTED, when)
    return _micros(when, field, when)


def time_of(micros: int) -> datetime:
    """Microseconds since 1970 as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


def _read(text: str, field: str, now: float) -> int:
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return _micros(now - float(ago[1]) * _UNITS[ago[2]], field, text)
    try:
        # Python 3.10 reads no "Z".
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        fail(field, _EXPECTED, text)
    return (moment.astimezone(timezone.utc) - _EPOCH) // timedelta(microseconds=1)


def _micros(seconds: float, field: str, shown: object) -> int:
    if not _FIRST <= seconds <= _LAST:
        fail(field, _EXPECTED, shown)
    return round(seconds * 1e6)
