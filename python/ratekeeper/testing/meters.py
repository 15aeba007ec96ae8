"""The fake provider's meters, each of one dimension: token bucket, fixed window, sliding window.

Owns their arithmetic. It is the independent witness of what ratekeeper claims, so it may not use ratekeeper's
native core. No clock and no I/O: the caller brings ``now`` in seconds.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from ratekeeper.testing.limits import Algorithm


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
