"""The ledger as an application has it: attempts go in, sums and entries come out.

Owns the pricing of what is recorded by hand, and the subscriptions. The book itself is the core's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

from ratekeeper import forks
from ratekeeper._core import Entry, Ledger
from ratekeeper.checks import fail, text
from ratekeeper.prices import default
from ratekeeper.providers import Usage
from ratekeeper.tags import current

from .questions import Questions, chosen
from .times import When, micros_of, time_of

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from ratekeeper._core import ManualClock

    from .rows import Entries
    from .spend import Outcome
    from .stored import StoredCosts

_log = logging.getLogger("ratekeeper")

#: Held while somebody subscribes or leaves.
_changing = forks.lock()


class Priced(Protocol):
    """The money of one usage."""

    @property
    def pico_usd(self) -> int:
        """In 1e-12 USD."""

    @property
    def price(self) -> Any:
        """By which price; its `id` goes into the entry."""


class Prices(Protocol):
    """What a tracker asks for prices: a `PriceBook`, or anything that answers the same."""

    def cost(
        self, usage: Usage, model: str, provider: str = "", *, at: datetime | None = None
    ) -> Priced | None:
        """What it cost; None if no price is known."""


class StoreStatus(TypedDict):
    """The file behind a tracker, as this process knows it."""

    path: str
    written: int  # entries of this process that are in it
    waiting: int  # entries that wait for it
    lost: int  # entries that found no room to wait
    trouble: str | None  # why the last write failed


class CostStatus(TypedDict):
    """What `CostTracker.status` gives."""

    booked: int  # entries in all
    entries: int  # of which are kept one by one
    cells: int  # sums in memory
    folded: dict[str, int]  # column → how many combinations lost its text
    folded_times: int  # sums that lost their quarter of an hour
    store: StoreStatus | None


class CostTracker(Ledger, Questions):
    """The book of what every attempt used and cost. Thread-safe.

    Single entries are kept in a ring, the newest `entries` of them; totals of everything, by tags and time, stay exact for as
    long as there are fewer than `cells` combinations of tags and quarters of an hour. Beyond that, old ones are folded
    together, and an answer that this concerns says so (`Spend.folded`).

    ::

        costs = rk.CostTracker()
        costs.record(response, model="gpt-4o-mini", provider="openai", tags={"job": "42", "agent": "writer"})
        print(costs.total(job="42").usd)
        print(costs.table(by="agent"))

    Args:
        prices: Where `record` looks up what a usage cost; the compiled-in prices if None.
        entries: How many single entries are kept.
        cells: How many sums are kept.
        store: A file that every entry is written to as well: ``"sqlite:///relative.db"``, ``"sqlite:////absolute.db"``
            or a Path. Several processes may write one file. What cannot be written waits in memory; the log says so.
        flush: Seconds that an entry waits for others to be written with it: so much may be lost when the process is
            killed. 0 waits until it is on the disk, for some milliseconds, before `book` and `record` return.
        clock: A ManualClock in tests; its origin is then 1970.

    Raises:
        ConfigError: A number is out of range.
        StoreError: The file cannot be written, is damaged, belongs to something else, or was written by a newer ratekeeper.
    """

    _prices: Prices
    _path: Path | None
    _listeners: tuple[Subscription, ...]

    def __new__(  # noqa: D102 (the class says it)
        cls,
        *,
        prices: Prices | None = None,
        entries: int = 10_000,
        cells: int = 20_000,
        store: str | os.PathLike[str] | None = None,
        flush: float | timedelta = 0.1,
        clock: ManualClock | None = None,
    ) -> Self:
        if prices is not None and not callable(getattr(prices, "cost", None)):
            fail("prices", "a PriceBook, or an object with its method cost()", prices)
        path = None if store is None else _path_of(store)
        self = super().__new__(cls, entries=entries, cells=cells, path=path, flush=flush, clock=clock)
        self._prices = default() if prices is None else prices
        self._path = path
        self._listeners = ()
        return self

    def __init__(self, **_: Any) -> None:
        """All is done in `__new__`, as the native base wants it."""

    def record(
        self,
        usage: object,
        *,
        model: str,
        provider: str = "",
        tags: Mapping[str, str] | None = None,
        scope: str = "",
        waited: float = 0.0,
        duration: float = 0.0,
        outcome: Outcome = "answered",
        attempt: int = 1,
        estimated: bool = False,
        at: datetime | float | None = None,
    ) -> Entry:
        """Books one attempt, and looks up what it cost.

        Args:
            usage: A `Usage`, a response or its usage (of OpenAI, Anthropic, Gemini, Bedrock, as SDK object or dict), or None if
                nobody told: then the entry is marked (`Spend.unmetered`).
            model: The model, or the Azure deployment.
            provider: Who was called; helps to find the price, and is the scope if none is given.
            tags: Whose call; those of `rk.tags` if None.
            scope: Whose quota.
            waited: Seconds in the queue.
            duration: Seconds from start to end.
            outcome: ``"answered"``, ``"failed"``, ``"refused"`` or ``"abandoned"``.
            attempt: Which try of its call.
            estimated: The usage is an estimate.
            at: When, as an aware datetime or seconds since 1970; now if None.

        Raises:
            ConfigError: A number is negative or absurd, a usage cannot be read, or the model is missing.
            TypeError: A value is of the wrong type.
        """
        text(model, "model")
        counted = _usage(usage, model)
        cost = None if counted is None else self._cost(counted, model, provider, at)
        price = "" if cost is None else str(cost.price.id)
        return self.book(
            counted,
            None if cost is None else cost.pico_usd,
            price=price,
            scope=scope or provider,
            model=model,
            tags=current() if tags is None else tags,
            waited=waited,
            duration=duration,
            outcome=outcome,
            attempt=attempt,
            estimated=estimated,
            at=at,
        )

    def entries(
        self, *, since: When = None, until: When = None, model: str | None = None, **tags: str
    ) -> Entries:
        """The single attempts that are still in the ring, in the order of their booking.

        Args:
            since: As in `total`.
            until: As in `total`.
            model: As in `total`.
            **tags: As in `total`.
        """
        now = self._now()
        limits = micros_of(since, "since", now), micros_of(until, "until", now)
        from .rows import Entries  # noqa: PLC0415 (only where somebody asks)

        return Entries(self._entries(*limits, chosen(model, tags)))

    @property
    def stored(self) -> StoredCosts:
        """All that is in the store, of other processes and earlier days as well; what was booked before is written first.

        Raises:
            ConfigError: There is no store.
        """
        if self._path is None:
            fail("store", "a tracker with a store", None)
        from .stored import StoredCosts  # noqa: PLC0415

        self.flush()
        return StoredCosts(self._path)

    def status(self) -> CostStatus:
        """How full the memory is, and how the store is; JSON-able."""
        status: CostStatus = cast("CostStatus", self._size())
        health = self._health()
        if health is not None:
            health["path"] = os.fspath(health["path"])
        status["store"] = cast("StoreStatus | None", health)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subscribe(self, function: Callable[[Entry], object]) -> Subscription:
        """Tells a function of every entry from now on, on the thread that books it; it should only count or enqueue.

        One that raises is logged once, with its traceback, and booking goes on.

        Returns:
            What ends it: by `close`, by being called, or as a context manager.
        """
        if not callable(function):
            fail("function", "a function of one entry", function)
        subscription = Subscription(self, function)
        self._change(lambda known: (*known, subscription))
        return subscription

    def _change(self, change: Callable[[tuple[Subscription, ...]], tuple[Subscription, ...]]) -> None:
        with _changing:
            self._listeners = change(self._listeners)
            self._tell_of_entries(bool(self._listeners))

    def _tell(self, entry: Entry) -> None:  # type: ignore[override]
        for subscription in self._listeners:
            subscription.tell(entry)

    def _tell_unpriced(self, entry: Entry) -> None:  # type: ignore[override]
        _log.info(
            "no price is known for the model %s: its tokens are counted as unpriced, not as 0 USD; "
            "give the tracker prices that have it",
            entry.model or "without a name",
        )

    def _cost(self, usage: Usage, model: str, provider: str, at: datetime | float | None) -> Priced | None:
        moment = micros_of(at, "at", 0.0)
        return self._prices.cost(usage, model, provider, at=None if moment is None else time_of(moment))


class Subscription:
    """Somebody who is told of every entry, until it is closed."""

    def __init__(self, tracker: CostTracker, function: Callable[[Entry], object]) -> None:
        self._tracker = tracker
        self._function = function
        self._complained = False

    def close(self) -> None:
        """Ends it; a second time does nothing."""
        self._tracker._change(lambda known: tuple(other for other in known if other is not self))

    def tell(self, entry: Entry) -> None:
        """Tells of one entry; what the function raises goes to the log, once."""
        try:
            self._function(entry)
        except Exception:  # noqa: BLE001 (whatever a listener does, the call goes on)
            if not self._complained:
                self._complained = True
                _log.exception(
                    "the subscriber %r raised; booking goes on, and it is not reported again", self._function
                )

    def __call__(self) -> None:
        """As `close`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _path_of(store: object) -> Path:
    from .stored import path_of  # noqa: PLC0415 (only where there is a store)

    return path_of(store, "store")


def _usage(usage: object, model: str) -> Usage | None:
    if usage is None or isinstance(usage, Usage):
        return usage
    from ratekeeper._usage_forms import usage_in  # noqa: PLC0415 (only where something is booked by hand)

    try:
        return usage_in(usage, model)
    except TypeError:
        fail("usage", "a Usage, a provider's response or its usage", usage)
