"""Refusals of ours that a framework swallows: remembered for a while, so that it does not go on as if nothing was.

Owns the memory. A framework that turns a tool's exception into a text for the model, or calls again on any exception, is
given the same refusal again: it latches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple

from ratekeeper.errors import RatekeeperError

_SECONDS_KEPT = 60.0
_MOST_KEPT = 64


class _Refusal(NamedTuple):
    error: RatekeeperError
    text: str
    call: Hashable
    at: float


class Refused:
    """The refusals of one framework's calls."""

    __slots__ = ("_refusals",)

    def __init__(self) -> None:
        # A deque is added to and copied in one step each, so no lock is held.
        self._refusals: deque[_Refusal] = deque(maxlen=_MOST_KEPT)

    @contextmanager
    def watching(self, call: Hashable = None) -> Iterator[None]:
        """Remembers the refusal that comes out of the block.

        Args:
            call: What tells this very call from all others, where the framework may repeat it; None for nothing.
        """
        try:
            yield
        except RatekeeperError as error:
            self._refusals.append(_Refusal(error, str(error), call, monotonic()))
            raise

    def check(self, told: object, call: Hashable = None) -> None:
        """Refuses a call that hands a refusal on to the model, or repeats the one that was refused.

        Args:
            told: What the model was told last; its `str` is looked at.
            call: As for `watching`.

        Raises:
            RatekeeperError: The one that was swallowed.
        """
        if not self._refusals:
            return
        oldest, said = monotonic() - _SECONDS_KEPT, str(told)
        for refusal in self._refusals.copy():
            if refusal.at < oldest:
                continue
            if _quoted(refusal.text, said) or (call is not None and call == refusal.call):
                raise refusal.error


def _quoted(text: str, said: str) -> bool:
    """Whether a text is part of another, or of one that shows texts as `repr` does."""
    return bool(text) and (text in said or repr(text)[1:-1] in said)
