"""How many model calls a job may make, counted before each is sent.

Owns the context variable and the count. What a job is, `guard` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from . import forks
from .errors import BudgetExceededError

_ceilings: ContextVar[tuple[Ceiling, ...]] = ContextVar("ratekeeper_ceilings", default=())

#: Held while calls are counted; that takes nanoseconds, so one serves all jobs.
_counting = forks.lock()


def count_call() -> None:
    """Counts a call against all jobs that the code here is part of.

    Raises:
        BudgetExceededError: It would be one too many for one of them; none has counted it then.
    """
    ceilings = _ceilings.get()
    if not ceilings:
        return
    with _counting:
        for ceiling in ceilings:
            ceiling.check()
        for ceiling in ceilings:
            ceiling.spent += 1


class Ceiling:
    """The most model calls inside ``with`` or ``async with``: of one job, to be entered once.

    Like tags, it follows `await` and tasks created inside; a plain new thread starts without it.

    Attributes:
        spent: The calls so far.
    """

    __slots__ = ("_before", "_limit", "_tags", "spent")

    def __init__(self, limit: int, tags: Mapping[str, str]) -> None:
        self._limit = limit
        self._tags = tags
        self._before: tuple[Ceiling, ...] = ()
        self.spent = 0

    def check(self) -> None:
        """Speaks up if no call is left.

        Raises:
            BudgetExceededError: None is.
        """
        if self.spent >= self._limit:
            raise BudgetExceededError(
                f"the job has made its {self._limit} model calls (guard(calls={self._limit})); nothing was sent",
                tags=dict(self._tags),
                limit=self._limit,
                spent=self.spent,
            )

    def __enter__(self) -> Ceiling:
        self._before = _ceilings.get()
        _ceilings.set((*self._before, self))
        return self

    def __exit__(self, *_: object) -> None:
        _ceilings.set(self._before)

    async def __aenter__(self) -> Ceiling:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()
