"""What one call takes of its budgets and jobs, and its entries in the ledger: one for each attempt.

Owns the order: claim, send, then exactly one of answered, failed, abandoned and freed. May not know lease or queue.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import cache
from time import monotonic, time
from typing import TYPE_CHECKING

from ratekeeper.errors import ConfigError
from ratekeeper.prices import default
from ratekeeper.providers.usage import Usage

from .context import MONEY, SIZE, TIME, in_force

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from ratekeeper._core import Hold
    from ratekeeper.costs.spend import Outcome
    from ratekeeper.providers import Request
    from ratekeeper.providers.base import Sizes

    from .budget import Purse
    from .claim import Outlay
    from .till import Till

_log = logging.getLogger("ratekeeper")

#: Tokens of a message or a tool around what it says, more than any provider takes.
_AROUND = 16
_CHARACTERS_PER_TOKEN = 4


@cache
def _claims() -> ModuleType:
    """Loaded only where there are budgets."""
    from . import claim  # noqa: PLC0415

    return claim


class Booking:
    """A call's claims on its budgets, and its entries.

    Args:
        till: The keeper's.
        request: The call.
        sizes: Its estimated sizes.
        provider: The provider's name.
        scope: Whose quota.
        tags: Those in force, and the caller as ``agent``.
    """

    __slots__ = (
        "_attempt", "_began", "_hold", "_jobs", "_provider", "_purses", "_request", "_scope", "_sizes",
        "_tags", "_till",
    )  # fmt: skip

    def __init__(
        self,
        till: Till,
        request: Request,
        sizes: Sizes,
        *,
        provider: str,
        scope: str,
        tags: Mapping[str, str],
    ) -> None:
        self._till = till
        self._request = request
        self._sizes = sizes
        self._provider = provider
        self._scope = scope
        self._tags = tags
        self._jobs = in_force.get()
        self._purses = self._find_purses() if till.budgets or self._jobs else ()
        self._hold: Hold | None = None
        self._attempt = 0
        self._began = 0.0

    def patience(self, timeout: float | timedelta | None) -> float | None:
        """Seconds the call may wait: `timeout`, but not beyond the time that a budget gives its job."""
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        for purse in self._purses:
            if purse.counts & TIME:
                left = max(purse.left or 0.0, 0.0)
                timeout = left if timeout is None else min(timeout, left)
        return timeout

    def claim(self, patience: float | None) -> None:
        """Reserves what this attempt could take, before it waits for its lease.

        Raises:
            BudgetExceededError: A budget has no room.
            ConfigError: A budget counts money, and nobody knows the model's price.
        """
        if self._purses:
            self._hold = _claims().claim(self._purses, self._most(), patience)
        self._attempt += 1

    async def aclaim(self, patience: float | None) -> None:
        """`claim`, waiting on the event loop.

        Raises:
            BudgetExceededError: As of `claim`.
            ConfigError: As of `claim`.
        """
        if self._purses:
            self._hold = await _claims().aclaim(self._purses, self._most(), patience)
        self._attempt += 1

    def started(self) -> None:
        """The attempt goes out.

        Raises:
            BudgetExceededError: The time of a budget has ended while the call waited.
        """
        self._began = monotonic()
        for purse in self._purses:
            if purse.counts & TIME and (purse.left or 0.0) <= 0:
                _claims().refuse(purse, "seconds")

    def freed(self) -> None:
        """Nothing was sent."""
        if self._hold is not None:
            self._settle(0, 0, 0)
        self._attempt = max(self._attempt - 1, 0)

    def answered(self, usage: Usage | None, waited: float) -> Usage | None:
        """There is an answer, with what the provider counted; None if it did not say.

        Returns:
            The usage, unless it cannot be.
        """
        return usage if self._enter("answered", usage, waited, ends=True) else None

    def abandoned(self, waited: float) -> None:
        """Its caller left before the end: nobody knows what it took."""
        self._enter("abandoned", None, waited, ends=True)

    def failed(self, waited: float, *, is_refusal: bool, took_nothing: bool, ends: bool) -> None:
        """The attempt failed; `ends` if no other follows."""
        usage = Usage(0, 0) if is_refusal or took_nothing else None
        self._enter("refused" if is_refusal else "failed", usage, waited, ends=ends)

    def _enter(self, outcome: Outcome, usage: Usage | None, waited: float, *, ends: bool) -> bool:
        """Whether the usage was booked; otherwise an estimate was."""
        if usage is not None:
            try:
                self._book(outcome, usage, waited, ends=ends, estimated=False)
            except (ConfigError, UnicodeError) as error:  # what cannot be; the answer is there all the same
                _log.warning("%s told what cannot be booked (%s): an estimate is", self._scope, error)
            else:
                return True
        estimate = Usage(self._sizes.input_tokens, self._sizes.output_tokens)
        try:
            self._book(outcome, estimate, waited, ends=ends, estimated=True)
        except Exception:  # noqa: BLE001 (the answer is there and belongs to the caller)
            _log.exception("a call of %s could not be booked", self._scope)
            if self._hold is not None:
                self._settle(*self._hold.reserved)
        return False

    def _book(self, outcome: Outcome, usage: Usage, waited: float, *, ends: bool, estimated: bool) -> None:
        """Enters the attempt, then settles it; nothing is settled if the entry is refused.

        Raises:
            ConfigError: The usage cannot be.
        """
        model, tokens = self._request.model, usage.input_tokens + usage.output_tokens
        is_asked = tokens or outcome == "answered"  # some charge each request
        cost = self._till.prices.cost(usage, model, self._provider) if is_asked else None
        pico = cost.pico_usd if cost is not None else None if tokens else 0
        self._till.costs.book(
            usage,
            pico,
            price="" if cost is None else cost.price.id,
            scope=self._scope,
            model=model,
            tags=self._tags,
            waited=waited,
            duration=monotonic() - self._began,
            outcome=outcome,
            attempt=self._attempt,
            estimated=estimated,
        )
        if self._jobs:
            is_failure = ends and outcome in ("failed", "refused")
            self._sum_up(usage, pico, waited, is_failure=is_failure, estimated=estimated)
        if self._hold is not None:
            # What nobody knows may have been all that was reserved.
            held = self._hold.reserved
            is_unknown = estimated or pico is None
            self._settle(held[0] if is_unknown else pico or 0, held[1] if estimated else tokens, held[2])

    def _sum_up(
        self, counted: Usage, pico: int | None, waited: float, *, is_failure: bool, estimated: bool
    ) -> None:
        tokens = counted.input_tokens + counted.output_tokens
        for job in self._jobs:
            job.add(
                (
                    int(self._attempt == 1), counted.input_tokens, counted.output_tokens, pico or 0,
                    tokens if pico is None else 0, int(is_failure), int(estimated),
                ),
                waited,
            )  # fmt: skip

    def _settle(self, pico_usd: int, tokens: int, calls: int) -> None:
        hold, self._hold = self._hold, None
        assert hold is not None
        _claims().settle(hold, self._purses, pico_usd, tokens, calls)

    def _find_purses(self) -> tuple[Purse, ...]:
        now = time()
        found = [budget.purse(self._tags, now) for budget in self._till.budgets]
        for job in self._jobs:
            found += job.purses
        return tuple([purse for purse in found if purse is not None])

    def _most(self) -> Outlay:
        """What the attempt could take at the worst."""
        calls = int(self._attempt == 0)
        counts = 0
        for purse in self._purses:
            counts |= purse.counts
        if not counts & SIZE:
            nothing: Outlay = _claims().Outlay(0, 0, calls)
            return nothing
        sent, answer = self._most_input(), self._most_output()
        pico = 0
        if counts & MONEY:
            worst = self._till.prices.worst(self._request.model, self._provider, sent, answer)
            if worst is None:
                raise ConfigError(
                    f"nobody knows the price of {self._request.model!r} ({self._provider}), and a budget in USD is in "
                    "force; expected it in Keeper(prices=...), by its own name, as a deployment, or with fallback=; "
                    "nothing was sent",
                    field="prices",
                )
            pico = worst
        most: Outlay = _claims().Outlay(pico, sent + answer, calls)
        return most

    def _most_input(self) -> int:
        """Twice the estimate, but no more tokens than there are bytes of plain text; other scripts get three times as much."""
        estimate = max(self._sizes.input_tokens, self._sizes.prompt_quarter)
        content = self._request.content
        around = _AROUND * (len(content) if isinstance(content, list | tuple) else 1)
        text = content if isinstance(content, str) else self._request.text
        if text.isascii() and (not self._request.tools or str(self._request.tools).isascii()):
            return min(2 * estimate, _CHARACTERS_PER_TOKEN * self._sizes.prompt_quarter) + around
        return 3 * estimate + around

    def _most_output(self) -> int:
        """The ceiling that the request names, or else the model's own.

        Raises:
            ConfigError: Nobody knows that.
        """
        ceiling = self._request.output_ceiling
        if ceiling is not None:
            return ceiling
        model = self._request.model
        known = self._till.prices.max_output(model, self._provider) or default().max_output(
            model, self._provider
        )
        if known is None:
            raise ConfigError(
                f"nobody knows how much {model!r} ({self._provider}) may answer, and a budget in USD or tokens is in force; "
                "expected max_tokens at the call, or max_output in Keeper(prices=...); nothing was sent",
                field="max_tokens",
            )
        return known * max(self._request.n, 1)
