"""The hour, day, week or month that a moment falls into, in a time zone.

Owns the calendar. Days begin at midnight on the wall of their zone, so the day of a change of clocks has 23 or 25 hours.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from ratekeeper import checks

PERIODS = ("hour", "day", "week", "month")


def zone(name: object) -> tzinfo:
    """The time zone of that name.

    Raises:
        ConfigError: There is none.
    """
    if not isinstance(name, str):
        checks.fail("tz", 'the name of a time zone, such as "Europe/Paris"', name)
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown, malformed, or a folder
        checks.fail("tz", 'the name of a time zone, such as "Europe/Paris"', name)


def window(per: str, now: float, tz: tzinfo) -> tuple[float, float]:
    """The first moment of the period that `now` falls into, and that of the next one, in seconds since the epoch."""
    if per == "hour":
        # Whole hours since the epoch: an hour that the wall shows twice is two.
        start = now // 3600 * 3600
        return start, start + 3600
    midnight = datetime.fromtimestamp(now, tz).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if per == "week":
        first = midnight - timedelta(days=midnight.weekday())
        after = first + timedelta(days=7)
    elif per == "month":
        first = midnight.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    else:
        first, after = midnight, midnight + timedelta(days=1)
    return first.timestamp(), after.timestamp()
