"""When a provider says to come back: every form of it, as seconds from now.

Owns the parsing of durations and points in time. Pure: `now` is passed in, in seconds since the epoch. Nothing
here raises, and nothing negative, infinite or longer than `LONGEST` comes out: what cannot be read, or cannot
be meant, is None. A long wait that can be meant (an hour, a day) comes out as it is; how much of it is worth
waiting is the caller's policy.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone

#: Seconds: a month, the longest period any provider counts in. A number beyond it is in a unit we mistook.
LONGEST = 31 * 86_400.0

_DAY = 86_400.0
_EPOCH = date(1970, 1, 1)
#: No number that is meant as a duration is as large; as seconds since the epoch it is the year 2001.
_EPOCH_SECONDS = 1e9
#: As seconds this is the year 5138, as milliseconds 1973.
_EPOCH_MILLISECONDS = 1e11
#: Longer texts are no header that a provider sends.
_LONGEST_HEADER = 64
#: A message may quote a whole prompt; the wait stands among its first sentences.
_LONGEST_MESSAGE = 16_384

_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18}")
_UNITS = {
    "d": _DAY, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9,
}  # fmt: skip
_PART = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?)(ms|us|µs|μs|ns|[dhms])")
_DURATION = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?(?:ms|us|µs|μs|ns|[dhms]))+")

#: What leads the wait in, in the messages of OpenAI, Azure, Gemini, Groq and LiteLLM.
_LEAD = re.compile(
    r"(?:(?:try|available) again|retry(?:ing)?|wait)(?: again)?(?: in| after| for)? ", re.IGNORECASE
)
_WORDS = re.compile(
    r"([0-9]{1,18}(?:\.[0-9]{1,18})?) ?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])(?:,? and |,? )?",
    re.IGNORECASE,
)

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,12})?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))"
)
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def number(text: str) -> float | None:
    """Bare seconds, whole or not: ``20``, ``1.5``. No sign, exponent, NaN or infinity."""
    text = text.strip(" \t")
    return _sane(float(text)) if len(text) <= _LONGEST_HEADER and _NUMBER.fullmatch(text) else None


def milliseconds(text: str) -> float | None:
    """Seconds of a header in milliseconds (retry-after-ms, x-amz-retry-after)."""
    text = text.strip(" \t")
    return _sane(float(text) / 1000) if len(text) <= _LONGEST_HEADER and _NUMBER.fullmatch(text) else None


def duration(text: str) -> float | None:
    """A duration as Go prints it, and protobuf's JSON: ``6m0s``, ``120ms``, ``1h2m3.5s``, ``37s``."""
    text = text.strip(" \t")
    if len(text) > _LONGEST_HEADER or not _DURATION.fullmatch(text):
        return None
    return _sane(sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)))


def retry_after(text: str, now: float) -> float | None:
    """A Retry-After header: seconds, or a date, which is 0 if it is past (RFC 9110, 10.2.3)."""
    told = number(text)
    if told is None:
        told = duration(text)
    return http_date(text, now) if told is None else told


def reset(text: str, now: float) -> float | None:
    """A reset header of any provider; 0 if it is past.

    A Go duration (OpenAI, Groq: until full), bare seconds (Azure: until the window ends), RFC 3339 (Anthropic:
    when all is replenished, so the next token comes much earlier), seconds or milliseconds since the epoch
    (OpenRouter).
    """
    stripped = text.strip(" \t")
    if len(stripped) <= _LONGEST_HEADER and _NUMBER.fullmatch(stripped):
        value = float(stripped)
        if value >= _EPOCH_SECONDS:
            return _until(value / 1000 if value >= _EPOCH_MILLISECONDS else value, now)
        return _sane(value)
    for parsed in (duration(stripped), rfc3339(stripped, now), http_date(stripped, now)):
        if parsed is not None:
            return parsed
    return None


def rfc3339(text: str, now: float) -> float | None:
    """Seconds until ``2026-11-21T09:00:00Z`` or the like."""
    text = text.strip(" \t")
    match = _RFC3339.fullmatch(text) if len(text) <= _LONGEST_HEADER else None
    if match is None:
        return None
    *fields, fraction, sign, hours, minutes = match.groups()
    year, month, day, *clock = map(int, fields)
    then = _epoch(year, month, day, clock)
    if then is None:
        return None
    offset = 0 if sign is None else (int(hours) * 3600 + int(minutes) * 60) * (1 if sign == "+" else -1)
    return _until(then + float(fraction or 0) - offset, now)


def http_date(text: str, now: float) -> float | None:
    """Seconds until ``Sat, 21 Nov 2026 09:00:00 GMT``; the one form that senders may generate (RFC 9110, 5.6.7)."""
    match = _HTTP_DATE.fullmatch(text.strip(" \t")) if len(text) <= _LONGEST_HEADER else None
    if match is None or match[2] not in _MONTHS:
        return None
    day, year, *clock = (int(match[n]) for n in (1, 3, 4, 5, 6))
    then = _epoch(year, _MONTHS.index(match[2]) + 1, day, clock)
    return None if then is None else _until(then, now)


def told_in(message: str) -> float | None:
    """The wait that a message names, the longest if it names several: "Please try again in 6m0s.".

    "retry after 37 seconds" (Azure), "try again in 20s" (OpenAI, Groq), "retry in 37.5s" (Gemini), "try again in
    1 minute 30 seconds".
    """
    message = message[:_LONGEST_MESSAGE]
    waits = [_in_words(message, lead.end()) for lead in _LEAD.finditer(message)]
    return max((wait for wait in waits if wait is not None), default=None)


def pacific_midnight(now: float) -> float:
    """The next midnight in Los Angeles, in seconds since the epoch: when Gemini's daily quotas come back.

    By the rule of summer time in force since 2007, not by the machine's time zones: slim images have none.
    """
    today = datetime.fromtimestamp(now - 8 * 3600, timezone.utc).date()
    ahead = (today + timedelta(days=n) for n in range(3))
    return next(midnight for day in ahead if (midnight := _pacific(day)) > now)


def utc_midnight(now: float) -> float:
    """The next midnight UTC, in seconds since the epoch."""
    return (now // _DAY + 1) * _DAY


def utc_month(now: float) -> float:
    """00:00 UTC on the 1st of the next month, in seconds since the epoch."""
    today = datetime.fromtimestamp(now, timezone.utc)
    return _utc(date(today.year + today.month // 12, today.month % 12 + 1, 1))


def _in_words(message: str, start: int) -> float | None:
    """The sum of the parts that follow one another from `start`, in letters or words; None if there is none."""
    total, part = None, _WORDS.match(message, start)
    while part is not None:
        total = (total or 0.0) + float(part[1]) * _UNITS[_short(part[2].lower())]
        part = _WORDS.match(message, part.end())
    return None if total is None else _sane(total)


def _short(unit: str) -> str:
    """A unit's first letter, except for milliseconds."""
    return "ms" if unit.startswith(("ms", "milli")) else unit[0]


def _pacific(day: date) -> float:
    """A day's first second in Los Angeles. The clocks change at two, after the midnight in question."""
    starts = _sunday(date(day.year, 3, 8))
    ends = _sunday(date(day.year, 11, 1))
    return _utc(day) + 3600.0 * (7 if starts < day <= ends else 8)


def _sunday(day: date) -> date:
    """The first Sunday on or after a day."""
    return day + timedelta(days=6 - day.weekday())


def _epoch(year: int, month: int, day: int, clock: list[int]) -> float | None:
    """None for a day or a time of day (hour, minute, second) that is none; a leap second counts as the next."""
    hour, minute, second = clock
    if hour > 23 or minute > 59 or second > 60:
        return None
    try:
        return _utc(date(year, month, day)) + hour * 3600 + minute * 60 + second
    except ValueError:
        return None


def _utc(day: date) -> float:
    """A day's first second UTC, in seconds since the epoch."""
    return (day - _EPOCH).days * _DAY


def _until(then: float, now: float) -> float | None:
    return _sane(max(then - now, 0.0))


def _sane(seconds: float) -> float | None:
    """NaN fails every comparison, so it is no number here."""
    return seconds if 0 <= seconds <= LONGEST else None
