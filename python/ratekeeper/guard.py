"""A place among a few for a whole job, such as a crew's kickoff.

Owns the decorator around a native semaphore. Which calls a job makes is counted by `ceiling`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from . import checks
from ._core import Semaphore
from ._wrapping import inside
from .ceiling import Ceiling
from .tags import current
from .tags import tags as tagged

if TYPE_CHECKING:
    from ._core import Lease, ManualClock

P = ParamSpec("P")
R = TypeVar("R")


class Guard:
    """Lets a number of jobs run at a time, in order of arrival, and tags and counts their calls; see `Keeper.guard`."""

    def __init__(
        self,
        concurrency: int | None,
        *,
        calls: int | None = None,
        timeout: float | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        self._semaphore: Semaphore | None = None
        if concurrency is not None:
            places = checks.whole(concurrency, "concurrency", maximum=checks.MAX_CONCURRENCY)
            self._semaphore = Semaphore(places, name="guard", clock=clock)
        self._calls = None if calls is None else checks.whole(calls, "calls")
        self._timeout = None if timeout is None else checks.seconds(timeout, "timeout")
        self._tags = {} if tags is None else dict(checks.table(tags, "tags"))
        tagged(**self._tags)  # refuses values that are not texts now, not at the first job

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Puts a function or coroutine function under the guard; its signature stays.

        Raises:
            TypeError: It is a generator, or not callable.
        """
        return tagged(**self._tags)(inside(inside(function, "guard", self._ceiling), "guard", self._place))

    def _ceiling(self, *_: object, **__: object) -> Ceiling | nullcontext[None]:
        return nullcontext() if self._calls is None else Ceiling(self._calls, current())

    def _place(self, *_: object, **__: object) -> Lease | nullcontext[None]:
        return nullcontext() if self._semaphore is None else self._semaphore.acquire(timeout=self._timeout)
