"""A budget as its user says it, and the purses that it has: one for each set of tag values that it tells apart.

Owns the checks of what is said, and the texts. May not wait.
"""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from time import monotonic, time
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ratekeeper import checks, forks
from ratekeeper._core import Purse as NativePurse

from .amounts import PICO, pico_of, usd_of
from .context import MONEY, SIZE, TIME
from .windows import PERIODS, window, zone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ratekeeper.status import StorePolicy

_log = logging.getLogger("ratekeeper")

#: Beyond so many sets of tag values, those that were not used for longest begin anew. Only jobs that are over should.
MOST_PURSES = 100_000
#: From so many on, the order of their use is kept.
_CROWDED = MOST_PURSES // 2

#: Held while a purse is made.
_making = forks.lock()


#: Every purse of this process.
_purses: WeakSet[Purse] = WeakSet()


def _forget_the_parents_calls() -> None:
    for purse in _purses:
        purse.forget_reserved()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_the_parents_calls)


@dataclass(frozen=True)
class BudgetEvent:
    """What the hooks of a budget are told.

    Attributes:
        budget: The budget.
        tags: Whose purse it is; empty if the budget tells nobody apart.
        measure: ``"usd"``, ``"tokens"``, ``"calls"`` or ``"seconds"``.
        limit: What it holds; a Decimal for USD.
        spent: What is used of it.
    """

    budget: Budget
    tags: Mapping[str, str]
    measure: str
    limit: Decimal | float
    spent: Decimal | float


class Purse(NativePurse):
    """What one set of tag values has of a budget.

    Attributes:
        budget: The budget.
        tags: The tag values.
        began: When it was first used (monotonic seconds).
        counts: What its budget counts that a call has to work out before: `MONEY`, `SIZE`, `TIME`.
        has_complained: Whether it was said that it is used up.
    """

    __slots__ = ("began", "budget", "counts", "has_complained", "tags")

    budget: Budget
    tags: Mapping[str, str]
    began: float
    counts: int
    has_complained: bool

    @property
    def left(self) -> float | None:
        """Seconds until no call may start any more; None without such a ceiling."""
        most = self.budget.seconds
        return None if most is None else most - (monotonic() - self.began)


class Budget:
    """A ceiling for the calls under some tags: nothing is sent that could break it.

    Args:
        usd: Money, as a str, an int, a Decimal or a float.
        tokens: Input and output tokens together.
        calls: Model calls; further attempts of one are none.
        seconds: From the first call, or from the start of the guarded job, until no call may start any more.
        per: The budget begins anew each ``"hour"``, ``"day"``, ``"week"`` (from Monday) or ``"month"``; None for never.
        tz: The time zone in which days begin, such as ``"Europe/Paris"``.
        by: The tags whose values have a purse of their own each, such as ``"tenant"`` or ``("tenant", "job")``. Without, all
            calls share one. Calls without such a tag share one too.
        tags: Only calls with these tags count.
        warn_at: The share from which `on_warn` is told, once a purse and period.
        on_warn, on_exceed: Given a `BudgetEvent`. Run where the call runs, in the middle of it.
        name: For status and messages.

    Raises:
        ConfigError: A setting is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        usd: str | int | float | Decimal | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        seconds: float | timedelta | None = None,
        per: str | None = None,
        tz: str = "UTC",
        by: str | Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        warn_at: float = 0.8,
        on_warn: Callable[[BudgetEvent], object] | None = None,
        on_exceed: Callable[[BudgetEvent], object] | None = None,
        name: str = "",
    ) -> None:
        self.per = _period(per, seconds)
        self.zone = zone(tz)
        self.seconds = None if seconds is None else checks.seconds(seconds, "seconds")
        self.by = tuple(checks.text(tag, "by") for tag in ((by,) if isinstance(by, str) else by))
        self.tags = dict(checks.table(tags or {}, "tags"))
        if isinstance(warn_at, bool) or not isinstance(warn_at, int | float) or not 0 < warn_at <= 1:
            checks.fail("warn_at", "a share above 0 and up to 1", warn_at)
        for field, hook in (("on_warn", on_warn), ("on_exceed", on_exceed)):
            if hook is not None and not callable(hook):
                checks.fail(field, "a function that takes a BudgetEvent", hook)
        self.warn_at = float(warn_at)
        self.on_warn, self.on_exceed = on_warn, on_exceed
        self.name = name
        self._ceiling = _ceiling(usd, tokens, calls)
        if self.seconds is None and not any(value is not None for value in self._ceiling.values()):
            checks.fail("budget", "at least one of usd, tokens, calls and seconds", None)
        self._store: str | None = None
        self._store_lost: StorePolicy = "share"
        self._about: list[Any] | None = None
        self._purses: OrderedDict[tuple[str, ...], Purse] = OrderedDict()
        self._all: WeakSet[Purse] = WeakSet()

    @property
    def _counts(self) -> int:
        counts = MONEY | SIZE if self._ceiling["pico_usd"] is not None else 0
        counts |= SIZE if self._ceiling["tokens"] is not None else 0
        return counts | (TIME if self.seconds is not None else 0)

    def raise_to(
        self,
        *,
        usd: str | int | float | Decimal | None = None,
        tokens: int | None = None,
        calls: int | None = None,
        seconds: float | timedelta | None = None,
    ) -> None:
        """Sets ceilings anew, up or down, while calls run; what is not given stays.

        Raises:
            ConfigError: A setting is wrong; nothing has changed then.
        """
        new = {name: value for name, value in _ceiling(usd, tokens, calls).items() if value is not None}
        until = self.seconds if seconds is None else checks.seconds(seconds, "seconds")
        with _making:
            self._ceiling = {**self._ceiling, **new}
            self.seconds = until
            for purse in self._all:
                purse.set_ceiling(**self._ceiling)
                purse.counts = self._counts
                purse.has_complained = False
        from .claim import wake  # noqa: PLC0415 (it knows the purses)

        wake()

    def keep_in(self, store: str | None, store_lost: StorePolicy = "share", number: int = 0) -> None:
        """Where the purses of tag values are kept; those of single jobs stay in this process.

        Args:
            store: The store's URL; None for this process alone.
            store_lost: What is done while it cannot be reached.
            number: How many budgets of the keeper are about the same and come before this one.

        Raises:
            ConfigError: It is kept elsewhere already.
        """
        if self._about is not None and store != self._store:
            checks.fail("budgets", "budgets of its own for each store", self)
        self._store, self._store_lost = store, store_lost
        self._about = [*self.about, number]

    @property
    def about(self) -> list[Any]:
        """What it is about, the same in every process: its name, or what it limits; its tags and its period."""
        limited = [name for name, most in self._ceiling.items() if most is not None]
        period = None if self.per is None else [self.per, str(self.zone)]
        return [self.name or limited, sorted(self.by), sorted(self.tags.items()), period]

    def purse(self, tags: Mapping[str, str], now: float) -> Purse | None:
        """The purse of calls under these tags; None for those that the budget is not for."""
        if self.tags and any(tags.get(name) != value for name, value in self.tags.items()):
            return None
        key = tuple([tags.get(name, "") for name in self.by])
        purse = self._purses.get(key)
        if purse is None:
            return self._new(key, now)
        if len(self._purses) > _CROWDED:
            self._touch(key)
        return purse

    def _touch(self, key: tuple[str, ...]) -> None:
        """Puts a purse behind those that were not used since."""
        with _making:
            if key in self._purses:
                self._purses.move_to_end(key)

    def _new(self, key: tuple[str, ...], now: float) -> Purse:
        with _making:
            purse = self._purses.get(key)
            if purse is None:
                values = dict(zip(self.by, key, strict=True))
                about = json.dumps([self._about, sorted(values.items())], ensure_ascii=False)
                purse = self._purses[key] = self._open(values, now, self._store, about)
                if len(self._purses) > MOST_PURSES:
                    self._purses.popitem(last=False)
        return purse

    def job_purse(self, tags: Mapping[str, str], now: float) -> Purse:
        """A purse of its own, for one job."""
        with _making:
            return self._open(tags, now)

    def _open(self, tags: Mapping[str, str], now: float, store: str | None = None, key: str = "") -> Purse:
        purse = Purse(
            **self._ceiling, warn_at=self.warn_at, store=store, store_lost=self._store_lost, key=key
        )
        purse.counts = self._counts
        purse.budget, purse.tags, purse.began, purse.has_complained = (
            self,
            {**self.tags, **tags},
            monotonic(),
            False,
        )
        self.turn(purse, now)
        self._all.add(purse)
        _purses.add(purse)
        return purse

    def current(self, purse: Purse) -> Purse:
        """The purse as it stands in the window of now; one in a store is looked up there."""
        window = purse.state()["window"]
        if window is not None and time() + purse.skew >= window[1]:
            self.turn(purse, time())
        purse.refresh()
        return purse

    def turn(self, purse: Purse, now: float) -> None:
        """Begins the window of `now`."""
        if self.per is not None:
            purse.begin(*window(self.per, now + purse.skew, self.zone))
            purse.has_complained = False

    def status(self) -> list[dict[str, Any]]:
        """What each purse holds; JSON-able."""
        return [
            {"budget": str(self), **described(self.current(purse))} for purse in list(self._purses.values())
        ]

    def spent(self, **tags: str) -> dict[str, Decimal | int]:
        """What is used under these tags: ``usd``, ``tokens`` and ``calls``; zeros where nothing was.

        With a store it is what all processes have used.

        Raises:
            StoreError: The store cannot be reached.
        """
        key = tuple(tags.get(name, "") for name in self.by)
        purse = self._purses.get(key)
        if purse is None and self._store is not None:
            purse = self._new(key, time())
        usd, tokens, calls = (0, 0, 0) if purse is None else self.current(purse).state()["spent"]
        return {"usd": usd_of(usd), "tokens": tokens, "calls": calls}

    def __str__(self) -> str:
        return self.name or self._said()

    def _said(self) -> str:
        usd, tokens, calls = (self._ceiling[name] for name in ("pico_usd", "tokens", "calls"))
        parts = [
            None if usd is None else f"{usd_of(usd):f} USD",
            None if tokens is None else f"{tokens} tokens",
            None if calls is None else f"{calls} calls",
            None if self.seconds is None else f"{self.seconds:g} s",
        ]
        of = f" for each {', '.join(self.by)}" if self.by else ""
        return ", ".join(part for part in parts if part) + (f" a {self.per}" if self.per else "") + of

    def __repr__(self) -> str:
        return f"<ratekeeper.Budget {self._said()}>"


def described(purse: Purse) -> dict[str, Any]:
    """A purse for people and JSON."""
    state = purse.state()
    found: dict[str, Any] = {"tags": dict(purse.tags), "resets_at": None}
    if state["window"] is not None:
        found["resets_at"] = state["window"][1]
    for name in ("limit", "spent", "reserved"):
        usd, tokens, calls = state[name]
        found[name] = {"usd": None if usd is None else str(usd_of(usd)), "tokens": tokens, "calls": calls}
    if purse.budget.seconds is not None:
        found["seconds_left"] = purse.left
    return found


def _ceiling(usd: Any, tokens: int | None, calls: int | None) -> dict[str, int | None]:
    return {
        "pico_usd": None if usd is None else pico_of(usd, "usd"),
        "tokens": None if tokens is None else checks.whole(tokens, "tokens"),
        "calls": None if calls is None else checks.whole(calls, "calls"),
    }


def _period(per: object, seconds: object) -> str | None:
    if per is None:
        return None
    if per not in PERIODS:
        checks.fail("per", f"one of {', '.join(PERIODS)}, or None", per)
    if seconds is not None:
        checks.fail("seconds", "no period beside it: per says when a budget begins anew", seconds)
    return str(per)


def checked(budgets: object, field: str) -> Sequence[Budget]:
    """One budget, or several, as a tuple.

    Raises:
        ConfigError: There is something else among them, or one of them twice.
    """
    found = (
        (budgets,)
        if isinstance(budgets, Budget)
        else tuple(budgets)
        if isinstance(budgets, Iterable)
        else (budgets,)
    )
    for budget in found:
        if not isinstance(budget, Budget):
            checks.fail(field, "a ratekeeper.Budget, or several", budget)
    if len(set(map(id, found))) < len(found):
        checks.fail(field, "each budget once", list(found))
    return found


__all__ = ["PICO", "Budget", "BudgetEvent", "Purse", "checked", "described"]
