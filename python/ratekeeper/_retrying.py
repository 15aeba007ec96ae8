"""One call's way from its first attempt to its last.

Owns the asking (what failed, is there another attempt, after how long) and the waiting. The decision is the core's;
what a provider's error means is said by `providers`.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import random
from typing import TYPE_CHECKING, Any, NamedTuple

from . import checks
from ._core import RetryBudget, RetryPolicy
from ._tried import mark_tried, was_tried
from .errors import EventLoopBlockedError, QuotaExceededError, RatekeeperError
from .providers.failure import classify

if TYPE_CHECKING:
    from .providers.failure import Failure
    from .retry import On

_log = logging.getLogger("ratekeeper")

#: What no other attempt can mend, whatever an exception's class is: an OpenAI RateLimitError may be either.
_HOPELESS = frozenset({"exhausted", "too_large"})
_REASONS = {
    "kind": "the last one failed in a way that is not retried",
    "attempts": "no attempts are left",
    "timeout": "the next one would start after the {timeout:g} s allowed",
    "retry_after": "the provider asks for a wait of {asked:g} s, longer than what is left of the {timeout:g} s allowed",
    "budget": "the retry budget is empty",
}


@dataclass(frozen=True)
class Retrying:
    """An attempt has failed, and another one follows.

    Attributes:
        name: The decorated function, as ``module.qualname``; ``""`` in a `retry_context`.
        attempt: The attempt that failed, from 1.
        wait: Seconds until the next one starts.
        error: What it failed with.
        total: Seconds since the first attempt started.
    """

    name: str
    attempt: int
    wait: float
    error: Exception
    total: float


class Verdict(NamedTuple):
    """Why an error is retried.

    Attributes:
        kind: What failed, as the core names it.
        retry_after: Seconds that the provider asks for.
        wait: Seconds that the application asks for.
    """

    kind: str
    retry_after: float | None = None
    wait: float | None = None


class Rehearsal:
    """Instead of waiting, waits are noted down; see `ratekeeper.testing.retry_without_waiting`."""

    def __init__(self, attempts: int | None) -> None:
        self.attempts = attempts
        self.waits: list[float] = []


_rehearsal: Rehearsal | None = None


def rehearse(rehearsal: Rehearsal | None) -> Rehearsal | None:
    """Puts a rehearsal, or the real thing, in force in the whole process; returns what was in force before."""
    # In the process rather than in a context: the threads that a test starts must see it.
    global _rehearsal
    before, _rehearsal = _rehearsal, rehearsal
    return before


class Plan:
    """The settings of one `retry`, checked; see there."""

    def __init__(
        self,
        on: On | None,
        policy: RetryPolicy,
        budget: RetryBudget | None,
        on_retry: Callable[[Retrying], object] | None,
    ) -> None:
        for field, value, kind in (("policy", policy, RetryPolicy), ("budget", budget, RetryBudget)):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"retry({field}=...): expected a {kind.__name__}, got {type(value).__name__}")
        if on_retry is not None and not callable(on_retry):
            raise TypeError(f"retry(on_retry=...): expected a function, got {type(on_retry).__name__}")
        self.judge = _judge_of(on)
        self.policy = policy
        self.budget = budget
        self._on_retry = on_retry
        self._has_complained = False

    def tell(self, event: Retrying) -> None:
        """Tells the hook, if there is one."""
        if self._on_retry is None:
            return
        try:
            self._on_retry(event)
        except Exception:  # noqa: BLE001 (whatever a hook does, the call goes on)
            if not self._has_complained:
                self._has_complained = True
                _log.exception(
                    "the hook %r raised; calls go on, and it is not reported again", self._on_retry
                )


class Course:
    """One call. Made for each, so what a call without a failure needs not is in the class."""

    attempt = 1
    _kind: str | None = None
    _last_wait = 0.0
    _waited = 0.0
    _skipped = 0.0

    def __init__(self, plan: Plan, name: str, *, began: float | None = None, is_queued: bool = False) -> None:
        self._plan = plan
        self._name = name
        self._began = time.monotonic() if began is None else began
        self._is_queued = is_queued

    def succeeded(self) -> None:
        """The call has its answer."""
        if self._plan.budget is not None:
            self._plan.budget.succeeded(self._kind, queued=self._is_queued)

    def after(self, error: Exception, *, blocks: bool) -> float | None:
        """Seconds to wait before the next attempt, or None if `error` is the answer.

        Args:
            error: What the attempt failed with.
            blocks: Whether `sleep` follows, and not `sleep_async`.

        Raises:
            EventLoopBlockedError: The wait would stop the event loop that runs on this thread.
        """
        if was_tried(error, self._began):
            return None
        verdict = self._plan.judge(error)
        return self.follow(error, verdict, blocks=blocks)

    def follow(self, error: Exception, verdict: Verdict | None, *, blocks: bool) -> float | None:
        """The same for an error that was judged already; None is one that is not retried."""
        if verdict is None:
            if self.attempt > 1:
                self._note(error, "kind", None)
            return None
        answer = self._decide(verdict)
        if isinstance(answer, str):
            self._note(error, answer, verdict.retry_after)
            mark_tried(error, time.monotonic())
            return None
        if blocks and answer and runs_loop():
            mark_tried(error, time.monotonic())
            raise EventLoopBlockedError(
                f"attempt {self.attempt} failed, and waiting {answer:.3g} s here would stop the event loop that runs "
                "on this thread: decorate an async function, or use `async for attempt in retry_context(...)`"
            ) from error
        self._plan.tell(Retrying(self._name, self.attempt, answer, error, self._elapsed()))
        self.attempt += 1
        self._kind = verdict.kind
        self._last_wait = answer
        # A refused call that is queued waits for its lease instead.
        if not (self._is_queued and verdict.kind == "rate_limit"):
            self._waited += answer
        return answer

    @property
    def left(self) -> float | None:
        """Seconds within which another attempt may start; None without a bound."""
        timeout = self._plan.policy.timeout
        return None if timeout is None else max(timeout - self._elapsed(), 0.0)

    def give_up(self, error: Exception, why: str) -> None:
        """Something else ends the attempts, and `error` is the answer."""
        self._write(error, why)
        mark_tried(error, time.monotonic())

    def sleep(self, seconds: float) -> None:
        """Waits, and blocks this thread."""
        if not self._skips(seconds):
            time.sleep(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """Waits, and lets the event loop run."""
        import asyncio  # noqa: PLC0415 (loaded already, by whoever runs this)

        await asyncio.sleep(0 if self._skips(seconds) else seconds)

    def _skips(self, seconds: float) -> bool:
        if _rehearsal is None:
            return False
        _rehearsal.waits.append(seconds)
        self._skipped += seconds
        return True

    def _decide(self, verdict: Verdict) -> float | str:
        if _rehearsal is not None and _rehearsal.attempts is not None and self.attempt >= _rehearsal.attempts:
            return "attempts"
        return self._plan.policy.decide(
            verdict.kind,
            attempt=self.attempt,
            elapsed=self._elapsed(),
            random=random(),
            last_wait=self._last_wait,
            retry_after=verdict.retry_after,
            wait=verdict.wait,
            budget=self._plan.budget,
            queued=self._is_queued,
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._began + self._skipped

    def _note(self, error: Exception, reason: str, asked: float | None) -> None:
        timeout = self._plan.policy.timeout
        self._write(error, _REASONS[reason].format(timeout=timeout, asked=asked))

    def _write(self, error: Exception, why: str) -> None:
        """Writes what was tried into the traceback, where the interpreter can (3.11)."""
        if not hasattr(error, "add_note"):
            return
        times = "1 attempt" if self.attempt == 1 else f"{self.attempt} attempts"
        error.add_note(
            f"ratekeeper: {times} in {self._elapsed():.1f} s, of which {self._waited:.1f} s waiting: {why}"
        )


def _judge_of(on: On | None) -> Callable[[Exception], Verdict | None]:
    if on is None:
        return _by_kind
    if isinstance(on, type | tuple):
        return _by_class(on if isinstance(on, tuple) else (on,))
    if callable(on):
        return _by_predicate(on)
    raise TypeError(
        f"retry(on=...): expected an exception class, a tuple of them or a predicate, got {type(on).__name__}"
    )


def _by_kind(error: Exception) -> Verdict | None:
    """What the provider's own error says. What ratekeeper refuses has waited already, or never fits."""
    if isinstance(error, RatekeeperError):
        return None
    failure = classify(error)
    return Verdict(failure.kind, failure.retry_after) if failure.is_retryable else None


def _by_class(classes: tuple[type[Exception], ...]) -> Callable[[Exception], Verdict | None]:
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise TypeError(
                f"retry(on=...): expected subclasses of Exception, got {one!r}; cancellation, KeyboardInterrupt "
                "and GeneratorExit are never caught"
            )

    def judge(error: Exception) -> Verdict | None:
        if not isinstance(error, classes):
            return None
        failure = classify(error)
        return None if failure.kind in _HOPELESS else _chosen(error, failure)

    return judge


def _chosen(error: Exception, failure: Failure) -> Verdict:
    """The application wants it retried; how long to wait is still known best by who refused."""
    asked = error.retry_after if isinstance(error, QuotaExceededError) else failure.retry_after
    return Verdict(failure.kind if failure.is_retryable else "chosen", asked)


def _by_predicate(predicate: Callable[[Exception], Any]) -> Callable[[Exception], Verdict | None]:
    def judge(error: Exception) -> Verdict | None:
        answer = predicate(error)
        if answer is False:
            return None
        if answer is True:
            return _chosen(error, classify(error))
        if not isinstance(answer, int | float | timedelta):
            raise TypeError(
                "retry(on=...): expected the predicate to return a bool, seconds or a timedelta, "
                f"it returned {type(answer).__name__}"
            )
        return Verdict("chosen", wait=checks.seconds(answer, "on", zero=True))

    return judge


def runs_loop() -> bool:
    """Whether an event loop runs on this thread, which nothing may stop."""
    # Who has not loaded asyncio runs no loop of its kind.
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
