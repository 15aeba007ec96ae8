"""What a call takes of its budgets: reserved in all of them together before it is sent, settled once after it.

Owns the waiting for calls in flight, and the refusal. May not know how a call is priced.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from time import monotonic, time
from typing import NamedTuple, NoReturn

from ratekeeper import forks
from ratekeeper._core import Hold, reserve
from ratekeeper._retrying import runs_loop
from ratekeeper.errors import BudgetExceededError, EventLoopBlockedError

from .amounts import usd_of
from .budget import BudgetEvent, Purse
from .context import TIME

_log = logging.getLogger("ratekeeper")

#: Seconds to wait for what calls in flight will not use. A call that waits for a stream which its own code holds open would
#: wait for ever.
PATIENCE = 60.0


class Outlay(NamedTuple):
    """What a call may take: pico-USD, tokens, and 1 for a call or 0 for a further attempt of one."""

    pico_usd: int
    tokens: int
    calls: int


_NOTHING = Outlay(0, 0, 0)


class _Waiter:
    """Somebody in the line for budget.

    Attributes:
        hold: What was reserved for it; None while it waits, and for one that has to look itself.
        is_called: Whether it has left the line.
    """

    __slots__ = ("hold", "is_called", "outlay", "purses", "tell")

    def __init__(self, purses: tuple[Purse, ...], outlay: Outlay, tell: Callable[[], None]) -> None:
        self.purses = purses
        self.outlay = outlay
        self.tell = tell
        self.hold: Hold | None = None
        self.is_called = False


#: Those who wait for what calls in flight leave, in order of arrival: nobody passes another who waits for the same purse.
_line: list[_Waiter] = []
#: Held while that list changes.
_changing = forks.lock()
if hasattr(os, "register_at_fork"):
    # Those who wait in the parent are told there.
    os.register_at_fork(after_in_child=_line.clear)


def claim(purses: tuple[Purse, ...], outlay: Outlay, patience: float | None) -> Hold:
    """Reserves in all purses, waiting on this thread while calls in flight hold what is missing.

    Raises:
        BudgetExceededError: One of them has no room, whatever calls in flight leave.
        EventLoopBlockedError: It would have to wait, on the thread of a running event loop.
    """
    found = _straight(purses, outlay)
    if found is not None:
        return found
    if runs_loop():
        raise EventLoopBlockedError(
            "this call has to wait for budget that calls in flight hold, and waiting here would stop the event loop "
            "that runs on this thread: use the framework's async methods"
        )
    freed = threading.Event()
    waiter, until = _join(purses, outlay, freed.set), _until(patience)
    try:
        while (found := _look_after(waiter, until)) is None:
            freed.wait(_nap(waiter, until))
            freed.clear()
    except BaseException:
        _leave(waiter)
        raise
    return found


async def aclaim(purses: tuple[Purse, ...], outlay: Outlay, patience: float | None) -> Hold:
    """`claim`, waiting on the event loop.

    Raises:
        BudgetExceededError: As of `claim`.
    """
    found = _straight(purses, outlay)
    if found is not None:
        return found
    import asyncio  # noqa: PLC0415 (takes longer to import than all of this package)

    loop, freed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(freed.set)

    waiter, until = _join(purses, outlay, tell), _until(patience)
    try:
        while (found := _look_after(waiter, until)) is None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(freed.wait(), _nap(waiter, until))
            freed.clear()
    except BaseException:
        _leave(waiter)
        raise
    return found


def _straight(purses: tuple[Purse, ...], outlay: Outlay) -> Hold | None:
    """The hold, if nobody waits for one of these purses."""
    found = _attempt(purses, outlay)
    if not isinstance(found, Hold):
        return None
    if _line and any(purse in waiter.purses for waiter in _line[:] for purse in purses):
        found.settle(0, 0, 0)
        return None
    return found


def _join(purses: tuple[Purse, ...], outlay: Outlay, tell: Callable[[], None]) -> _Waiter:
    waiter = _Waiter(purses, outlay, tell)
    with _changing:
        _line.append(waiter)
    wake()
    return waiter


def _leave(waiter: _Waiter) -> None:
    """Lets the next ones through, with what was reserved for this one meanwhile."""
    with _changing:
        if not waiter.is_called:
            _line.remove(waiter)
            waiter.is_called = True
    if waiter.hold is not None:
        waiter.hold.settle(0, 0, 0)
        waiter.hold = None
    wake()


def _look_after(waiter: _Waiter, until: float) -> Hold | None:
    """What was reserved for a waiter; None while it has to wait on.

    Raises:
        BudgetExceededError: It has waited long enough, or for nothing.
    """
    if waiter.hold is not None:
        return waiter.hold
    if not waiter.is_called and monotonic() < until:
        return None
    _leave(waiter)
    found = _attempt(waiter.purses, waiter.outlay)
    if not isinstance(found, Hold):
        refuse(*found, waiter.outlay, in_flight=True)
    return found


def _until(patience: float | None) -> float:
    return monotonic() + min(PATIENCE, PATIENCE if patience is None else patience)


def _nap(waiter: _Waiter, until: float) -> float:
    """Seconds until a waiter looks by itself: at the end of its patience, or of a window."""
    windows = (purse.state()["window"] for purse in waiter.purses)
    ends: list[float] = [window[1] - time() for window in windows if window is not None]
    return max(min([until - monotonic(), *(end for end in ends if end > 0)]), 0.0)


def settle(hold: Hold, purses: tuple[Purse, ...], pico_usd: int, tokens: int, calls: int) -> None:
    """Replaces what was reserved by what was taken, and says what has come near its end."""
    warned = hold.settle(pico_usd, tokens, calls)
    if _line:
        wake()
    for place in warned or ():
        _warn(purses[place])


def wake() -> None:
    """Gives those who wait what there is room for now, in their order."""
    called, busy = [], set[Purse]()
    with _changing:
        for waiter in _line[:]:
            if not busy.isdisjoint(waiter.purses):
                continue
            found = _look(waiter.purses, waiter.outlay)
            if not isinstance(found, Hold) and found[1] == "waits":
                busy.update(waiter.purses)
                continue
            waiter.hold = found if isinstance(found, Hold) else None
            waiter.is_called = True
            _line.remove(waiter)
            called.append(waiter)
    for waiter in called:
        waiter.tell()


def _attempt(purses: tuple[Purse, ...], outlay: Outlay) -> Hold | tuple[Purse, str]:
    """The hold, or what is held by calls in flight and by which measure.

    Raises:
        BudgetExceededError: There is no room, whatever they leave.
    """
    for purse in purses:
        if purse.counts & TIME and (purse.left or 0) <= 0:
            refuse(purse, "seconds", outlay)
    found = _look(purses, outlay)
    if isinstance(found, Hold):
        return found
    purse, why, measure = found
    if why == "exceeded":
        refuse(purse, measure, outlay)
    return purse, measure


def _look(purses: tuple[Purse, ...], outlay: Outlay) -> Hold | tuple[Purse, str, str]:
    """The hold, or the purse without room, why, and by which measure."""
    pico_usd, tokens, calls = outlay
    while True:
        now = time()
        found = reserve(purses, pico_usd, tokens, calls, now)
        if isinstance(found, Hold):
            return found
        place, why, measure = found
        if why != "turns":
            return purses[place], why, measure
        purses[place].budget.turn(purses[place], now)


def refuse(purse: Purse, measure: str, outlay: Outlay = _NOTHING, *, in_flight: bool = False) -> NoReturn:
    """Says why a call is not sent.

    Raises:
        BudgetExceededError: Always.
    """
    limit, spent = amounts(purse, measure)
    whose = ", ".join(f"{name}={value}" for name, value in purse.tags.items() if value)
    asked = {"usd": usd_of(outlay.pico_usd), "tokens": outlay.tokens, "calls": outlay.calls}
    text = f"the budget of {purse.budget}{f' ({whose})' if whose else ''} is used up: {spent} of {limit} {measure}"
    if measure in asked:
        text += f", and this call could take {asked[measure]}"
    if in_flight:
        text += "; the rest is reserved by calls in flight that did not end in time"
    if not purse.has_complained:
        purse.has_complained = True
        _log.warning("%s; calls are refused before they are sent", text)
    _tell(purse, "on_exceed", measure)
    raise BudgetExceededError(
        f"{text}; nothing was sent", tags=dict(purse.tags), limit=limit, spent=spent, measure=measure
    )


def _warn(purse: Purse) -> None:
    shares = []
    for measure in ("usd", "tokens", "calls"):
        limit, spent = amounts(purse, measure)
        if limit is not None:
            shares.append((float(spent) / max(float(limit), 1e-12), measure, limit, spent))
    share, measure, limit, spent = max(shares)
    whose = ", ".join(f"{name}={value}" for name, value in purse.tags.items() if value)
    _log.warning("%.0f %% of the budget of %s is used%s: %s of %s %s", share * 100, purse.budget,
                 f" ({whose})" if whose else "", spent, limit, measure)  # fmt: skip
    _tell(purse, "on_warn", measure)


def amounts(purse: Purse, measure: str) -> tuple[Decimal | float | None, Decimal | float]:
    """The ceiling and what is used of it, as people write them."""
    if measure == "seconds":
        return purse.budget.seconds, round(monotonic() - purse.began, 3)
    state = purse.state()
    place = ("usd", "tokens", "calls").index(measure)
    limit, spent = state["limit"][place], state["spent"][place]
    if measure != "usd":
        return limit, spent
    return None if limit is None else usd_of(limit), usd_of(spent)


def _tell(purse: Purse, name: str, measure: str) -> None:
    hook = getattr(purse.budget, name)
    if hook is None:
        return
    limit, spent = amounts(purse, measure)
    try:
        hook(BudgetEvent(purse.budget, dict(purse.tags), measure, limit or 0, spent))
    except Exception:  # noqa: BLE001 (a hook never breaks a call)
        _log.exception("%s of the budget of %s raised; the call goes on as if it had not", name, purse.budget)
