"""Retries that do not wait, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ratekeeper import checks
from ratekeeper._retrying import Rehearsal, rehearse


@contextmanager
def retry_without_waiting(attempts: int | None = None) -> Iterator[list[float]]:
    """Lets every `ratekeeper.retry` of the process go on without waiting.

    The time that would have been waited counts for ``timeout`` all the same, so a call has as many attempts as
    in production. Sync retries on an event loop's thread raise EventLoopBlockedError here too.

    Args:
        attempts: At most so many attempts for each call; 1 retries nothing.

    Yields:
        The waits in seconds, in their order, as they are skipped.

    Raises:
        ConfigError: ``attempts`` is no whole number from 1.
    """
    rehearsal = Rehearsal(None if attempts is None else checks.whole(attempts, "attempts"))
    before = rehearse(rehearsal)
    try:
        yield rehearsal.waits
    finally:
        rehearse(before)
