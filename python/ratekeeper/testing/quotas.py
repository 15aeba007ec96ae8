"""The fake provider's quotas: the meters of one key and model.

Owns which meters there are and that a call is charged to all of them or none. It is the independent witness of
what ratekeeper claims, so it may not use ratekeeper's native core. No clock and no I/O: the caller brings
``now`` in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ratekeeper.testing.limits import Algorithm, Limits
from ratekeeper.testing.meters import Meter, make_meter

Amounts = Mapping[str, float]
"""What a call counts: ``requests``, ``tokens``, ``input``, ``output``."""


class Measure(NamedTuple):
    """What a meter measures.

    Attributes:
        field: The limit's field in ``Limits``.
        counts: What it counts of a call.
        windows: Over so many windows.
    """

    field: str
    counts: str
    windows: int = 1


MEASURES = {
    "requests": Measure("rpm", "requests"),
    "tokens": Measure("tpm", "tokens"),
    "input": Measure("itpm", "input"),
    "output": Measure("otpm", "output"),
    "project-tokens": Measure("project_tpm", "tokens"),
    "daily-requests": Measure("rpd", "requests", windows=24 * 60),
}
"""By dimension, which is a meter's name in its account."""


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
        for dimension, measure in MEASURES.items():
            limit = getattr(limits, measure.field)
            if limit is None:
                self.meters.pop(dimension, None)
                continue
            slices = limits.request_slices if dimension == "requests" else 1
            if meter := self.meters.get(dimension):
                meter.resize(limit / slices, now)
            else:
                window = limits.window * measure.windows / slices
                burst = limits.burst if measure.windows == 1 else 1.0
                self.meters[dimension] = make_meter(self.algorithm, limit / slices, window, burst, now)

    def admit(self, amounts: Amounts, now: float) -> Refusal | None:
        """Charge every dimension and return None, or charge none and say why."""
        refusal = self._crowded() or self._first_refusal(amounts, now)
        if refusal is None:
            for _, meter, amount in self._asked(amounts):
                meter.charge(amount, now)
        elif self.limits.charge_refusals:
            self._charge_refusal(now)
        return refusal

    def charge(self, amounts: Amounts, now: float) -> None:
        """Charge what a running call turned out to use; negative amounts give back."""
        for _, meter, amount in self._asked(amounts):
            if amount:
                meter.charge(amount, now)

    def take(self, amounts: Amounts, now: float) -> None:
        """Charge what somebody else used: of each dimension what is left at most, since they are refused too."""
        for _, meter, amount in self._asked(amounts):
            if (room := min(amount, meter.remaining(now))) > 0:
                meter.charge(room, now)

    def _asked(self, amounts: Amounts) -> Iterator[tuple[str, Meter, float]]:
        for dimension, meter in self.meters.items():
            yield dimension, meter, amounts.get(MEASURES[dimension].counts, 0)

    def _charge_refusal(self, now: float) -> None:
        for _, meter, requests in self._asked({"requests": 1}):
            if requests and meter.remaining(now) > -meter.limit:
                meter.charge(requests, now)

    def _crowded(self) -> Refusal | None:
        most = self.limits.concurrency
        if most is None or self.in_flight < most:
            return None
        return Refusal("concurrency", most, self.in_flight, 1, None)

    def _first_refusal(self, amounts: Amounts, now: float) -> Refusal | None:
        longest: Refusal | None = None
        for dimension, meter, asked in self._asked(amounts):
            amount = max(
                asked, 1
            )  # output counts as it is produced: nothing at the start, but some must be left
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
