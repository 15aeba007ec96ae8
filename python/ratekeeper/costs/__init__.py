"""What every call cost, and by whom: the tracker, sums, and what was stored.

Public names only.
"""

from __future__ import annotations

from ratekeeper._core import Entry

from .rows import Breakdown, Entries, Row
from .spend import Spend
from .stored import StoredCosts
from .tracker import CostTracker, Priced, Prices, Subscription

__all__ = [
    "Breakdown",
    "CostTracker",
    "Entries",
    "Entry",
    "Priced",
    "Prices",
    "Row",
    "Spend",
    "StoredCosts",
    "Subscription",
]
