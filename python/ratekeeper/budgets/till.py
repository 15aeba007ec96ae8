"""What all calls of a keeper are booked with: prices, ledger and budgets.

Owns how a keeper's arguments become them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ratekeeper import checks
from ratekeeper.costs import CostTracker
from ratekeeper.prices import PriceBook

if TYPE_CHECKING:
    from ratekeeper.status import StorePolicy

    from .budget import Budget


class Till:
    """What all calls of a keeper are booked with.

    Attributes:
        prices: Tells what a call costs.
        costs: The ledger.
        budgets: Those of the keeper.
    """

    __slots__ = ("budgets", "costs", "prices")

    def __init__(self, prices: PriceBook, costs: CostTracker, budgets: tuple[Budget, ...]) -> None:
        self.prices = prices
        self.costs = costs
        self.budgets = budgets


def opened(
    prices: PriceBook | Mapping[str, Any] | str | os.PathLike[str] | None,
    costs: CostTracker | str | None,
    budgets: Budget | Iterable[Budget],
    store: str | None = None,
    store_lost: StorePolicy = "share",
) -> Till:
    """The till of a keeper with these arguments.

    Raises:
        ConfigError: One of them is wrong.
    """
    book = (
        PriceBook() if prices is None else prices if isinstance(prices, PriceBook) else PriceBook.load(prices)
    )
    if isinstance(costs, CostTracker):
        return Till(book, costs, _budgets(budgets, store, store_lost))
    if costs is not None and not isinstance(costs, str):
        checks.fail(
            "costs", "a ratekeeper.CostTracker, or the address of a store such as sqlite:///costs.db", costs
        )
    return Till(book, CostTracker(prices=book, store=costs), _budgets(budgets, store, store_lost))


def _budgets(
    budgets: Budget | Iterable[Budget], store: str | None, store_lost: StorePolicy
) -> tuple[Budget, ...]:
    if isinstance(budgets, tuple) and not budgets:
        return ()
    from .budget import checked  # noqa: PLC0415 (only where there are budgets)

    found = tuple(checked(budgets, "budgets"))
    for place, budget in enumerate(found):
        budget.keep_in(store, store_lost, sum(before.about == budget.about for before in found[:place]))
    return found
