"""Which gated call the code that runs here works for.

Owns the context variable. Two things follow from it: the headers of an answer find the call that asked for it, and a
gated client below a gated call is not gated a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

E = TypeVar("E", bound="Ear")

#: Who listens here. Set during the steps of a model's own code alone: whoever consumes a stream is another
#: context's business, and calls run concurrently on clients that they share.
_listening: ContextVar[Ear | None] = ContextVar("ratekeeper_ear", default=None)

_END = object()


def listening() -> Ear | None:
    """The ear of the gated call that the code here works for, if any."""
    return _listening.get()


class Ear:
    """Listens for the first successful answer that the code in its `with` blocks gets.

    May be entered for any number of steps, one at a time. Threads and tasks that start within hear for it too.

    Args:
        learn: Given the headers, once, on whatever thread they come.
    """

    __slots__ = ("_before", "_learn")

    def __init__(self, learn: Callable[[object], None]) -> None:
        self._learn: Callable[[object], None] | None = learn
        self._before: Ear | None = None

    @property
    def has_heard(self) -> bool:
        """Whether the headers have come."""
        return self._learn is None

    def __enter__(self: E) -> E:
        self._before = _listening.get()
        _listening.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves the context as it was, unless it is another: a dropped coroutine is closed anywhere."""
        before, self._before = self._before, None
        if _listening.get() is self:
            _listening.set(before)

    def hear(self, headers: object) -> None:
        """Takes headers as they come in; later ones of the same attempt are not asked for."""
        learn, self._learn = self._learn, None
        if learn is not None:
            learn(headers)

    def steps(self, chunks: Iterator[Any]) -> Generator[Any, None, None]:
        """The iterator, heard at each of its steps; closed with it, if it can be closed."""
        try:
            while True:
                with self:
                    chunk = next(chunks, _END)
                if chunk is _END:
                    return
                yield chunk
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
