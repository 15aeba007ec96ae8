"""The fake provider's quotas: meters of one dimension, and the book of them per key and model.

Owns the arithmetic of token buckets, fixed and sliding windows. It is the independent witness of what
ratekeeper claims, so it may not use ratekeeper's native core. No clock and no I/O: the caller brings ``now``
in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ratekeeper.testing.settings import Algorithm, Limits

Amounts = Mapping[str, float]
"""What a call asks, by dimension: ``requests``, ``tokens``, ``input``, ``output``."""

LIMIT_FIELDS = {"requests": "rpm", "tokens": "tpm", "input": "itpm", "output": "otpm"}


class Meter(Protocol):
    """How much of one dimension is used."""

    limit: float
    window: float

    def remaining(self, now: float) -> float:
        """What is left; negative in debt."""

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` fits; 0 if it does now, infinite if it never will."""

    def charge(self, amount: float, now: float) -> None:
        """Take ``amount``, fitting or not; a negative one gives back."""

    def reset(self, now: float) -> float:
        """Seconds until nothing is used any more."""

    def resize(self, limit: float, now: float) -> None:
        """Set another limit; what was used stays used."""


class TokenBucket:
    """Fills continuously with ``limit / window``, holds ``limit * burst``, starts full."""

    def __init__(self, limit: float, window: float, now: float, burst: float = 1.0) -> None:
        self.limit, self.window, self.burst = limit, window, burst
        self._capacity = limit * burst
        self._level = self._capacity
        self._at = now

    def remaining(self, now: float) -> float:
        """What the bucket holds."""
        if now > self._at:
            self._level = min(self._capacity, self._level + (now - self._at) * self.limit / self.window)
            self._at = now
        return self._level

    def wait(self, amount: float, now: float) -> float:
        """An amount between capacity and limit starts on a full bucket and leaves it in debt."""
        missing = min(amount, self._capacity) - self.remaining(now)
        if amount > self.limit:
            return math.inf
        return missing * self.window / self.limit if missing > 1e-9 else 0.0

    def charge(self, amount: float, now: float) -> None:
        """More than it holds leaves a debt that refilling pays first."""
        self._level = min(self._capacity, self.remaining(now) - amount)

    def reset(self, now: float) -> float:
        """Until the bucket is full."""
        missing = self._capacity - self.remaining(now)
        return missing * self.window / self.limit if self.limit else math.inf

    def resize(self, limit: float, now: float) -> None:
        """A cut takes the level down to the new capacity; a raise leaves it to fill."""
        self._level = min(self.remaining(now), limit * self.burst)
        self.limit, self._capacity = limit, limit * self.burst


class FixedWindow:
    """A count that starts again at 0 with every window, windows standing in a row from the first call on."""

    def __init__(self, limit: float, window: float, now: float) -> None:
        self.limit, self.window = limit, window
        self._start = now
        self._used = 0.0

    def _turn(self, now: float) -> None:
        passed = math.floor((now - self._start) / self.window)
        if passed > 0:
            self._start += passed * self.window
            self._used = 0.0

    def remaining(self, now: float) -> float:
        """What this window has left."""
        self._turn(now)
        return self.limit - self._used

    def wait(self, amount: float, now: float) -> float:
        """Until the next window, if it does not fit into this one."""
        if amount > self.limit:
            return math.inf
        return self.reset(now) if amount > self.remaining(now) else 0.0

    def charge(self, amount: float, now: float) -> None:
        """Add to the window's count."""
        self._turn(now)
        self._used = max(0.0, self._used + amount)

    def reset(self, now: float) -> float:
        """Until the window ends; 0 if nothing was used in it."""
        self._turn(now)
        return self._start + self.window - now if self._used else 0.0

    def resize(self, limit: float, now: float) -> None:
        """The count of the running window stays."""
        self._turn(now)
        self.limit = limit


class SlidingWindow:
    """A log of charges; whatever is older than the window no longer counts."""

    def __init__(self, limit: float, window: float, now: float) -> None:  # noqa: ARG002  (one signature for all)
        self.limit, self.window = limit, window
        self._log: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def _forget(self, now: float) -> None:
        while self._log and self._log[0][0] <= now - self.window:
            self._used -= self._log.popleft()[1]
        if not self._log:
            self._used = 0.0

    def remaining(self, now: float) -> float:
        """What the last window's charges leave."""
        self._forget(now)
        return self.limit - self._used

    def wait(self, amount: float, now: float) -> float:
        """Until enough charges are too old to count."""
        if amount > self.limit:
            return math.inf
        room, ends = self.remaining(now), now
        for at, charged in self._log:
            if amount <= room:
                break
            room += charged
            ends = at + self.window
        return max(0.0, ends - now)

    def charge(self, amount: float, now: float) -> None:
        """Add to the log."""
        self._forget(now)
        self._log.append((now, amount))
        self._used += amount

    def reset(self, now: float) -> float:
        """Until the youngest charge is forgotten."""
        self._forget(now)
        return self._log[-1][0] + self.window - now if self._log else 0.0

    def resize(self, limit: float, now: float) -> None:
        """The log stays."""
        self._forget(now)
        self.limit = limit


def make_meter(algorithm: Algorithm, limit: float, window: float, burst: float, now: float) -> Meter:
    """A full meter of the given algorithm."""
    if algorithm == "token_bucket":
        return TokenBucket(limit, window, now, burst)
    return (FixedWindow if algorithm == "fixed_window" else SlidingWindow)(limit, window, now)


@dataclass(frozen=True)
class Refusal:
    """Why a call may not start.

    Attributes:
        dimension: The dimension without room, or ``concurrency``.
        limit: Its limit.
        used: What is used of it.
        requested: What the call asked.
        retry_after: Seconds until it would fit; None where waiting never helps or nobody can know.
    """

    dimension: str
    limit: float
    used: float
    requested: float
    retry_after: float | None


@dataclass
class Account:
    """The meters of one key and model: all dimensions of a call fit, or none is charged."""

    limits: Limits
    algorithm: Algorithm
    meters: dict[str, Meter] = field(default_factory=dict)
    in_flight: int = 0

    def apply(self, limits: Limits, now: float) -> None:
        """Take other limits over; what was used stays used."""
        self.limits = limits
        for dimension, name in LIMIT_FIELDS.items():
            limit = getattr(limits, name)
            if limit is None:
                self.meters.pop(dimension, None)
                continue
            slices = limits.request_slices if dimension == "requests" else 1
            if meter := self.meters.get(dimension):
                meter.resize(limit / slices, now)
            else:
                window = limits.window / slices
                self.meters[dimension] = make_meter(self.algorithm, limit / slices, window, limits.burst, now)

    def admit(self, amounts: Amounts, now: float) -> Refusal | None:
        """Charge every dimension and return None, or charge none and say why."""
        refusal = self._crowded() or self._first_refusal(amounts, now)
        if refusal is None:
            for dimension, meter in self.meters.items():
                meter.charge(amounts.get(dimension, 0), now)
        elif self.limits.charge_refusals:
            self._charge_refusal(now)
        return refusal

    def charge(self, amounts: Amounts, now: float) -> None:
        """Charge what a running call turned out to use; negative amounts give back."""
        for dimension, amount in amounts.items():
            if amount and (meter := self.meters.get(dimension)):
                meter.charge(amount, now)

    def _charge_refusal(self, now: float) -> None:
        requests = self.meters.get("requests")
        if requests and requests.remaining(now) > -requests.limit:
            requests.charge(1, now)

    def _crowded(self) -> Refusal | None:
        most = self.limits.concurrency
        if most is None or self.in_flight < most:
            return None
        return Refusal("concurrency", most, self.in_flight, 1, None)

    def _first_refusal(self, amounts: Amounts, now: float) -> Refusal | None:
        longest: Refusal | None = None
        for dimension, meter in self.meters.items():
            # A dimension charged as it is produced asks nothing at the start, but some of it must be left.
            amount = max(amounts.get(dimension, 0), 1)
            wait = meter.wait(amount, now)
            if wait <= 0:
                continue
            retry_after = wait if math.isfinite(wait) else None
            found = Refusal(dimension, meter.limit, meter.limit - meter.remaining(now), amount, retry_after)
            if retry_after is None:
                return found
            if longest is None or retry_after > (longest.retry_after or 0):
                longest = found
        return longest
