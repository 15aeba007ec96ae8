"""What is said of a purse: to the caller whose call is refused, to its hooks, and in the log.

Owns the texts. May not decide.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from time import monotonic
from typing import NamedTuple, NoReturn

from ratekeeper.errors import BudgetExceededError

from .amounts import usd_of
from .budget import BudgetEvent, Purse

_log = logging.getLogger("ratekeeper")


class Outlay(NamedTuple):
    """What a call may take: pico-USD, tokens, and 1 for a call or 0 for a further attempt of one."""

    pico_usd: int
    tokens: int
    calls: int


_NOTHING = Outlay(0, 0, 0)


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


def warn(purse: Purse) -> None:
    """Says that a purse has come near its end."""
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
