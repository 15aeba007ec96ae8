"""What a call takes of its budgets: reserved in all of them together before it is sent, settled once after it.

Owns the waiting for calls in flight, and the refusal. May not know how a call is priced.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from decimal import Decimal
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ratekeeper import forks
from ratekeeper._core import Hold, reserve
from ratekeeper._retrying import runs_loop
from ratekeeper.errors import BudgetExceededError, EventLoopBlockedError

from .amounts import usd_of
from .budget import BudgetEvent, Purse
from .context import TIME

if TYPE_CHECKING:
    import asyncio

_log = logging.getLogger("ratekeeper")

#: Seconds to wait for what calls in flight will not use. A call that waits for a stream which its own code holds open would
#: wait for ever.
PATIENCE = 60.0

#: Told when anything is settled, in order of arrival.
_waiting: list[Callable[[], None]] = []
#: Held while that list changes.
_telling = forks.lock()
if hasattr(os, "register_at_fork"):
    # Those who wait in the parent are told there.
    os.register_at_fork(after_in_child=_waiting.clear)


class Outlay(NamedTuple):
    """What a call may take: pico-USD, tokens, and 1 for a call or 0 for a further attempt of one."""

    pico_usd: int
    tokens: int
    calls: int


_NOTHING = Outlay(0, 0, 0)


def claim(purses: tuple[Purse, ...], outlay: Outlay, patience: float | None) -> Hold:
    """Reserves in all purses, waiting on this thread while calls in flight hold what is missing.

    Raises:
        BudgetExceededError: One of them has no room, whatever calls in flight leave.
        EventLoopBlockedError: It would have to wait, on the thread of a running event loop.
    """
    found = _attempt(purses, outlay)
    if isinstance(found, Hold):
        return found
    until = monotonic() + min(PATIENCE, PATIENCE if patience is None else patience)
    while not isinstance(found := _attempt(purses, outlay), Hold):
        if runs_loop():
            raise EventLoopBlockedError(
                "this call has to wait for budget that calls in flight hold, and waiting here would stop the event loop "
                "that runs on this thread: use the framework's async methods"
            )
        freed = threading.Event()
        _wait(freed.set)
        again = _attempt(purses, outlay)
        if isinstance(again, Hold):
            return again
        if not freed.wait(max(until - monotonic(), 0.0)):
            refuse(*found, outlay, in_flight=True)
    return found


async def aclaim(purses: tuple[Purse, ...], outlay: Outlay, patience: float | None) -> Hold:
    """`claim`, waiting on the event loop.

    Raises:
        BudgetExceededError: As of `claim`.
    """
    found = _attempt(purses, outlay)
    if isinstance(found, Hold):
        return found
    import asyncio  # noqa: PLC0415 (takes longer to import than all of this package)

    until = monotonic() + min(PATIENCE, PATIENCE if patience is None else patience)
    while not isinstance(found := _attempt(purses, outlay), Hold):
        loop = asyncio.get_running_loop()
        freed = asyncio.Event()

        def tell(loop: asyncio.AbstractEventLoop = loop, freed: asyncio.Event = freed) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(freed.set)

        _wait(tell)
        again = _attempt(purses, outlay)
        if isinstance(again, Hold):
            return again
        try:
            await asyncio.wait_for(freed.wait(), max(until - monotonic(), 0.0))
        except asyncio.TimeoutError:
            refuse(*found, outlay, in_flight=True)
    return found


def settle(hold: Hold, purses: tuple[Purse, ...], pico_usd: int, tokens: int, calls: int) -> None:
    """Replaces what was reserved by what was taken, and says what has come near its end."""
    warned = hold.settle(pico_usd, tokens, calls)
    if _waiting:
        wake()
    for place in warned or ():
        _warn(purses[place])


def _wait(tell: Callable[[], None]) -> None:
    with _telling:
        _waiting.append(tell)


def wake() -> None:
    """Has all who wait look again."""
    with _telling:
        waiting = _waiting[:]
        _waiting.clear()
    for tell in waiting:
        tell()


def _attempt(purses: tuple[Purse, ...], outlay: Outlay) -> Hold | tuple[Purse, str]:
    """The hold, or what is held by calls in flight and by which measure."""
    pico_usd, tokens, calls = outlay
    for purse in purses:
        if purse.counts & TIME and (purse.left or 0) <= 0:
            refuse(purse, "seconds", outlay)
    while True:
        now = time()
        found = reserve(purses, pico_usd, tokens, calls, now)
        if isinstance(found, Hold):
            return found
        place, why, measure = found
        purse = purses[place]
        if why == "exceeded":
            refuse(purse, measure, outlay)
        if why == "waits":
            return purse, measure
        purse.budget.turn(purse, now)


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
