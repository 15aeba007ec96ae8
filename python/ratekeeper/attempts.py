"""The attempts of one call: how often it is sent, and what lies between.

Owns the row of attempts and the way out of it. What failed is said by `providers`, whether another attempt follows by
the retry policy, when it starts by the quota's queue: nothing here may send a request that has no lease.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from .errors import QuotaExceededError

if TYPE_CHECKING:
    from ._core import RetryPolicy
    from ._retrying import Course
    from .call import Call
    from .desk import Lane
    from .providers import Request
    from .providers.failure import Failure


class Attempts:
    """One call in as many attempts as it takes: ``for call in attempts`` or ``async for call in attempts``.

    Each round is one attempt, to be entered with ``with call`` or ``async with call``. Whoever has the answer leaves
    the loop. A failure that another attempt follows does not leave the ``with``; the next round waits out the
    backoff, and the lease of the next attempt is waited for like the first, from the place in the queue that the call
    had. A failure that is final comes out as the provider's own exception.
    """

    __slots__ = ("_began", "_call", "_course", "_is_sync", "_lane", "_last", "_policy", "_request", "_wait")

    def __init__(self, call: Call, lane: Lane, request: Request, policy: RetryPolicy | None) -> None:
        self._call = call
        self._lane = lane
        self._request = request
        self._policy = policy
        self._course: Course | None = None
        self._last: Exception | None = None
        self._began = 0.0
        self._is_sync = True
        self._wait: float | None = 0.0
        call.belong_to(self)

    def __iter__(self) -> Attempts:
        return self

    def __next__(self) -> Call:
        if self._wait is None:
            raise StopIteration
        if self._course is not None:
            self._course.sleep(self._wait)
        self._wait = None
        return self._call

    def __aiter__(self) -> Attempts:
        self._is_sync = False
        return self

    async def __anext__(self) -> Call:
        if self._wait is None:
            raise StopAsyncIteration
        if self._course is not None and self._wait:
            await self._course.sleep_async(self._wait)
        self._wait = None
        return self._call

    @property
    def number(self) -> int:
        """The attempt that runs, from 1."""
        return 1 if self._course is None else self._course.attempt

    @property
    def patience(self) -> float:
        """Seconds that calls wait for a provider that told them to."""
        if self._policy is None:
            return 0.0
        timeout = self._policy.timeout
        return float("inf") if timeout is None else timeout

    @property
    def left(self) -> float | None:
        """Seconds within which the next attempt has to start; None without a bound."""
        return None if self._course is None else self._course.left

    def started(self) -> None:
        """An attempt has its lease."""
        if not self._began:
            self._began = monotonic()

    def answered(self) -> None:
        """The call has its answer."""
        self._last = None  # its traceback leads back here
        if self._course is not None:
            self._course.succeeded()
        else:
            self._lane.budget.succeeded()

    def goes_on(self, error: Exception, failure: Failure) -> bool:
        """Whether another attempt follows; if not, `error` says what was tried, and no outer retry starts again.

        What was not tried again, for nobody here knows what it is or how to wait, is left to whoever retries outside.
        """
        policy = self._policy
        if policy is None or (self._is_sync and failure.is_retryable and _runs_loop()):
            return False
        wait = self._wait_after(error, failure, policy)
        if wait is None:
            if failure.kind != "unknown" and policy.attempts != 1:
                self._lane.given_up.add(self._request, error)
            return False
        # A refused call waits in its queue, with everybody else.
        self._wait = 0.0 if failure.kind == "rate_limit" else wait
        self._last = error
        return True

    def _wait_after(self, error: Exception, failure: Failure, policy: RetryPolicy) -> float | None:
        from ._retrying import Verdict  # noqa: PLC0415 (not before a call fails)

        verdict = Verdict(failure.kind, failure.retry_after) if failure.is_retryable else None
        return self._course_of(policy).follow(error, verdict, blocks=False)

    def give_up(self, refusal: BaseException) -> Exception | None:
        """The next attempt has no room in time: what the provider said last is the answer, if it has said anything."""
        if self._last is None or self._course is None or not isinstance(refusal, QuotaExceededError):
            return None
        last, self._last = self._last, None
        self._course.attempt -= 1  # the one that finds no room never started
        self._course.give_up(last, str(refusal))
        self._lane.given_up.add(self._request, last)
        return last

    def _course_of(self, policy: RetryPolicy) -> Course:
        if self._course is None:
            from ._retrying import Course, Plan  # noqa: PLC0415 (not before a call fails)

            plan = Plan(None, policy, self._lane.budget, None)
            self._course = Course(plan, "", began=self._began, is_queued=True)
        return self._course


def _runs_loop() -> bool:
    from ._retrying import runs_loop  # noqa: PLC0415 (not before a call fails)

    return runs_loop()
