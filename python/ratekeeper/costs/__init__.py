"""What every call cost, and by whom: the tracker, sums, and what was stored.

Public names only. Each is loaded at its first use: a keeper needs the tracker, and few programs ask it anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ratekeeper._core import Entry as Entry

    from .rows import Breakdown as Breakdown
    from .rows import Entries as Entries
    from .rows import Row as Row
    from .spend import Spend as Spend
    from .stored import StoredCosts as StoredCosts
    from .tracker import CostTracker as CostTracker
    from .tracker import Priced as Priced
    from .tracker import Prices as Prices
    from .tracker import Subscription as Subscription

#: Public name → the module that has it.
_HOMES = {
    "Breakdown": "rows",
    "CostTracker": "tracker",
    "Entries": "rows",
    "Priced": "tracker",
    "Prices": "tracker",
    "Row": "rows",
    "Spend": "spend",
    "StoredCosts": "stored",
    "Subscription": "tracker",
}

__all__ = [*_HOMES, "Entry"]  # noqa: PLE0604 (all of them are texts)


def __getattr__(name: str) -> object:
    if name == "Entry":
        from ratekeeper._core import Entry  # noqa: PLC0415

        return Entry
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value
