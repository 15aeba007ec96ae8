"""Which run of a framework the code here is part of, for frameworks that cannot say it at the call itself.

Owns the context variable. What a run is, the adapter knows; see `Request.run`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_run: ContextVar[Hashable] = ContextVar("ratekeeper_run", default=None)


def current() -> Hashable:
    """The run in force in this context; None outside of any."""
    return _run.get()


@contextmanager
def part_of(run: Hashable) -> Iterator[None]:
    """Makes the calls inside part of a run: what they give up, the same run does not send again."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)
