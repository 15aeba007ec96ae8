"""Our own errors, where AutoGen would make a text of any exception.

Owns what was refused inside of one such place. A failing tool becomes an answer for the model, a failing summary an
empty one; a quota or budget that is used up is to end the chat instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ratekeeper.errors import RatekeeperError

_heard: ContextVar[list[RatekeeperError] | None] = ContextVar("ratekeeper_refusals", default=None)


def note(error: RatekeeperError) -> None:
    """Remembers it for the place that the code here runs in, if any."""
    heard = _heard.get()
    if heard is not None:
        heard.append(error)


@contextmanager
def listening() -> Iterator[list[RatekeeperError]]:
    """What was refused inside; to be given to `insist` where the framework has swallowed it."""
    heard: list[RatekeeperError] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def insist(heard: list[RatekeeperError]) -> None:
    """Lets the last refusal out, also to the place around this one.

    Raises:
        RatekeeperError: One was heard.
    """
    if heard:
        note(heard[-1])
        raise heard[-1]
