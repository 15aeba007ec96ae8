"""What was given up inside a run of a framework, so that the framework's own retries do not start it again.

Owns the memory of it, which is short and bounded. An exception that comes out of a run bears a mark (`_tried`), but
a framework that retries inside the run swallows it and calls again; then the same call of the same run gets the same
answer, and nothing is sent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from time import monotonic
from typing import TYPE_CHECKING

from . import forks

if TYPE_CHECKING:
    from .providers import Request

#: Frameworks wait seconds between their attempts.
_SECONDS_KEPT = 300.0
_MOST_KEPT = 64

#: Held while a memory is looked at or changed; it is done in microseconds, so one serves all scopes.
_remembering = forks.lock()


class GivenUp:
    """The final failures of one scope's calls, by the run they were part of and what they asked."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[Hashable, str, int], tuple[Exception, float]] = OrderedDict()

    def add(self, request: Request, error: Exception) -> None:
        """Remembers how a call of a run ended; one of no run is nobody's to repeat."""
        if request.run is None:
            return
        key, now = _key(request), monotonic()
        with _remembering:
            self._failures[key] = error, now
            self._failures.move_to_end(key)
            self._forget(now)

    def check(self, request: Request) -> None:
        """Answers a call that its run repeats.

        Raises:
            Exception: The one that the call ended with before.
        """
        if not self._failures or request.run is None:
            return
        key = _key(request)
        with _remembering:
            self._forget(monotonic())
            found = self._failures.get(key)
        if found is not None:
            raise found[0]

    def _forget(self, now: float) -> None:
        """Drops what is old, the oldest of too many, and with each the frames that its traceback holds."""
        failures = self._failures
        while failures:
            _, at = next(iter(failures.values()))
            if len(failures) <= _MOST_KEPT and at >= now - _SECONDS_KEPT:
                return
            failures.popitem(last=False)


def _key(request: Request) -> tuple[Hashable, str, int]:
    return request.run, request.model, hash((str(request.content), str(request.tools)))
