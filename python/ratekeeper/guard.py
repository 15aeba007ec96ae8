"""A place among a few for a whole job, such as a crew's kickoff.

Owns the decorator around a native semaphore. What its calls may take, and took, is the business of `budgets.job`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from . import checks
from ._core import Semaphore
from ._wrapping import inside
from .tags import tags as tagged

if TYPE_CHECKING:
    from ._core import Lease, ManualClock
    from .budgets.budget import Budget
    from .budgets.job import Job, Summary

P = ParamSpec("P")
R = TypeVar("R")


class Guard:
    """Lets a number of jobs run at a time, in order of arrival, and tags and counts their calls; see `Keeper.guard`."""

    def __init__(
        self,
        concurrency: int | None,
        *,
        budget: Budget | Iterable[Budget] = (),
        calls: int | None = None,
        timeout: float | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        on_end: Callable[[Summary], object] | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        self._semaphore: Semaphore | None = None
        if concurrency is not None:
            places = checks.whole(concurrency, "concurrency", maximum=checks.MAX_CONCURRENCY)
            self._semaphore = Semaphore(places, name="guard", clock=clock)
        self._budgets = _budgets(budget, calls)
        self._timeout = None if timeout is None else checks.seconds(timeout, "timeout")
        self._tags = {} if tags is None else dict(checks.table(tags, "tags"))
        tagged(**self._tags)  # refuses values that are not texts now, not at the first job
        if on_end is not None and not callable(on_end):
            checks.fail("on_end", "a function that takes a Summary", on_end)
        self._on_end = on_end

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Puts a function or coroutine function under the guard; its signature stays.

        Raises:
            TypeError: It is a generator, or not callable.
        """
        name = getattr(function, "__name__", type(function).__name__)

        def job(*_: object, **__: object) -> Job:
            from .budgets.job import Job  # noqa: PLC0415 (at the first job)

            return Job(name, self._budgets, self._tags, self._on_end)

        return inside(inside(function, "guard", job), "guard", self._place)

    def _place(self, *_: object, **__: object) -> Lease | nullcontext[None]:
        return nullcontext() if self._semaphore is None else self._semaphore.acquire(timeout=self._timeout)


def _budgets(budget: Budget | Iterable[Budget], calls: int | None) -> tuple[Budget, ...]:
    from .budgets.budget import Budget, checked  # noqa: PLC0415 (at the first guard)

    found = () if budget == () else tuple(checked(budget, "budget"))
    return found if calls is None else (*found, Budget(calls=calls, name=f"guard(calls={calls})"))
