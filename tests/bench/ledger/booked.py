"""What a call pays for its budgets and its entry: claimed before, booked after.

Owns the workload: two budgets in USD, one inside the other, that nobody reaches.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import ratekeeper as rk
from ratekeeper.budgets.booking import Booking
from ratekeeper.providers import Request, Usage
from ratekeeper.providers.base import Sizes

from ..figures import Figure, at_most
from ..interleave import interleave

_REQUEST = Request("gpt-4o-mini", "You are terse. " * 20, max_tokens=200)
_SIZES = Sizes(80, 150, 75)
_USAGE = Usage(90, 40)
_TAGS = {"tenant": "acme", "job": "42", "agent": "writer"}


class Calls:
    """Calls of one keeper, from their claim to their entry."""

    def __init__(self, *budgets: rk.Budget) -> None:
        self.till = rk.Keeper(budgets=budgets)._till

    def __call__(self, times: int) -> None:
        about = {"provider": "openai", "scope": "openai/3f9a/gpt-4o-mini", "tags": _TAGS}
        for _ in range(times):
            booking = Booking(self.till, _REQUEST, _SIZES, **about)
            booking.claim(None)
            booking.started()
            booking.answered(_USAGE, 0.0)


def figures(rounds: int) -> Iterator[Figure]:
    """Time of a claim and its entry, with and without budgets."""
    budgets = rk.Budget(usd=1_000_000, by="tenant"), rk.Budget(usd=1_000_000, per="day")
    runs = {"without": Calls(), "with": Calls(*budgets)}
    times = interleave(runs, rounds)
    plain, whole = (median(taken) * 1e6 for taken in times.values())
    yield Figure("price and book a call, no budgets", f"{plain:.2f} µs")
    yield at_most("  what budgets two levels deep add: claim and settle", whole - plain, 5.0, "{:.2f} µs")
