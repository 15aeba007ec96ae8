"""What a failed call means: whether to try again, when, and what becomes of its reservation.

Owns the judgement. May not import an SDK, wait, or count attempts: policies and retry budgets are the caller's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

from . import resets
from .base import DAY, MINUTE, SECOND
from .dimensions import quota_in
from .evidence import Evidence, gather
from .limits import LearnedLimit, read_limits
from .rules import Kind, Period, is_google, kind_by_code, kind_by_name, kind_by_status, kind_by_text

#: unsent: nothing left the machine. rejected: refused before the model ran. unknown: the model may have run.
Reached = Literal["unsent", "rejected", "unknown"]

#: Seconds. A wait longer than this is not worth holding a call for, unless the caller says how long it would
#: (`Failure.retryable_within`).
LONGEST_WAIT = 3600.0

#: Kinds that pass: the same request can succeed later.
_PASSING = frozenset({"rate_limit", "overload", "server_error", "timeout", "connection"})
#: Kinds that an "x-should-retry: true" cannot make pass.
_FINAL = frozenset({"exhausted", "too_large"})
#: Kinds that are about a quota, which has a dimension.
_OF_QUOTAS = frozenset({"rate_limit", "exhausted", "too_large"})
_PERIODS: dict[float, Period] = {SECOND: "second", MINUTE: "minute", 3600.0: "hour", DAY: "day"}
#: 408 and 424 may follow a model's work. A 429 says that the provider counts more than we do: giving the tokens
#: back would only send the next call into the same wall.
_NOT_REJECTED = frozenset({408, 424, 429})

_RETRY_DELAY = re.compile(r"""["']retryDelay["']: ?["']([0-9.]+s)["']""")
_REGAIN = re.compile(r"\bregain access on ([0-9]{4}-[0-9]{2}-[0-9]{2}) at ([0-9]{2}:[0-9]{2}) UTC")
#: Anthropic's spend limits begin anew with the month.
_MONTHLY = re.compile(r"enforced_spend_limit_reached|reached your specified (?:workspace )?API usage limits")
_OPENROUTER_DAILY = re.compile(r"free-models-per-day|openrouter_free_tier_daily")

_REASONS: dict[Kind, str] = {
    "rate_limit": "rate limit reached",
    "overload": "the provider has no capacity left",
    "server_error": "the provider failed",
    "timeout": "no answer in time",
    "connection": "the connection failed",
    "exhausted": "the quota or the money is used up",
    "too_large": "the request is larger than the model or the limit allows",
    "bad_request": "the provider refused the request for what it is",
    "auth": "the provider refused the credentials",
    "unknown": "not known to be a failure of a provider",
}


class Failure(NamedTuple):
    """What is known of one failed attempt.

    Attributes:
        kind: What failed. "exhausted" is quota that no wait brings back in time: credit, spend limits, billing,
            monthly caps.
        reason: A short sentence for people; nothing of the provider's text, which may hold parts of a key.
        passes: Whether the same request can succeed later.
        status: The HTTP status, or None where there was none; below 400 for an error amid a stream.
        dimension: What ran out, where told: "requests", "tokens", "input_tokens", "output_tokens",
            "concurrency", "images".
        per: The period of the quota that ran out, where told.
        retry_after: Seconds to wait, as the provider told, or until `until`; None where it told nothing that can
            be meant. May be hours.
        until: When a daily or monthly quota comes back, in seconds since the epoch; None where not known.
        reached: How far the call came, which decides what becomes of its reservation.
    """

    kind: Kind
    reason: str
    passes: bool = False
    status: int | None = None
    dimension: str | None = None
    per: Period | None = None
    retry_after: float | None = None
    until: float | None = None
    reached: Reached = "unknown"

    @property
    def is_retryable(self) -> bool:
        """Whether to send the same request again after `retry_after`: it can succeed within an hour."""
        return self.retryable_within(LONGEST_WAIT)

    def retryable_within(self, seconds: float) -> bool:
        """The same for a caller who would wait so many seconds.

        A quota of a day that does not say when it comes back may take that day.
        """
        if not self.passes:
            return False
        if self.retry_after is None:
            return self.per != "day" or seconds >= DAY
        return self.retry_after <= seconds


def classify(error: BaseException, *, now: float | None = None) -> Failure:
    """What went wrong, read from the shape of any SDK's or HTTP client's exception.

    What the exception was raised `from` is read too; what was being handled meanwhile is not, since a fallback
    runs inside the first model's exception.

    Args:
        error: What a call raised.
        now: Seconds since the epoch, for resets that are points in time; None reads the system's clock.
    """
    if not isinstance(error, Exception):  # cancelled, interrupted, closed
        return Failure("unknown", "interrupted")
    evidence = gather(error)
    if evidence.ours:
        return Failure("unknown", "refused by ratekeeper")
    return _judge(evidence, time.time() if now is None else now)


def headers_of(error: BaseException) -> Mapping[str, str]:
    """The headers of the answer that an exception is about; empty if there was none."""
    return gather(error).headers


def _judge(evidence: Evidence, now: float) -> Failure:
    kind = _kind(evidence)
    spent = [limit for limit in read_limits(evidence.headers, now) if limit.remaining == 0]
    dimension, per = _quota(evidence, spent) if kind in _OF_QUOTAS else (None, None)
    passes, until, wait = _passes(kind, evidence), _comes_back(kind, per, evidence.text, now), None
    if passes:
        wait = _told(evidence, spent, now) if until is None else until - now
    status = evidence.status
    reason = _reason(kind, status, dimension, per)
    return Failure(kind, reason, passes, status, dimension, per, wait, until, _reached(evidence))


def _kind(evidence: Evidence) -> Kind:
    """Words before statuses before names: each knows less than the one before."""
    text, status = evidence.text, evidence.status
    if status is None or status < 400:
        status = evidence.spoken if evidence.spoken is not None and evidence.spoken >= 400 else None
    kind = kind_by_text(status, text) if text else None
    if kind is None and status is not None:
        kind = kind_by_status(status)
    return kind or kind_by_code(text) or kind_by_name(evidence.names) or "unknown"


def _passes(kind: Kind, evidence: Evidence) -> bool:
    """The provider's own word first (OpenAI's and Anthropic's SDKs obey it), except that it cannot lift a ceiling."""
    said = evidence.headers.get("x-should-retry", "").strip().lower()
    if said == "true" and kind not in _FINAL:
        return True
    return said != "false" and kind in _PASSING


def _quota(evidence: Evidence, spent: list[LearnedLimit]) -> tuple[str | None, Period | None]:
    """By the text; where it is silent, the one dimension of which the headers say that nothing is left."""
    dimension, per = quota_in(evidence.text)
    if dimension is None and len({limit.dimension for limit in spent}) == 1:
        dimension = spent[0].dimension
    if per is None:
        known = [limit.per for limit in spent if limit.dimension == dimension and limit.per is not None]
        per = _PERIODS.get(known[0]) if known else None
    if _MONTHLY.search(evidence.text):
        per = "month"
    return dimension, per


def _comes_back(kind: Kind, per: Period | None, text: str, now: float) -> float | None:
    """By the provider's calendar. Gemini names seconds even where a day's quota has run out."""
    if kind == "rate_limit" and per == "day" and is_google(text):
        return resets.pacific_midnight(now)
    if kind == "rate_limit" and _OPENROUTER_DAILY.search(text):
        return resets.utc_midnight(now)
    if kind == "exhausted" and _MONTHLY.search(text):
        named = _REGAIN.search(text)
        wait = resets.rfc3339(f"{named[1]}T{named[2]}:00Z", now) if named else None
        return resets.utc_month(now) if wait is None else now + wait
    return None


def _told(evidence: Evidence, spent: list[LearnedLimit], now: float) -> float | None:
    """The wait in headers, body or message; else until what has run out is back in full, which is enough."""
    headers = evidence.headers
    delay = _RETRY_DELAY.search(evidence.text)
    told = (
        resets.milliseconds(headers.get("retry-after-ms", "")),
        resets.retry_after(headers.get("retry-after", ""), now),
        resets.milliseconds(headers.get("x-amz-retry-after", "")),
        resets.duration(delay[1]) if delay else None,
        resets.told_in(evidence.text),
        max((limit.reset for limit in spent if limit.reset is not None), default=None),
    )
    return next((wait for wait in told if wait is not None), None)


def _reached(evidence: Evidence) -> Reached:
    """A 4xx but for a few was refused before the model ran: its tokens are given back.

    Its request is not, since "unsuccessful requests contribute to your per-minute limit" (OpenAI; Anthropic's
    documentation is silent). Without a status, only an exception that says that the connection was never made
    counts as unsent.
    """
    status = evidence.status
    if status is None:
        return "unsent" if evidence.unsent else "unknown"
    return "rejected" if 400 <= status < 500 and status not in _NOT_REJECTED else "unknown"


def _reason(kind: Kind, status: int | None, dimension: str | None, per: Period | None) -> str:
    what = (dimension or "").replace("_", " ") + (f" per {per}" if per else "")
    told = [what.strip()] if what else []
    told += [f"HTTP {status}"] if status is not None else []
    return _REASONS[kind] + (f" ({', '.join(told)})" if told else "")
