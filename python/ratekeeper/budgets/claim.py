"""What a call takes of its budgets: reserved in all of them together before it is sent, settled once after it.

Owns the waiting for calls in flight, of this process and, where a store keeps the budgets, of others: nobody is told of
what those leave, so the first who waits here looks for it. May not know how a call is priced.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time

from ratekeeper import forks
from ratekeeper._core import Hold, reserve
from ratekeeper._retrying import runs_loop
from ratekeeper.errors import EventLoopBlockedError, StoreError

from . import clerks
from .budget import Purse
from .context import TIME
from .telling import Outlay, refuse, warn

__all__ = ["Outlay", "aclaim", "claim", "refuse", "settle", "wake"]

_log = logging.getLogger("ratekeeper")

#: Seconds to wait for what calls in flight will not use. A call that waits for a stream which its own code holds open would
#: wait for ever.
PATIENCE = 60.0
#: Seconds until the first look for what other processes leave, and the most between two. A place in their line is kept for one.
FIRST_LOOK, LATEST_LOOK = 0.05, 0.2


class _Waiter:
    """Somebody in the line for budget.

    Attributes:
        hold: What was reserved for it; None while it waits, and for one that has to look itself.
        is_called: Whether it has left the line.
        is_shared: Whether other processes may leave what it waits for.
        look_at: When it looks for that (monotonic seconds), if it is the first to do so.
    """

    __slots__ = ("_looks", "hold", "is_called", "is_shared", "look_at", "outlay", "purses", "tell")

    def __init__(self, purses: tuple[Purse, ...], outlay: Outlay, tell: Callable[[], None]) -> None:
        self.purses = purses
        self.outlay = outlay
        self.tell = tell
        self.hold: Hold | None = None
        self.is_called = False
        self.is_shared = any(purse.is_shared for purse in purses)
        self._looks = 0
        self.look_at = monotonic() + FIRST_LOOK

    def looked(self) -> None:
        """Puts off the next look, each time for longer."""
        self._looks += 1
        self.look_at = monotonic() + min(FIRST_LOOK * 1.5**self._looks, LATEST_LOOK)


#: Those who wait for what calls in flight leave, in order of arrival: nobody passes another who waits for the same purse.
_line: list[_Waiter] = []
#: Held while that list changes.
_changing = forks.lock()
#: Held while somebody sees whom there is room for: two at once would serve out of order.
_serving = forks.lock()
#: What was taken, and could not be settled: the store was out of reach.
_owed: list[tuple[Hold, tuple[Purse, ...], Outlay]] = []
if hasattr(os, "register_at_fork"):
    # Those who wait in the parent are told there, and what it owes it settles.
    os.register_at_fork(after_in_child=_line.clear)
    os.register_at_fork(after_in_child=_owed.clear)


def claim(purses: tuple[Purse, ...], outlay: Outlay, patience: float | None) -> Hold:
    """Reserves in all purses, waiting on this thread while calls in flight hold what is missing.

    Raises:
        BudgetExceededError: One of them has no room, whatever calls in flight leave.
        StoreError: The store that keeps them cannot be reached.
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
        StoreError: As of `claim`.
    """
    is_remote = any(purse.is_remote for purse in purses)
    found = await clerks.apart(_straight, purses, outlay) if is_remote else _straight(purses, outlay)
    if found is not None:
        return found
    import asyncio  # noqa: PLC0415 (takes longer to import than all of this package)

    loop, freed = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(freed.set)

    waiter, until = _join(purses, outlay, tell), _until(patience)
    try:
        while True:
            found = (
                await clerks.apart(_look_after, waiter, until) if is_remote else _look_after(waiter, until)
            )
            if found is not None:
                return found
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(freed.wait(), _nap(waiter, until))
            freed.clear()
    except BaseException:
        _leave(waiter)
        raise


def _straight(purses: tuple[Purse, ...], outlay: Outlay) -> Hold | None:
    """The hold, if nobody waits for one of these purses.

    Raises:
        BudgetExceededError: There is no room, whatever calls in flight leave.
    """
    if _owed:
        _settle_owed()
    if _line and any(purse in waiter.purses for waiter in _line[:] for purse in purses):
        for purse in purses:
            _check(purse, outlay)
        return None
    found = _attempt(purses, outlay)
    return found if isinstance(found, Hold) else None


def _check(purse: Purse, outlay: Outlay) -> None:
    """Refuses what would not fit if nobody else held anything.

    Raises:
        BudgetExceededError: It would not.
    """
    if purse.counts & TIME and (purse.left or 0) <= 0:
        refuse(purse, "seconds", outlay)
    state = purse.budget.current(purse).state()
    for measure, most, spent, asked in zip(
        ("usd", "tokens", "calls"), state["limit"], state["spent"], outlay, strict=True
    ):
        if most is not None and asked and spent + asked > most:
            refuse(purse, measure, outlay)


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
        hold, waiter.hold = waiter.hold, None
    if hold is not None:
        settle(hold, waiter.purses, 0, 0, 0)
    else:
        wake()


def _look_after(waiter: _Waiter, until: float) -> Hold | None:
    """The hold of a waiter that has one, or that looks a last time; None for one that has to wait on.

    Raises:
        BudgetExceededError: It has waited long enough, or for nothing.
    """
    if waiter.is_shared and not waiter.is_called and monotonic() >= waiter.look_at and _is_first(waiter):
        waiter.looked()
        wake()
    if waiter.hold is not None:
        return waiter.hold
    if not waiter.is_called and monotonic() < until:
        return None
    _leave(waiter)
    found = _attempt(waiter.purses, waiter.outlay)
    if not isinstance(found, Hold):
        refuse(*found, waiter.outlay, in_flight=True)
    return found


def _is_first(waiter: _Waiter) -> bool:
    """Whether it is the one that looks for what other processes leave, for all who wait here."""
    return next((one for one in _line[:] if one.is_shared), None) is waiter


def _until(patience: float | None) -> float:
    return monotonic() + min(PATIENCE, PATIENCE if patience is None else patience)


def _nap(waiter: _Waiter, until: float) -> float:
    """Seconds until a waiter looks by itself: at the end of its patience, or of a window, or for what other processes leave."""
    ends: list[float] = [until - monotonic()]
    for purse in waiter.purses:
        window = purse.state()["window"]
        if window is not None and (left := window[1] - time() - purse.skew) > 0:
            ends.append(left)
    if waiter.is_shared and _is_first(waiter):
        ends.append(waiter.look_at - monotonic())
    return max(min(ends), 0.0)


def settle(hold: Hold, purses: tuple[Purse, ...], pico_usd: int, tokens: int, calls: int) -> None:
    """Replaces what was reserved by what was taken, and says what has come near its end.

    What a store out of reach does not hear now it hears later; until then it counts in full.
    """
    if hold.is_remote and runs_loop():
        clerks.submit(_settle, hold, purses, Outlay(pico_usd, tokens, calls))
    else:
        _settle(hold, purses, Outlay(pico_usd, tokens, calls))


def _settle(hold: Hold, purses: tuple[Purse, ...], taken: Outlay) -> bool:
    """Whether it is settled; if not, it is owed."""
    try:
        warned = hold.settle(*taken)
    except StoreError as error:
        if not _owed:
            _log.warning("what calls took of their budgets counts in full until it can be told: %s", error)
        _owed.append((hold, purses, taken))
        return False
    if _line:
        wake()
    for place in warned or ():
        warn(purses[place])
    return True


def _settle_owed() -> None:
    with _changing:
        owed = _owed[:]
        _owed.clear()
    while owed:
        if not _settle(*owed.pop(0)):
            _owed.extend(owed)
            return


def wake() -> None:
    """Gives those who wait what there is room for now, in their order."""
    if runs_loop() and any(purse.is_remote for waiter in _line[:] for purse in waiter.purses):
        clerks.submit(_serve)
    else:
        _serve()


def _serve() -> None:
    with _serving:
        busy = set[Purse]()
        for waiter in _line[:]:
            if not busy.isdisjoint(waiter.purses):
                continue
            if not _served(waiter):
                busy.update(waiter.purses)
    for waiter in _line[:]:
        if waiter.is_shared:  # whoever was the first before may have left
            waiter.tell()
            break


def _served(waiter: _Waiter) -> bool:
    """Whether a waiter has left the line: with its hold, or to hear by itself why there will be none."""
    try:
        found = _look(waiter.purses, waiter.outlay)
    except StoreError:
        found = None  # it meets the same when it looks by itself
    if isinstance(found, tuple) and found[1] == "waits":
        return False
    with _changing:
        is_there = not waiter.is_called
        if is_there:
            waiter.hold = found if isinstance(found, Hold) else None
            waiter.is_called = True
            _line.remove(waiter)
    if is_there:
        waiter.tell()
    elif isinstance(found, Hold):
        found.settle(0, 0, 0)
    return True


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
