"""Another attempt for calls that failed for a while, with or without a limiter.

Owns the public names and their settings. Loads what does the work when a decorator is used, not when ratekeeper is
imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar

if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Protocol, TypeAlias

    from ._core import RetryBudget, RetryPolicy
    from ._retry_forms import RetryContext
    from ._retrying import Plan, Retrying

    P = ParamSpec("P")
    R = TypeVar("R")

    On: TypeAlias = (
        type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool | float | timedelta]
    )

    class Decorator(Protocol):
        """What `retry` returns: the decorated function has the signature that it had."""

        def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...  # noqa: D102


JitterName = Literal["full", "equal", "decorrelated"]


def retry(
    *,
    on: On | None = None,
    attempts: int | None = 10,
    timeout: float | timedelta | None = 120.0,
    wait_initial: float | timedelta = 1.0,
    wait_max: float | timedelta = 30.0,
    jitter: JitterName = "full",
    policy: RetryPolicy | None = None,
    budget: RetryBudget | None = None,
    on_retry: Callable[[Retrying], object] | None = None,
) -> Decorator:
    """Calls a function again when it failed in a way that passes.

    ::

        @rk.retry()
        async def ask(question: str) -> str: ...

        @rk.retry(on=(TimeoutError, ValidationError), attempts=3)
        def extract(text: str) -> Invoice: ...

    For functions and methods, sync and async, and for generators of both kinds until they have yielded their
    first item: what was streamed already is not streamed again. The last exception comes out as it was, with a
    note of what was tried. Cancellation, KeyboardInterrupt and GeneratorExit are never caught. Where one retry
    runs inside another, the innermost owns it: what it gave up, no outer one tries again.

    Args:
        on: What is retried: an exception class or a tuple of them, or a function of the exception that returns
            True, False, or just how long to wait (seconds or a timedelta). None: what the provider's error says
            is a rate limit, an overload, a server error, a timeout or a broken connection, and nothing that
            ratekeeper itself refuses. With classes, what is out of money or too large is not retried either.
        attempts: How often it is called at most; None sets no bound.
        timeout: Seconds since the first attempt within which the last one starts; None sets no bound. A wait
            that a provider asks for and that is longer than what is left is not begun. An attempt that runs is
            not interrupted.
        wait_initial: Seconds of the first backoff, which doubles from attempt to attempt.
        wait_max: Seconds of the longest backoff.
        jitter: ``"full"``: anything up to the backoff. ``"equal"``: at least half of it. ``"decorrelated"``:
            from ``wait_initial`` to three times the last wait.
        policy: Stands for the five above.
        budget: Shared by calls whose retries together are not to exceed a share of them; when it is empty, the
            error comes out at once.
        on_retry: Is told of every failure that another attempt follows, before the wait; a plain function.

    Raises:
        ConfigError: A number is out of range; its ``field`` says which.
        TypeError: A setting has the wrong type, or both ``policy`` and a part of one are given.
        EventLoopBlockedError: From the decorated function, if it is a sync one, has failed and would have to
            wait on a thread whose event loop runs.
    """
    from ._retry_forms import decorate  # noqa: PLC0415

    plan = _plan(on, policy, (attempts, timeout, wait_initial, wait_max, jitter), budget, on_retry)

    def decorator(function: Callable[P, R], /) -> Callable[P, R]:
        decorated: Callable[P, R] = decorate(function, plan)
        return decorated

    return decorator


def retry_context(
    *,
    on: On | None = None,
    attempts: int | None = 10,
    timeout: float | timedelta | None = 120.0,
    wait_initial: float | timedelta = 1.0,
    wait_max: float | timedelta = 30.0,
    jitter: JitterName = "full",
    policy: RetryPolicy | None = None,
    budget: RetryBudget | None = None,
    on_retry: Callable[[Retrying], object] | None = None,
) -> RetryContext:
    """The same as `retry`, for a block of code; it can be used any number of times.

    ::

        for attempt in rk.retry_context(timeout=30):
            with attempt:
                answer = ask(question)

    In coroutines, ``async for attempt in ...`` and the same plain ``with``. The arguments and errors are those
    of `retry`.
    """
    from ._retry_forms import RetryContext  # noqa: PLC0415

    return RetryContext(
        _plan(on, policy, (attempts, timeout, wait_initial, wait_max, jitter), budget, on_retry)
    )


_DEFAULTS = (10, 120.0, 1.0, 30.0, "full")


def _plan(
    on: On | None,
    policy: RetryPolicy | None,
    parts: tuple[int | None, float | timedelta | None, float | timedelta, float | timedelta, JitterName],
    budget: RetryBudget | None,
    on_retry: Callable[[Retrying], object] | None,
) -> Plan:
    from ._core import RetryPolicy  # noqa: PLC0415
    from ._retrying import Plan  # noqa: PLC0415

    if policy is not None and parts != _DEFAULTS:
        raise TypeError("retry: expected either policy, or attempts, timeout and waits, got both")
    return Plan(on, RetryPolicy(*parts) if policy is None else policy, budget, on_retry)
