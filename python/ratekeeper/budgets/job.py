"""A job, such as one kickoff: the calls made inside share its budgets, and are summed up.

A job is what is inside its ``with``; like tags, it follows `await` and tasks created inside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from time import time
from typing import TYPE_CHECKING, Any

from ratekeeper import checks, forks
from ratekeeper.costs.spend import shown_usd
from ratekeeper.tags import current, tags

from .amounts import pico_of, usd_of
from .context import in_force

if TYPE_CHECKING:
    from .budget import Budget, Purse

_log = logging.getLogger("ratekeeper")

#: Held while a call is added; that takes nanoseconds, so one serves all jobs.
_adding = forks.lock()


@dataclass(frozen=True)
class Summary:
    """What a job took.

    Attributes:
        name: The job's name.
        calls: Model calls that were sent; further attempts of one count as one.
        input_tokens, output_tokens: As the providers counted them, or estimated where they did not.
        usd: Money; of calls whose price is known.
        unpriced_tokens: Tokens of calls whose price is not.
        waited: Seconds in queues, all calls together.
        failed: Calls that failed for good.
        estimated: Calls whose usage nobody told, such as streams that were broken off.
    """

    name: str
    calls: int
    input_tokens: int
    output_tokens: int
    usd: Decimal
    unpriced_tokens: int
    waited: float
    failed: int
    estimated: int

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __str__(self) -> str:
        said = [
            f"{self.calls:,} call{'' if self.calls == 1 else 's'}",
            f"{self.tokens:,} tokens",
            f"{shown_usd(pico_of(self.usd, 'usd'))} USD",
            f"{self.waited:.1f} s waited",
        ]
        if self.unpriced_tokens:
            said.append(f"{self.unpriced_tokens:,} tokens of unknown price")
        if self.failed:
            said.append(f"{self.failed:,} failed")
        if self.estimated:
            said.append(f"{self.estimated:,} estimated")
        return f"{self.name}: {', '.join(said)}"


class Job:
    """Calls made inside ``with`` or ``async with`` share `budgets` of their own, and are summed up; to be entered once.

    Attributes:
        purses: What it has of each budget.
    """

    __slots__ = (
        "_before",
        "_budgets",
        "_is_entered",
        "_name",
        "_on_end",
        "_sums",
        "_tags",
        "_waited",
        "purses",
    )

    def __init__(
        self,
        name: str,
        budgets: Sequence[Budget] = (),
        values: Mapping[str, str] | None = None,
        on_end: Callable[[Summary], object] | None = None,
    ) -> None:
        self._name = name
        for budget in budgets:
            if budget.by or budget.tags:
                checks.fail("budget", "one for the whole job: by= and tags= are for Keeper(budgets=)", budget)
        self._budgets = budgets
        self._on_end = on_end
        self._tags = tags(**(values or {}))
        self._before: tuple[Job, ...] = ()
        self._is_entered = False
        self._sums = [0] * 7
        self._waited = 0.0
        self.purses: tuple[Purse, ...] = ()

    @property
    def summary(self) -> Summary:
        """What it took so far."""
        with _adding:
            calls, sent, answered, pico, unpriced, failed, estimated = self._sums[:7]
            waited = self._waited
        return Summary(self._name, calls, sent, answered, usd_of(pico), unpriced, waited, failed, estimated)

    def add(self, sums: Sequence[int], waited: float) -> None:
        """Adds a call: calls, input, output, pico-USD, unpriced tokens, failed, estimated."""
        with _adding:
            self._sums = [one + more for one, more in zip(self._sums, sums, strict=True)]
            self._waited += waited

    def __enter__(self) -> Job:
        if self._is_entered:
            raise RuntimeError(f"the job {self._name} was entered before: make a new one for each run")
        self._is_entered = True
        self._tags.__enter__()
        now = time()
        self.purses = tuple(budget.job_purse(dict(current()), now) for budget in self._budgets)
        self._before = in_force.get()
        in_force.set((*self._before, self))
        return self

    def __exit__(self, *_: Any) -> None:
        in_force.set(self._before)
        self._tags.__exit__()
        summary = self.summary
        if summary.calls:
            _log.info("%s", summary)
        if self._on_end is not None:
            try:
                self._on_end(summary)
            except Exception:  # noqa: BLE001 (a hook never breaks a job)
                _log.exception("on_end of the job %s raised; the job has ended as if it had not", self._name)

    async def __aenter__(self) -> Job:
        return self.__enter__()

    async def __aexit__(self, *_: Any) -> None:
        self.__exit__()
