"""What was given up inside a run of a framework, so that the framework's own retries do not start it again.

Owns the memory of it, which is short and bounded. An exception that comes out of a run bears a mark (`_tried`), but
a framework that retries inside the run swallows it and calls again; then the same call of the same run gets the same
answer, and nothing is sent.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .providers import Request

#: Frameworks wait seconds between their attempts.
_SECONDS_KEPT = 60.0
_MOST_KEPT = 64


class _Ended(NamedTuple):
    """How a call of a run ended, and when (monotonic seconds)."""

    asked: int
    request: Request
    error: Exception
    at: float


class GivenUp:
    """The final failures of one scope's calls, by the run they were part of and what they asked."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        # A deque is added to, copied and replaced in one step each, so no lock is held while requests are compared.
        self._ended: deque[_Ended] = deque(maxlen=_MOST_KEPT)

    def add(self, request: Request, error: Exception) -> None:
        """Remembers how a call of a run ended; one of no run is nobody's to repeat."""
        if request.run is not None:
            self._ended.append(_Ended(_asked(request), request, error, monotonic()))

    def check(self, request: Request) -> None:
        """Answers a call that its run repeats.

        Raises:
            Exception: The one that the call ended with before.
        """
        if not self._ended or request.run is None:
            return
        oldest, asked = monotonic() - _SECONDS_KEPT, _asked(request)
        for ended in self._ended.copy():
            if ended.at < oldest:
                self._drop(ended)
            elif (
                ended.asked == asked
                and ended.request.model == request.model
                and ended.request.run == request.run
            ):
                raise ended.error

    def _drop(self, ended: _Ended) -> None:
        """Lets go of what is old, and of the frames that its traceback holds."""
        with suppress(ValueError):  # another thread was quicker
            self._ended.remove(ended)


def _asked(request: Request) -> int:
    return hash((str(request.content), str(request.tools)))
