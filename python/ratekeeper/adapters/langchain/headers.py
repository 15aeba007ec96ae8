"""The headers of a model's answers, caught where the SDK client takes them in.

Owns the way from a response to the call that asked for it. May not change a result, a chunk, or a client that
is not ours.

LangChain's own `include_response_headers` is no way: callbacks are handed each chunk before we are, and would
show the headers in traces and token streams; nor does it reach parsed streams. ChatAnthropic has none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextvars import ContextVar
from typing import Any

from langchain_core.outputs import ChatResult

#: Who listens here. Set during the steps of a model's own code alone: whoever consumes a stream is another
#: context's business, and calls run concurrently on clients that they share.
_listening: ContextVar[Ear | None] = ContextVar("ratekeeper_ear", default=None)

_END = object()


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

    def __enter__(self) -> Ear:
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

    def read(self, item: Any) -> None:
        """Takes the headers that a result, a chunk or a protocol event carries, where no client was heard."""
        if self._learn is not None and (headers := told_by(item)):
            self.hear(headers)

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


def told_by(item: Any) -> Any:
    """The headers in the metadata of a `ChatResult`, a chunk or a protocol event; None where there are none.

    Integration packages that show them do so under "headers".
    """
    if isinstance(item, dict):
        return (item.get("metadata") or {}).get("headers")
    for generation in item.generations if isinstance(item, ChatResult) else (item,):
        message = getattr(generation, "message", None)
        for about in (
            getattr(generation, "generation_info", None),
            getattr(message, "response_metadata", None),
        ):
            if about and (headers := about.get("headers")):
                return headers
    return None


def listen(client: Any) -> Any:
    """Has an SDK client of ours tell the headers of each successful answer to who listens; returns it.

    OpenAI's and Anthropic's clients, synchronous or not, pass every response through one method, whether it is
    read at once, parsed, raw or streamed. A client without it is left as it is: nothing is heard then.
    """
    take = getattr(client, "_process_response", None)
    if take is None:
        return client

    def hear(*args: Any, **kwargs: Any) -> Any:
        ear, response = _listening.get(), kwargs.get("response")
        # With middleware, Anthropic's client passes refusals through here too.
        if ear is not None and getattr(response, "is_success", False):
            ear.hear(response.headers)  # type: ignore[union-attr]
        return take(*args, **kwargs)

    client._process_response = hear
    return client
